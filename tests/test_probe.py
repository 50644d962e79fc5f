"""Probes find what theory says is there, and no more."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from audiovae.metrics.probe import halves, probe

NORMAL_BELOW_1 = (1 + math.erf(1 / math.sqrt(2))) / 2


def cloud(frames: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    """Standard normal frames, moved along their first dimension."""
    made = torch.randn(frames, dimension, generator=torch.Generator().manual_seed(seed))
    made[:, 0] += shift
    return made


def crossed(frames: int, seed: int) -> dict[str, Tensor]:
    """Two domains that no line parts: the signs of two dimensions agree, or differ."""
    x = cloud(4 * frames, 2, seed)
    x = x[x.abs().min(1).values > 0.3]
    agree = x[:, 0] * x[:, 1] > 0
    return {"agree": x[agree], "differ": x[~agree]}


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_two_normal_clouds_are_told_apart_as_well_as_can_be(kind: str) -> None:
    # Two means 2 apart: the best guess, by the nearer mean, is right with probability Phi(1).
    train = {"a": cloud(4000, 3, 1), "b": cloud(4000, 3, 2, 2.0)}
    test = {"a": cloud(4000, 3, 3), "b": cloud(4000, 3, 4, 2.0)}
    accuracy = probe(train, test, kind, steps=150)
    assert accuracy == pytest.approx(NORMAL_BELOW_1, abs=0.025)


def test_an_mlp_reads_what_a_linear_probe_can_not() -> None:
    train, test = crossed(500, 1), crossed(500, 2)
    assert 0.35 < probe(train, test, "linear", steps=50) < 0.65
    assert probe(train, test, "mlp", steps=150) > 0.95


def test_nothing_there_is_chance() -> None:
    train, test = ({f"{d}": cloud(1000, 4, 10 * s + d) for d in range(4)} for s in (1, 2))
    for kind in ("linear", "mlp"):
        assert probe(train, test, kind, steps=60) == pytest.approx(0.25, abs=0.04)


def test_a_domain_with_more_frames_weighs_no_more() -> None:
    # Guessing the large domain always would be right for 97 % of the frames.
    train = {"large": cloud(3000, 4, 1), "small": cloud(100, 4, 2)}
    test = {"large": cloud(3000, 4, 3), "small": cloud(100, 4, 4)}
    assert probe(train, test, "linear", steps=60) == pytest.approx(0.5, abs=0.1)


def test_it_is_judged_on_frames_it_did_not_learn() -> None:
    near, far = cloud(500, 4, 1, -4.0), cloud(500, 4, 2, 4.0)
    assert probe({"a": near, "b": far}, {"a": near, "b": far}, steps=50) > 0.99
    assert probe({"a": near, "b": far}, {"a": far, "b": near}, steps=50) < 0.01


def test_units_play_no_part() -> None:
    groups = {"a": cloud(500, 4, 1), "b": cloud(500, 4, 2, 2.0)}
    scaled = {name: (1000 * x + 5).numpy() for name, x in groups.items()}
    assert probe(scaled, scaled, steps=60) == pytest.approx(probe(groups, groups, steps=60))


def test_the_seed_alone_decides_and_the_callers_stays() -> None:
    groups = {"a": cloud(300, 4, 1), "b": cloud(300, 4, 2, 1.0)}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = probe(groups, groups, steps=20)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert probe(groups, groups, steps=20) == first
    assert probe(groups, groups, seed=1, steps=20) != first


def test_it_learns_where_gradients_are_off() -> None:
    with torch.inference_mode():
        groups = {"a": cloud(300, 4, 1, -3.0), "b": cloud(300, 4, 2, 3.0)}
        assert probe(groups, groups, steps=50) > 0.99
    with torch.no_grad():
        assert probe(groups, groups, steps=50) > 0.99


def test_a_dimension_that_never_moves_does_no_harm() -> None:
    groups = {"a": cloud(300, 4, 1, -3.0), "b": cloud(300, 4, 2, 3.0)}
    stuck = {name: torch.cat([x, torch.full((300, 1), 7.0)], 1) for name, x in groups.items()}
    assert probe(stuck, stuck, steps=50) > 0.99


def test_nan_is_not_hidden() -> None:
    good = {"a": cloud(30, 4, 1), "b": cloud(30, 4, 2)}
    bad = good | {"b": torch.full((30, 4), math.nan)}
    assert math.isnan(probe(bad, good, steps=5)) and math.isnan(probe(good, bad, steps=5))


def test_halves_are_neighbours() -> None:
    first, second = halves([torch.arange(6.0)[:, None], torch.arange(10.0, 15.0)[:, None]])
    assert [x[:, 0].tolist() for x in first.values()] == [[0, 1, 2], [10, 11]]
    assert [x[:, 0].tolist() for x in second.values()] == [[3, 4, 5], [12, 13, 14]]
    assert list(first) == list(second)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ({"a": np.ones((3, 2))}, {"a": np.ones((3, 2))}, "at least 2"),
        ({"a": np.ones((3, 2)), "b": np.ones((3, 2))}, {"a": np.ones((3, 2))}, "trained on a, b"),
        ({d: np.ones((3, 2)) for d in "ab"}, {d: np.ones((3, 1)) for d in "ab"}, r"\(frame, 2\)"),
        ({d: np.ones(3) for d in "ab"}, {d: np.ones(3) for d in "ab"}, "shape"),
        ({d: np.ones((3, 2)) for d in "ab"}, {d: np.ones((0, 2)) for d in "ab"}, "no frames"),
    ],
)
def test_what_can_not_be_probed_is_refused(train: dict, test: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probe(train, test)


def test_an_unknown_kind_is_refused() -> None:
    groups = {d: np.ones((3, 2)) for d in "ab"}
    with pytest.raises(ValueError, match="linear or mlp"):
        probe(groups, groups, "forest")  # type: ignore[arg-type]
