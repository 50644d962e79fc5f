"""The prior over time: probabilities, draws, and what fitting compares it with."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from conftest import make_model

from audiovae.apps.draws import SequencePath
from audiovae.model.sequence import MOST_LEVELS, SequencePrior, SequenceShape
from audiovae.model.sequence_sampler import SequenceSampler
from audiovae.training import sequence as fitting
from audiovae.training.levels import Levels, autoregressive_nats, standard_nats

LEVELS = (2, 3, 2)
FRAMES = [torch.tensor(frame) for frame in itertools.product(*map(range, LEVELS))]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior() -> SequencePrior:
    """A small prior of random weights, large enough that everything depends on everything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = SequencePrior(SequenceShape((1.0, 0.5, 2.0), (0, -1, -1), LEVELS, 6, 3))
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, 0, 1.0)
    return made.requires_grad_(False).eval()


def chances(frames: int, seed: int = 0, dimensions: int = 3) -> torch.Tensor:
    return torch.rand(frames, dimensions, generator=torch.Generator().manual_seed(seed))


def test_all_sequences_together_are_certain(prior: SequencePrior) -> None:
    pairs = torch.stack([torch.stack(pair) for pair in itertools.product(FRAMES, FRAMES)])
    nats, _ = prior(pairs)
    assert float(nats.sum(1).exp().sum()) == pytest.approx(1, abs=1e-5)
    assert float(nats[:, 1].std()) > 0.1


def test_a_sequence_told_in_parts_is_the_whole(prior: SequencePrior) -> None:
    levels = SequenceSampler(prior).draw(chances(9))[None]
    whole, _ = prior(levels)
    first, state = prior(levels[:, :4])
    second, _ = prior(levels[:, 4:], state, levels[:, 3])
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    unknown, _ = prior(levels[:, 4:], before=levels[:, 3], known=torch.tensor([False]))
    torch.testing.assert_close(unknown, prior(levels[:, 4:])[0])


def test_draws_invert_the_networks_distribution(prior: SequencePrior) -> None:
    past = SequenceSampler(prior).draw(chances(4))
    rows = torch.stack([torch.cat([past, frame[None].to(torch.uint8)]) for frame in FRAMES])
    odds = prior(rows)[0][:, -1].exp().reshape(LEVELS)
    for seed in range(40):
        row = chances(1, seed + 1)
        drawn = SequenceSampler(prior).draw(torch.cat([chances(4), row]))
        assert (drawn[:4] == past).all()
        left = odds
        for level, chance in zip(drawn[4].tolist(), row[0].tolist(), strict=True):
            told = left.flatten(1).sum(1) if left.dim() > 1 else left
            told = told / told.sum()
            assert told[:level].sum() - 1e-5 <= chance <= told[: level + 1].sum() + 1e-5
            left = left[level]


def test_the_coldest_draw_is_the_likeliest_level(prior: SequencePrior) -> None:
    drawn = [SequenceSampler(prior, 0).draw(chances(20, seed)) for seed in (0, 1)]
    assert (drawn[0] == drawn[1]).all()
    costs = [
        -float(prior(SequenceSampler(prior, t).draw(chances(300))[None])[0].mean())
        for t in (0, 0.5, 1.0, 3.0)
    ]
    assert costs == sorted(costs)


def test_levels_hold_what_was_heard() -> None:
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 9.0])
    shape = SequenceShape.hear(z, torch.tensor([0.4, 1e-4]))
    assert shape.steps[0] == pytest.approx(1.0) and max(shape.levels) <= MOST_LEVELS + 1
    off = (shape.to_z(shape.to_levels(z)) - z).abs().amax(dim=0)
    assert (off <= 0.5001 * torch.tensor(shape.steps)).all()
    assert shape.to_levels(1e3 * z).max() == max(shape.levels) - 1


def test_baselines_cost_what_gaussians_cost() -> None:
    noise = torch.randn(40_000, generator=torch.Generator().manual_seed(0)).tolist()
    walk = [0.0]
    for value in noise:
        walk.append(0.9 * walk[-1] + math.sqrt(1 - 0.81) * value)
    z = torch.tensor(walk)[:, None]
    shape = SequenceShape((0.1,), (-60,), (121,))
    heard = Levels(shape.to_levels(z), (len(z),))
    entropy = 0.5 * math.log(2 * math.pi * math.e) - math.log(0.1)
    assert standard_nats(shape, heard.levels) == pytest.approx(entropy, abs=0.03)
    wanted = entropy + 0.5 * math.log(1 - 0.81)
    assert autoregressive_nats(shape, heard, heard) == pytest.approx(wanted, abs=0.03)


def test_a_task_learns_what_follows_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels that go round, but for one time in ten: fitting comes near to their entropy."""
    monkeypatch.setattr(fitting, "ROWS", 8)
    monkeypatch.setattr(fitting, "FRAMES", 24)
    draw = torch.Generator().manual_seed(0)
    jumps = torch.where(
        torch.rand(4000, 2, generator=draw) < 0.1,
        torch.randint(4, (4000, 2), generator=draw),
        torch.ones(4000, 2, dtype=torch.long),
    )
    levels = (jumps.cumsum(0) % 4).to(torch.uint8)
    heard = {
        "train": Levels(levels[:3000], (1500, 1480, 20)), "valid": Levels(levels[3000:], (1000,)),
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = SequencePrior(SequenceShape((1.0, 1.0), (0, 0), (4, 4), 16, 4))
    config = make_model().config
    training = dataclasses.replace(config.training, learning_rate=3e-2, warmup_steps=10, ema=0.9)
    config = dataclasses.replace(config, training=training)
    task = fitting.SequenceTask(net, config, heard, CPU)
    task.begin(100)
    before = task.held_out_nats()
    for step in range(100):
        task.step(step)
    entropy = 2 * -(0.925 * math.log(0.925) + 3 * 0.025 * math.log(0.025))
    assert before > 2.5
    assert entropy - 0.1 < task.held_out_nats() < entropy + 0.25
    clips, known = task._clips(0)
    again, _ = task._clips(0)
    assert (clips == again).all() and clips.shape == (8, 25, 2) and known.any()


def test_pieces_of_a_path_are_the_path(prior: SequencePrior) -> None:
    whole = SequencePath(prior, 5, 1.0, CPU)(0, 700)
    parts = SequencePath(prior, 5, 1.0, CPU)
    # As pieces with context ask: what was given may be asked again.
    got = [parts(start, frames) for start, frames in ((0, 130), (100, 300), (390, 310))]
    assert torch.equal(got[0], whole[:, :, :130]) and torch.equal(got[1], whole[:, :, 100:400])
    assert torch.equal(got[2], whole[:, :, 390:]) and len(parts.levels) == 310
    assert whole.shape == (1, 3, 700)
    assert (SequencePath(prior, 6, 1.0, CPU)(0, 700) != whole).any()
