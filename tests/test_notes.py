"""Notes: what a MIDI file says, and the frames that a note encoder reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from conftest import make_model
from hypothesis import given, settings
from hypothesis import strategies as st

from audiovae.audio.notes import Note, Score, loudness, read_score
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.notes import CHANNELS, KEYS, ROWS, NoteEncoder, Roll

TICKS = 480


def write_midi(path: Path, *tracks: list[tuple[str, dict[str, int]]], tempo: int = 500_000) -> Path:
    """Write messages with times in ticks as a MIDI file at 120 quarters a minute."""
    file = mido.MidiFile(ticks_per_beat=TICKS)
    for number, track in enumerate(tracks):
        first = [mido.MetaMessage("set_tempo", tempo=tempo)] if number == 0 else []
        file.tracks.append(mido.MidiTrack([*first, *(mido.Message(k, **v) for k, v in track)]))
    file.save(path)
    return path


def on(note: int, time: int = 0, velocity: int = 80, channel: int = 0) -> tuple[str, dict]:
    return "note_on", {"note": note, "time": time, "velocity": velocity, "channel": channel}


def off(note: int, time: int = 0, channel: int = 0) -> tuple[str, dict]:
    return "note_off", {"note": note, "time": time, "channel": channel}


def pedal(value: int, time: int = 0) -> tuple[str, dict]:
    return "control_change", {"control": 64, "value": value, "time": time}


def test_tracks_are_one_in_seconds_and_drums_are_left_out(tmp_path: Path) -> None:
    path = write_midi(
        tmp_path / "a.mid",
        [on(60), off(60, TICKS), on(64, TICKS, velocity=30), on(64, TICKS, velocity=0)],
        [on(67, 2 * TICKS), off(67, TICKS), on(38, 0, channel=9), off(38, 10, channel=9)],
    )
    score = read_score(path)
    assert score.drums == 1 and score.end == 1.5
    assert score.notes == (
        Note(0.0, 0.5, 60, 80), Note(1.0, 0.5, 64, 30), Note(1.0, 0.5, 67, 80),
    )  # fmt: skip
    slow = write_midi(tmp_path / "b.mid", [on(60), off(60, TICKS)], tempo=1_000_000)
    assert read_score(slow).notes == (Note(0.0, 1.0, 60, 80),)


def test_the_pedal_holds_and_a_stroke_ends_the_one_before(tmp_path: Path) -> None:
    held = [pedal(127), on(60), off(60, 10), on(62, TICKS), off(62, 10), pedal(0, TICKS - 20)]
    notes = read_score(write_midi(tmp_path / "held.mid", held)).notes
    assert [round(n.start + n.length, 4) for n in notes] == [1.0, 1.0]
    again = [pedal(127), on(60), off(60, 10), on(60, TICKS - 10), off(60, TICKS)]
    notes = read_score(write_midi(tmp_path / "again.mid", again)).notes
    assert notes == (Note(0.0, 0.5, 60, 80), Note(0.5, 0.5, 60, 80))
    assert Score.of([(0, 2, 60, 80), (1, 2, 60, 90)]).notes[0].length == 1
    both = Score.of([(0, 2, 60, 80), (0.001, 1, 60, 90)])
    assert both.notes == (Note(0, 2, 60, 90),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"", "is no MIDI file"),
        (b"RIFF" + bytes(100), "is no MIDI file"),
        (b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\xff\0", "is no MIDI file"),
    ],
)
def test_what_is_no_midi_is_told_in_one_line(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.mid"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_score(path)
    with pytest.raises(UserError, match="is a folder"):
        read_score(tmp_path)


def test_silence_drums_alone_and_a_missing_reader_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="has no notes: nothing"):
        read_score(write_midi(tmp_path / "none.mid", []))
    path = write_midi(tmp_path / "drums.mid", [on(38, channel=9), off(38, 10, channel=9)])
    with pytest.raises(UserError, match="but 1 of drums"):
        read_score(path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'audiovae\[midi\]'"):
        read_score(path)


@pytest.mark.parametrize(
    "note",
    [(0, 1, 60), (-1, 1, 60, 80), (0, 0, 60, 80), (0, 1, 128, 80), (0, 1, 60.5, 80),
     (0, 1, 60, 0), (float("nan"), 1, 60, 80), (0, 1e6, 60, 80), 7],
)  # fmt: skip
def test_a_note_out_of_range_is_told(note: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="is no note"):
        Score.of([note])


def test_softer_is_less_loud_by_its_square() -> None:
    loud, soft = ([Note(0, 1, 60, v), Note(1, 1, 64, v)] for v in (120, 60))
    assert loudness(loud) - loudness(soft) == pytest.approx(40 * np.log10(2))


def test_a_frame_says_what_sounds_since_when_and_how_hard() -> None:
    roll = Roll((Note(1.05, 0.4, 69, 127),), rate=10.0)
    frames = roll.frames(8, 12).numpy()
    key = frames[: KEYS * CHANNELS].reshape(KEYS, CHANNELS, 12)[69]
    # Struck in the middle of frame 10, held to the middle of frame 14.
    assert key[0] == pytest.approx([0, 0, 1, *[0] * 9], abs=1e-6)
    assert key[2] == pytest.approx([0, 0, 0.5, 1, 1, 1, 0.5, *[0] * 5], abs=1e-6)
    assert key[5, 3:6] == pytest.approx(np.exp([-0.1, -0.2, -0.3]), abs=1e-6)
    assert key[6, 6] == pytest.approx(1) and 0 < key[6, 7] < key[6, 6] and not key[6, :6].any()
    other = np.delete(frames[:-1].reshape(KEYS, CHANNELS, 12), 69, axis=0)
    assert not other.any()
    late = Roll((Note(1.075, 0.4, 69, 64),), rate=10.0).frames(8, 12).numpy()
    assert late[69 * CHANNELS, 2:4] == pytest.approx([0.75, 0.25])
    assert late[69 * CHANNELS + 1, 2:4] == pytest.approx([0.75 * 64 / 127, 0.25 * 64 / 127])


@settings(max_examples=20, deadline=None)
@given(st.integers(-20, 60), st.integers(1, 40))
def test_a_roll_is_a_function_of_the_frame(start: int, count: int) -> None:
    draw = np.random.default_rng(0)
    notes = Score.of(
        (s, d, int(p), 90)
        for s, d, p in zip(
            draw.uniform(0, 4, 30), draw.uniform(0.02, 1, 30), draw.integers(50, 60, 30),
            strict=True,
        )
    ).notes  # fmt: skip
    roll = Roll(notes, rate=10.0)
    whole = roll.frames(-20, 120)
    assert torch.equal(roll.frames(start, count), whole[:, start + 20 : start + 20 + count])


@pytest.fixture(scope="module")
def model() -> AudioVAE:
    made = make_model()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made.notes = NoteEncoder(made.config)
    made.notes.keys.copy_(torch.tensor([40.0, 90.0]))
    return made.eval()


def test_pieces_of_a_score_equal_the_whole(model: AudioVAE) -> None:
    assert model.notes is not None
    roll = Roll((Note(0.1, 1, 60, 80), Note(0.7, 2, 64, 100)), model.config.latent_rate)
    with torch.inference_mode():
        whole = model.notes.tell([(roll, 0)], 200)
        part, again = (model.notes.tell([(roll, f)], n) for f, n in ((50, 30), (0, 200)))
        both = model.notes.tell([(roll, 50), (roll, 0)], 30)
    assert whole.mean.shape == (1, 8, 200) and whole.mean.std() > 0
    torch.testing.assert_close(part.mean, whole.mean[..., 50:80])
    torch.testing.assert_close(both.logvar[:1], part.logvar)
    assert torch.equal(whole.mean, again.mean)


def test_a_frame_depends_on_its_context_and_every_parameter_learns(model: AudioVAE) -> None:
    assert model.notes is not None
    frames = torch.rand(1, ROWS, 101, requires_grad=True)
    told = model.notes(frames)
    told.mean[..., 50].sum().backward(retain_graph=True)
    seen = frames.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    beside = model.notes.context_frames
    assert (int(seen.min()), int(seen.max())) == (50 - beside, 50 + beside)
    (told.mean.square().sum() + told.logvar.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.notes.parameters())
    model.notes.zero_grad()


def test_keys_that_training_never_heard_are_moved_by_octaves(model: AudioVAE) -> None:
    assert model.notes is not None
    score, moved = model.notes.within(Score.of([(0, 1, 20, 80), (0, 1, 60, 80), (0, 1, 127, 80)]))
    assert moved == 2 and sorted(n.pitch for n in score.notes) == [44, 60, 79]
    same = Score.of([(0, 1, 60, 80)])
    assert model.notes.within(same) == (same, 0)


def test_a_checkpoint_keeps_the_note_encoder(model: AudioVAE, tmp_path: Path) -> None:
    assert model.notes is not None
    again = AudioVAE.from_pretrained(model.save_pretrained(tmp_path / "m"))
    assert again.notes is not None and (tmp_path / "m" / "notes.safetensors").is_file()
    for name, tensor in model.notes.state_dict().items():
        assert torch.equal(again.notes.state_dict()[name], tensor)
    assert AudioVAE.from_pretrained(make_model().save_pretrained(tmp_path / "n")).notes is None
