"""Scores played: what is written, and how a model learns it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import last_json
from conftest import TINY_RATE, make_model
from test_notes import TICKS, off, on, write_midi
from test_testset import write_set

import audiovae
from audiovae import cli
from audiovae.apps.engine import Voice
from audiovae.apps.play import TAIL, PlaySettings, play
from audiovae.audio.notes import Score
from audiovae.audio.resample import resample
from audiovae.config import NotesConfig
from audiovae.errors import CorpusError, UserError
from audiovae.evaluation.runner import Scope, run_test
from audiovae.evaluation.systems import NotesSystem, make_systems
from audiovae.evaluation.testset import SECONDS, TestSet
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.notes import NoteEncoder
from audiovae.training.notes import train_notes

PITCHES = {"a": (57, 60, 64), "b": (60, 67, 59), "c": (62, 65, 69)}
SMALL = NotesConfig(width=16, blocks=1, expansion=2)


@pytest.fixture(scope="module")
def model() -> AudioVAE:
    made = make_model()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made.notes = NoteEncoder(made.config)
    return made.eval()


@pytest.fixture
def midi(tmp_path: Path) -> Path:
    drum = [on(38, channel=9), off(38, 10, channel=9)]
    return write_midi(tmp_path / "score.mid", [on(60), on(64), off(60, TICKS), off(64)], drum)


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pieces of three notes of half a second, in two domains of their own overtones."""
    folder = tmp_path_factory.mktemp("renders")
    time = np.arange(TINY_RATE // 2) / TINY_RATE
    groups, notes = {}, {}
    for piece, pitches in PITCHES.items():
        notes[piece] = [[0.5 * i, 0.5, pitch, 80] for i, pitch in enumerate(pitches)]
        for domain, partials in (("flute", 1), ("piano", 4)):
            (folder / domain).mkdir(exist_ok=True)
            hertz = [440 * 2 ** ((pitch - 69) / 12) for pitch in pitches]
            tones = [
                sum(np.sin(2 * np.pi * k * h * time) / k for k in range(1, partials + 1))
                for h in hertz
            ]
            sound = 0.2 * np.concatenate(tones)
            soundfile.write(folder / domain / f"{piece}.wav", sound, TINY_RATE)
            groups[f"{domain}/{piece}.wav"] = piece
    (folder / "groups.json").write_text(json.dumps(groups))
    (folder / "notes.json").write_text(json.dumps(notes))
    return folder


def test_play_writes_a_file_a_target_of_the_scores_length(
    model: AudioVAE, midi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model.save_pretrained(tmp_path / "model")
    words = ["play", str(midi), "--to", "flute", "piano", "--blend", "flute=1,piano=1"]
    out = tmp_path / "out"
    assert cli.main([*words, "-o", str(out), "--model", str(folder), "--json"]) == 0
    said = capsys.readouterr().out
    assert "2 notes, 1 of drums left out" in said and "times real time" in said
    assert [f["target"] for f in last_json(said)["files"]] == ["flute", "piano", "blend"]
    for name in ("flute", "piano", "blend"):
        sound, rate = soundfile.read(out / f"score.{name}.wav", dtype="float32")
        assert (rate, len(sound)) == (TINY_RATE, round((0.5 + TAIL) * TINY_RATE))
        assert np.isfinite(sound).all() and sound.std() > 0
    alone = audiovae.play_score(model, midi, "flute")
    wrote = soundfile.read(out / "score.flute.wav", dtype="float32")[0]
    assert np.abs(np.clip(alone, -1, 1) - wrote).max() < 1e-3


@pytest.mark.parametrize("vocoder", [True, False])
def test_pieces_and_seeds_play_as_they_should(vocoder: bool) -> None:
    model = make_model(vocoder=vocoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model.notes = NoteEncoder(model.config)
    notes = [(0.3, 0.8, 60, 90), (1.2, 0.5, 67, 50), (3.9, 0.1, 72, 90)]

    def sound(**settings: float) -> np.ndarray:
        return audiovae.play_score(model.eval(), notes, "flute", PlaySettings(**settings))

    whole, parts = sound(piece_seconds=100.0), sound(piece_seconds=0.5)
    assert whole.shape == parts.shape == (5 * TINY_RATE,)
    if vocoder:  # Griffin-Lim's pieces differ from the whole.
        assert np.abs(whole - parts).max() < 1e-4
        drawn = [sound(temperature=1.0, seed=seed) for seed in (1, 1, 2)]
        assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    # Silence in the score is silence: after the second note's tail, before the third.
    assert not whole[round(3.2 * TINY_RATE) : round(3.5 * TINY_RATE)].any()
    assert whole[round(0.4 * TINY_RATE) : round(1.5 * TINY_RATE)].std() > 0


def test_harder_strokes_are_another_sound(model: AudioVAE) -> None:
    soft, loud = (
        np.concatenate(
            list(
                play(
                    model,
                    Score.of([(0, 0.5, 60, 80), (0.5, 0.5, 60, v)]),
                    Voice.of("flute"),
                    PlaySettings(),
                )
            ),
            axis=1,
        )
        for v in (30, 120)
    )
    assert np.abs(soft - loud).max() > 1e-6


def test_a_model_without_notes_and_other_errors_are_one_line(
    model: AudioVAE,
    tiny_checkpoint: Path,
    midi: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = ["play", str(midi), "--to", "flute", "-o", str(out), "--model", str(tiny_checkpoint)]
    assert cli.main(words) == 2
    assert "audiovae train-notes" in capsys.readouterr().err
    folder = str(model.save_pretrained(tmp_path / "model"))
    for wrong, said in (
        ([str(midi), "--to", "kazoo"], "no domain 'kazoo'"),
        ([str(midi), str(midi), "--to", "flute"], "named twice"),
        ([str(tmp_path / "no.mid"), "--to", "flute"], "does not exist"),
        ([__file__, "--to", "flute"], "is no MIDI file"),
        ([str(midi)], "no target"),
    ):
        assert cli.main(["play", *wrong, "-o", str(out), "--model", folder]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not out.exists()
    with pytest.raises(UserError, match="temperature"):
        PlaySettings(temperature=-1)


def test_training_learns_and_leaves_the_model_as_it_was(
    tiny_model: AudioVAE, renders: Path, tmp_path: Path
) -> None:
    words = (renders, renders / "notes.json", tiny_model)
    first, last = (
        train_notes(*words, tmp_path / str(n), settings=SMALL, steps=n, progress=False)
        for n in (1, 30)
    )
    assert last["valid"]["score"] < first["valid"]["score"]
    assert last["valid"]["divergence"] < 0.8 * first["valid"]["divergence"]
    grown = AudioVAE.from_pretrained(tmp_path / "30")
    assert tiny_model.notes is None and grown.notes is not None
    assert grown.config.notes == SMALL and grown.config.training == tiny_model.config.training
    assert 57 <= int(grown.notes.keys[0]) < int(grown.notes.keys[1]) <= 69
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(grown.state_dict()[name], tensor)
    assert bool(grown.notes.head.span[0] < grown.notes.head.span[1])
    assert audiovae.play_score(grown, [(0, 1, 60, 80)], "piano").shape == (2 * TINY_RATE,)
    # The same call finds its run at its end, and what was heard beside it.
    again = train_notes(*words, tmp_path / "30", settings=SMALL, steps=30, progress=False)
    assert again["steps"] == 30
    twin = AudioVAE.from_pretrained(tmp_path / "30").notes
    assert twin is not None
    assert all(
        torch.equal(a, b) for a, b in zip(twin.parameters(), grown.notes.parameters(), strict=True)
    )


def test_a_test_set_with_its_scores_has_a_row_of_notes(model: AudioVAE, tmp_path: Path) -> None:
    testset = TestSet.open(write_set(tmp_path / "set"))
    names = ["copy", "model", "notes"]
    *_, system = make_systems(names, model, testset, model.domains, precision="fp32")
    assert isinstance(system, NotesSystem) and system.name == "notes"
    segments = testset.segments("piano", "flute", 2)
    made = system.play(segments, "flute")
    assert made.shape == (2, round(SECONDS * testset.sample_rate)) and made.std() > 0
    torch.testing.assert_close(system.play(segments[1:], "flute")[0], made[1])
    # What sounds is the whole piece's: as if it were played from its start.
    piece = testset.score(segments[0].piece)
    whole = audiovae.play_score(model, piece.notes, "flute", PlaySettings(precision="fp32"))
    cut = resample(whole[None], TINY_RATE, testset.sample_rate)[0]
    start = round(segments[0].start * testset.sample_rate)
    cut = cut[start : start + made.shape[1]]
    assert log_spectral_distance(made[:1].numpy(), cut[None], testset.sample_rate)[0] < 1
    pairs = run_test(testset, [system], ["flute", "piano"], Scope(1, 0, False))
    assert {p.system for p in pairs} == {"notes"} and len(pairs) == 4
    with pytest.raises(UserError, match="no sound"):
        system.render(made, "piano", "flute")


def test_training_without_notes_is_told(
    tiny_model: AudioVAE, renders: Path, tmp_path: Path
) -> None:
    for content, said in ((None, "no notes at"), ("[]", "lists no notes"), ("{}", "has notes")):
        path = tmp_path / "notes.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(CorpusError, match=said):
            train_notes(renders, path, tiny_model, tmp_path / "out", steps=1, progress=False)
    with pytest.raises(UserError, match="give sound"):
        train_notes(renders, path, make_model("waveform"), tmp_path / "out", steps=1)
