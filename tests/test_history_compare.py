"""The comparison of the history: nats that compare, rows for all models, pictures and words."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import succeed
from history import HISTORY, history, seeded

import audiovae

RATE = 22_050


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    names = ("compare", "compare_frames", "compare_models", "compare_pictures")
    with history(*names) as modules:
        yield modules


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two instruments that play the same eight pieces of three notes."""
    folder = tmp_path_factory.mktemp("music")
    time, groups = np.arange(RATE // 2) / RATE, {}
    for domain, harmonics in (("pipe", 1), ("saw", 9)):
        (folder / domain).mkdir()
        for number in range(8):
            pitches = 300 + 50 * number + 40 * np.arange(3)
            notes = [
                sum(0.1 * np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, harmonics + 1))
                for hertz in pitches
            ]
            soundfile.write(folder / domain / f"{number}.wav", np.concatenate(notes), RATE)
            groups[f"{domain}/{number}.wav"] = f"piece {number}"
    (folder / "groups.json").write_text(json.dumps(groups))
    return folder


@pytest.fixture
def load(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., list[Any]]:
    """`load_views` without processes, its store in a folder of the test's."""
    prepare = partial(audiovae.prepare, workers=1, progress=False)
    monkeypatch.setattr(audiovae, "prepare", prepare)
    return lambda music, *counts: parts.compare_frames.load_views(
        music, tmp_path / "store", *counts, seed=0
    )


def invented(parts: SimpleNamespace, name: str = "single") -> Any:
    """A view of noise about two means in 64 bands."""
    frames = 1 if name == "single" else parts.compare_frames.STACK
    draws = torch.randn(140, frames * 64, generator=seeded())
    draws[::2] += 1
    labels = torch.arange(2).repeat(60)
    ones = torch.ones(64)
    return parts.compare_frames.View(
        name,
        frames,
        draws[:80],
        draws[120:],
        draws[80:120],
        labels[:80],
        labels[80:],
        ["a", "b"],
        -5 * ones,
        ones,
    )


def test_views_are_standardised_frames_of_the_same_moments(
    parts: SimpleNamespace, music: Path, load: Callable[..., list[Any]]
) -> None:
    single, stacked = load(music, 64, 20)
    assert single.train.shape == (64, 64) and stacked.train.shape == (64, 11 * 64)
    assert single.held_out.shape == (20, 64) and single.tuning.shape == (10, 64)
    assert single.domains == ["pipe", "saw"]
    assert torch.equal(single.train, stacked.train[:, 5 * 64 : 6 * 64])
    bands = stacked.train.view(-1, 64)
    torch.testing.assert_close(bands.mean(0), torch.zeros(64), atol=1e-4, rtol=0)
    assert float(bands.std(0).max()) == pytest.approx(1, abs=1e-3)
    # Pictures are log-mels again: nothing under the noise, nothing over full scale.
    levels = single.pictures(single.held_out)
    assert levels.shape == (20, 64, 1) and -12 < float(levels.min()) < float(levels.max()) < 0
    # The saw's upper bands are louder than the pipe's.
    top = levels[:, 40:].mean((1, 2))
    assert float(top[single.held_out_labels == 1].min()) > float(
        top[single.held_out_labels == 0].max()
    )
    again, _ = load(music, 64, 20)
    assert torch.equal(again.train, single.train)


def test_nats_are_those_of_the_log_mels_themselves(parts: SimpleNamespace) -> None:
    view = invented(parts, "stacked")
    spread = torch.linspace(0.5, 2, 64)
    view = parts.compare_frames.View(**(vars(view) | {"deviation": spread}))
    examples = view.held_out[:5]
    standard = torch.distributions.Normal(0, 1).log_prob(examples).sum(1)
    own = torch.distributions.Normal(view.mean[:, None], spread[:, None])
    direct = own.log_prob(view.pictures(examples)).sum((1, 2)) / view.frames
    for log_prob, nats in zip(standard.tolist(), direct.tolist(), strict=True):
        assert view.nats(log_prob) == pytest.approx(nats, rel=1e-5)


