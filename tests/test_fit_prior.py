"""Fitting a prior over time: from a folder and a model to what `generate` makes of both."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import last_json
from conftest import TINY_RATE, make_model

from audiovae import cli
from audiovae.apps.generate import GenerateSettings, generate_audio, generate_files
from audiovae.apps.info import describe
from audiovae.errors import CheckpointError, CorpusError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.header import checksum
from audiovae.model.sequence_sampler import SequenceSampler
from audiovae.model.weights import SEQUENCE
from audiovae.training import sequence as fitting


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
    assert header["files"].pop(SEQUENCE) == checksum((copy / SEQUENCE).read_bytes())
    assert header == json.loads((model / "config.json").read_text())
    assert describe(copy)["prior_over_time"]["steps"] == 40
    assert describe(model)["prior_over_time"] == "none"


def test_the_prior_travels_with_the_model(fitted: tuple[Path, Path, dict], tmp_path: Path) -> None:
    model = AudioVAE.from_pretrained(fitted[1])
    assert model.sequence is not None
    back = AudioVAE.from_pretrained(model.save_pretrained(tmp_path / "again"))
    assert back.sequence is not None and back.sequence.shape == model.sequence.shape
    assert back.sequence.facts == model.sequence.facts
    levels = SequenceSampler(model.sequence).draw(
        torch.rand(20, 8, generator=torch.Generator().manual_seed(0))
    )[None]
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
