"""The prior over time: probabilities, draws, fitting, the checkpoint, and what generate makes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import last_json
from conftest import TINY_RATE, make_model

from audiovae import cli
from audiovae.apps.draws import SequencePath
from audiovae.apps.generate import GenerateSettings, generate_audio, generate_files
from audiovae.apps.info import describe
from audiovae.errors import CheckpointError, CorpusError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.sequence import MOST_LEVELS, SequencePrior, SequenceShape
from audiovae.model.sequence_sampler import SequenceSampler
from audiovae.model.weights import SEQUENCE
from audiovae.training import sequence as fitting
from audiovae.training.levels import Heard, autoregressive_nats, standard_nats

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
    heard = Heard(shape.to_levels(z), (len(z),))
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
        "train": Heard(levels[:3000], (1500, 1480, 20)), "valid": Heard(levels[3000:], (1000,)),
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


# Fitting a model's prior, from its folder to the sound.


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two domains of stepping tones."""
    folder = tmp_path_factory.mktemp("steps") / "music"
    for number, domain in enumerate(("oboe", "viola")):
        (folder / domain).mkdir(parents=True)
        for i in range(5):
            steps = np.repeat(np.arange(8) * (i % 3 + 1) % 5, TINY_RATE // 8)
            turns = np.cumsum(220 * 2 ** (steps / 6 + number)) / TINY_RATE
            sound = (0.2 + 0.01 * i) * np.sin(2 * np.pi * turns)
            soundfile.write(folder / domain / f"{i}.wav", sound, TINY_RATE)
    return folder


@pytest.fixture(scope="module")
def fitted(music: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """A model, a copy of it with a prior over time, and what fitting said."""
    folder = tmp_path_factory.mktemp("fitted")
    make_model().save_pretrained(folder / "model", storage="int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "ROWS", 4)
        patch.setattr(fitting, "FRAMES", 32)
        said = fit(music, folder / "model", folder / "copy")
    return folder / "model", folder / "copy", said


def fit(music: Path, model: Path, output: Path | None = None, steps: int = 40) -> dict:
    return fitting.fit_prior(music, model, output, steps=steps, state=16, hidden=3, progress=False)


def test_fitting_adds_a_file_and_a_line(fitted: tuple[Path, Path, dict]) -> None:
    model, copy, said = fitted
    assert said["steps"] == 40 and said["valid"]["nats"] < said["valid"]["standard"]
    names = {str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file()}
    theirs = {str(p.relative_to(model)) for p in model.rglob("*") if p.is_file()}
    assert names == theirs | {SEQUENCE}
    for name in theirs - {"config.json"}:
        assert (copy / name).read_bytes() == (model / name).read_bytes()
    header = json.loads((copy / "config.json").read_text())
    assert header.pop("sequence")["facts"]["nats"]["nats"] == round(said["valid"]["nats"], 3)
    assert header == json.loads((model / "config.json").read_text())
    assert describe(copy)["prior_over_time"]["steps"] == 40
    assert describe(model)["prior_over_time"] == "none"


def test_the_prior_travels_with_the_model(fitted: tuple[Path, Path, dict], tmp_path: Path) -> None:
    model = AudioVAE.from_pretrained(fitted[1])
    assert model.sequence is not None
    back = AudioVAE.from_pretrained(model.save_pretrained(tmp_path / "again"))
    assert back.sequence is not None and back.sequence.shape == model.sequence.shape
    assert back.sequence.facts == model.sequence.facts
    levels = SequenceSampler(model.sequence).draw(chances(20, dimensions=8))[None]
    assert torch.equal(back.sequence(levels)[0], model.sequence(levels)[0])
    assert AudioVAE.from_pretrained(fitted[0]).sequence is None


def test_fitting_resumes_to_the_bit(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "ROWS", 2)
    monkeypatch.setattr(fitting, "FRAMES", 8)
    monkeypatch.setitem(fitting.SETTINGS, "checkpoint_every", 3)
    whole, stopped = (make_model().save_pretrained(tmp_path / name) for name in ("one", "two"))
    fit(music, whole, steps=7)  # In place: no output is named.
    step, calls = fitting.SequenceTask.step, itertools.count()

    def stop(task: fitting.SequenceTask, number: int) -> dict[str, float]:
        if next(calls) == 4 + 5:  # Four of preflight, then five.
            raise KeyboardInterrupt
        return step(task, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fitting.SequenceTask, "step", stop)
        fit(music, stopped, steps=7)
    assert fit(music, stopped, steps=7)["steps"] == 7
    assert (whole / SEQUENCE).read_bytes() == (stopped / SEQUENCE).read_bytes()


def test_what_cannot_be_fitted(
    music: Path, fitted: tuple[Path, Path, dict], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is no checkpoint"):
        fit(music, fitted[0], music)
    alone = tmp_path / "alone" / "oboe"
    alone.mkdir(parents=True)
    shutil.copy(music / "oboe" / "1.wav", alone)
    with pytest.raises(CorpusError, match="valid split"):
        fit(alone.parent, fitted[0], tmp_path / "out")
    broken = tmp_path / "broken"
    shutil.copytree(fitted[1], broken)
    header = json.loads((broken / "config.json").read_text())
    for change, words in (
        ({"steps": [1.0, 1.0]}, "as many"),
        ({"steps": [1.0], "lowest": [0], "levels": [2]}, "another number of dimensions"),
        ({"state": 17}, "does not fit"),
    ):
        shape = header["sequence"]["shape"] | change
        text = json.dumps(header | {"sequence": {"shape": shape}})
        (broken / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=words):
            AudioVAE.from_pretrained(broken)


def test_pieces_of_a_path_are_the_path(prior: SequencePrior) -> None:
    whole = SequencePath(prior, 5, 1.0, CPU)(0, 700)
    parts = SequencePath(prior, 5, 1.0, CPU)
    # As pieces with context ask: what was given may be asked again.
    got = [parts(start, frames) for start, frames in ((0, 130), (100, 300), (390, 310))]
    assert torch.equal(got[0], whole[:, :, :130]) and torch.equal(got[1], whole[:, :, 100:400])
    assert torch.equal(got[2], whole[:, :, 390:]) and len(parts.levels) == 310
    assert whole.shape == (1, 3, 700)
    assert (SequencePath(prior, 6, 1.0, CPU)(0, 700) != whole).any()


def test_generate_draws_from_it(fitted: tuple[Path, Path, dict], tmp_path: Path) -> None:
    model = AudioVAE.from_pretrained(fitted[1])
    plain = GenerateSettings(0.4, precision="fp32")
    sound = generate_audio(model, "flute", plain)
    alone = GenerateSettings(0.4, precision="fp32", prior="frames")
    other = generate_audio(model, "flute", alone)
    assert len(sound) == len(other) == 0.4 * TINY_RATE and (sound != other).any()
    older = AudioVAE.from_pretrained(fitted[0])
    assert np.array_equal(generate_audio(older, "flute", plain), other)
    made = generate_files(model, tmp_path, to=["flute", "piano"], count=3, settings=plain)
    names = [f"generated-{i}.{d}.wav" for i in (1, 2, 3) for d in ("flute", "piano")]
    assert [one.path.name for one in made] == names
    sounds = [soundfile.read(one.path)[0] for one in made]
    assert all((a != b).any() for a, b in itertools.combinations(sounds, 2))
    assert np.abs(sounds[0] - sound).max() < 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": "sequence"}, "no prior over time"),
        ({"prior": "melody"}, "expected one of auto"),
    ],
)
def test_a_model_without_it_says_so(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        generate_audio(make_model(), "flute", GenerateSettings(0.3, **options))


def test_options_of_the_other_prior_are_refused(fitted: tuple[Path, Path, dict]) -> None:
    model = AudioVAE.from_pretrained(fitted[1])
    for options in ({"smooth": 0.1}, {"component": 1}):
        with pytest.raises(UserError, match="go with --prior frames"):
            generate_audio(model, "flute", GenerateSettings(0.3, **options))
    with pytest.raises(UserError, match="count is 0"):
        generate_files(model, "out", to=["flute"], count=0)


def test_the_verb_fits_and_says_what_it_is_worth(
    music: Path,
    fitted: tuple[Path, Path, dict],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "ROWS", 2)
    monkeypatch.setattr(fitting, "FRAMES", 8)
    words = ["fit-prior", str(music), "--steps", "2"]
    out = str(tmp_path / "out")
    assert cli.main([*words, "--model", str(fitted[0]), "-o", out, "--json"]) == 0
    said = capsys.readouterr().out
    assert "nats" in said and last_json(said)["output"] == out
    assert cli.main(words) == 2
    assert "-o OUT" in capsys.readouterr().err