def test_every_model_gets_a_row_and_a_place_in_the_pictures(
    parts: SimpleNamespace, tmp_path: Path
) -> None:
    view, models = invented(parts, "stacked"), list(parts.compare.MODELS)
    budget = parts.compare_models.Budget(3, 2, 4, chains=4, samples=2)
    rows = parts.compare.compare(view, models, budget, tmp_path, 0)
    assert [row.model for row in rows] == models
    assert all(np.isfinite([row.nats, row.doubt, row.probe, row.seconds]).all() for row in rows)
    kinds = {row.model: row.kind for row in rows}
    assert [kinds[m] for m in ("PPCA", "RBM, CD-1", "DBN", "DBM", "VAE", "AAE")] == [
        "exact", "estimate", "bound", "bound", "bound", "bound",
    ]  # fmt: skip
    text = parts.compare.table(view, rows)
    assert text.count("\n| ") == len(models) + 1 and "80 examples to learn from" in text
    assert "estimate ± " in text and "(RAISE " in text
    for picture in ("samples", "fields", "maps"):
        assert (tmp_path / f"{picture}-stacked.png").stat().st_size > 10_000


def test_single_frames_are_drawn_side_by_side(parts: SimpleNamespace, tmp_path: Path) -> None:
    budget = parts.compare_models.Budget(3, 2, 4, chains=4, samples=2)
    parts.compare.compare(invented(parts), ["mixture, full", "AAE"], budget, tmp_path, 0)
    assert (tmp_path / "samples-single.png").stat().st_size > 10_000


def test_discriminants_point_where_classes_differ(parts: SimpleNamespace) -> None:
    features = torch.randn(300, 4, generator=seeded(), dtype=torch.float64)
    labels = torch.arange(3).repeat(100)
    features[labels == 1, 2] += 6
    features[labels == 2, 0] += 4
    axes = parts.compare_pictures.discriminants(features, labels)
    plane = features @ axes
    within = torch.stack([plane[labels == n].std(0) for n in range(3)]).mean(0)
    means = torch.stack([plane[labels == n].mean(0) for n in range(3)])
    assert bool((means.std(0) / within > 1.5).all())
    assert float(axes[[1, 3]].abs().max()) < 0.3 * float(axes.abs().max())
    # One feature has one axis: the other is nothing.
    assert parts.compare_pictures.discriminants(features[:, :1], labels).shape == (1, 2)


def test_bad_input_is_one_line(
    parts: SimpleNamespace,
    music: Path,
    load: Callable[..., list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "pipe").symlink_to(music / "pipe")
    with pytest.raises(audiovae.UserError, match="has one domain; expected two"):
        load(tmp_path / "one", 8, 8)
    for words, said in (
        ([tmp_path / "nothing", tmp_path / "out"], "nothing"),
        ([music, tmp_path / "out", "--steps", "1"], "--steps must be at least 2"),
    ):
        monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            parts.compare.main()
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_recipe_compares(music: Path, tmp_path: Path) -> None:
    said = succeed(
        HISTORY / "compare.py", music, tmp_path / "run", "--examples", 64, "--held-out", 32,
        "--steps", 3, "--iterations", 3, "--temperatures", 4, "--samples", 2,
        "--models", "PPCA", "RBM, persistent", "VAE",
    )  # fmt: skip
    assert said.endswith(f"the table is {tmp_path / 'run' / 'history.md'}\n")
    rows = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [(row["view"], row["model"]) for row in rows] == [
        (view, model)
        for view in ("single", "stacked")
        for model in ("PPCA", "RBM, persistent", "VAE")
    ]
    assert (tmp_path / "run" / "history.md").read_text().count("## ") == 2


def test_a_map_shows_domains_that_take_turns(parts: SimpleNamespace) -> None:
    shown = parts.compare_pictures.dots(2000)
    assert len(shown) == parts.compare_pictures.DOTS == len(shown.unique())
    counts = torch.bincount(torch.arange(2000)[shown] % 8, minlength=8)
    assert int(counts.min()) > 150
    assert sorted(parts.compare_pictures.dots(5).tolist()) == [0, 1, 2, 3, 4]
