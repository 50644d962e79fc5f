"""Probes of frozen embeddings: fair splits, known answers, folders in three layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import TINY_RATE, noise_samples

from audiovae import cli
from audiovae.errors import CorpusError
from audiovae.evaluation.labelled import Example, Labelled, read_labelled
from audiovae.evaluation.probing import Task, as_table, judge, plan_tasks, run_probes
from audiovae.evaluation.representations import REPRESENTATIONS
from audiovae.model.autoencoder import AudioVAE

INSTRUMENTS = {"sine": (1,), "dark": (1, 2), "hollow": (1, 3, 5), "bright": (1, 2, 3, 4, 5, 6)}


def tone_of(pitch: int, partials: tuple[int, ...], seconds: float = 0.15) -> np.ndarray:
    time = np.arange(round(seconds * TINY_RATE)) / TINY_RATE
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    return 0.1 * sum(np.sin(2 * np.pi * k * hertz * time) for k in partials)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two octaves of four instruments in NSynth's layout."""
    folder = tmp_path_factory.mktemp("notes")
    part = folder / "nsynth-test"
    (part / "audio").mkdir(parents=True)
    table = {}
    for name, partials in INSTRUMENTS.items():
        for pitch in range(48, 72):
            key = f"{name}-{pitch:03d}"
            table[key] = {"instrument_str": name, "pitch": pitch, "velocity": 100}
            soundfile.write(part / "audio" / f"{key}.wav", tone_of(pitch, partials), TINY_RATE)
    (part / "examples.json").write_text(json.dumps(table))
    return folder


def test_notes_are_split_by_octave_and_by_instrument(notes: Path) -> None:
    labelled = read_labelled(notes)
    instrument, pitch = plan_tasks(labelled)
    assert (labelled.layout, len(labelled.examples)) == ("notes", 96)
    octaves = {
        e.pitch: learns for e, learns in zip(labelled.examples, instrument.learns, strict=True)
    }
    assert octaves == {p: p < 60 for p in range(48, 72)}
    sides = zip(labelled.examples, pitch.learns, strict=True)
    learned = {e.label for e, learns in sides if learns}
    assert learned == {"bright", "hollow"} and len(set(pitch.labels)) == 12


def test_a_label_on_one_side_leaves_its_task_out(notes: Path) -> None:
    examples = read_labelled(notes).examples
    low = Labelled("notes", [e for e in examples if (e.pitch or 0) < 60])
    assert [task.name for task in plan_tasks(low)] == ["pitch"]
    assert not plan_tasks(Labelled("notes", examples[:1]))


def test_notes_end_to_end(
    notes: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", str(notes), "-o", str(tmp_path), "--model", str(tiny_checkpoint), "--json"]
    assert cli.main([*words, "--precision", "fp32"]) == 0
    said = capsys.readouterr().out
    stored = json.loads((tmp_path / "probe.json").read_text())
    facts = json.loads(said.splitlines()[-1])
    assert facts["results"] == stored["results"]
    assert (tmp_path / "probe.md").read_text().strip() in said
    instrument, pitch = stored["results"]
    assert (instrument["train"], instrument["test"]) == (48, 48)
    assert (instrument["chance"], pitch["chance"]) == (0.25, pytest.approx(1 / 12))
    for result in stored["results"]:
        assert set(result["accuracy"]) == set(REPRESENTATIONS)
    # One partial or six: the plainest features hear that, an octave up too.
    assert instrument["accuracy"]["log-mel"]["logistic"] > 0.4


def test_two_clouds_are_told_apart_and_noise_is_not() -> None:
    draw = np.random.default_rng(0)
    labels = np.array(["a", "b"] * 200)
    apart = draw.standard_normal((400, 3)) + 6 * (labels == "b")[:, None]
    noise = draw.standard_normal((400, 3))
    for kind in ("logistic", "knn"):
        sides = (slice(0, 200), slice(200, 400))
        for x, low, high in ((apart, 0.99, 1), (noise, 0.35, 0.65)):
            score = judge(kind, x[sides[0]], labels[sides[0]], x[sides[1]], labels[sides[1]])
            assert low <= score <= high


def folders(place: Path, recordings: int = 2) -> Path:
    for name in ("loud", "soft"):
        for i in range(recordings):
            (place / name).mkdir(parents=True, exist_ok=True)
            sound = noise_samples(1.0)[0] * (1 if name == "loud" else np.hanning(TINY_RATE))
            soundfile.write(place / name / f"{i}.wav", sound, TINY_RATE)
    return place


def test_folders_are_split_by_recording(
    tmp_path: Path, tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audiovae.evaluation import probing

    asked = []

    def record(train, test, kind, seed, steps):  # type: ignore[no-untyped-def]
        asked.append({name: (len(train[name]), len(test[name])) for name in train})
        return 0.5

    monkeypatch.setattr(probing, "probe", record)
    results = run_probes(tiny_model, [folders(tmp_path / "in")], tmp_path, precision="fp32")
    first = results[0]
    assert (first.task, first.train, first.test) == ("domain", 2, 2)
    frames = -(-TINY_RATE // tiny_model.config.latent_hop)
    assert asked[0] == {"loud": (frames, frames), "soft": (frames, frames)}
    assert "timbre" not in results[1].accuracy and results[1].task == "domain, by frame"


def test_onsets_are_where_notes_begin() -> None:
    from audiovae.evaluation.probing import _begins, _with_neighbours

    example = Example("a", "b", TINY_RATE, 1.0, lambda: np.zeros(1), onsets=(0.0, 0.26, 5.0))
    assert _begins(example, 10, 10.0).nonzero()[0].tolist() == [0, 2]
    around = _with_neighbours(np.arange(3.0)[:, None], 1)
    assert around.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]


def test_a_table_has_a_row_for_each_probe() -> None:
    task = Task("pitch", ["a", "b"], [True, False], "instruments")
    from audiovae.evaluation.probing import Result

    accuracy = {"content": {"logistic": 0.5, "knn": 0.25}}
    table = as_table([Result("f", task.name, task.split, 0.5, 1, 1, accuracy)])
    assert table.splitlines()[2:] == [
        "| pitch | instruments | logistic | 50.0 | 50.0 | – | – | – | 1 | 1 |",
        "| pitch | instruments | knn | 50.0 | 25.0 | – | – | – | 1 | 1 |",
    ]


def test_what_has_no_labels(
    tmp_path: Path, tiny_model: AudioVAE, tone: Callable[..., Path]
) -> None:
    with pytest.raises(CorpusError, match="no folder"):
        read_labelled(tmp_path / "gone")
    (tmp_path / "one").mkdir()
    with pytest.raises(CorpusError, match="fewer than two labels"):
        read_labelled(tmp_path / "one")
    table = tmp_path / "bad" / "examples.json"
    table.parent.mkdir()
    table.write_text('{"a": {"pitch": 60}}')
    with pytest.raises(CorpusError, match="instrument_str"):
        read_labelled(table.parent)
    table.write_text('{"a": {"pitch": 60, "instrument_str": "x"}}')
    with pytest.raises(CorpusError, match="lacks the note a"):
        read_labelled(table.parent)
    out = tmp_path / "out"
    with pytest.raises(CorpusError, match="too few sounds"):
        run_probes(tiny_model, [folders(tmp_path / "few", 1)], out)
    assert not out.exists()
