"""A test set is opened, cut into segments that two instruments can play, and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiovae.errors import CorpusError
from audiovae.evaluation.testset import SECONDS, Note, Segment, TestSet, cut

RATE = 8_000
SAMPLES = round(SECONDS * RATE)
# The notes of the pieces: one a second, at these pitches in turn.
PIECES = {"high": [72, 74], "low": [45, 48], "middle": [60, 64], "wide": [45, 84]}
RANGES = {"flute": (60, 98), "guitar": (40, 83), "piano": (21, 108), "cello": (36, 81)}


def ramp(seconds: float, level: float = 1.0) -> np.ndarray:
    """A sound whose sample tells its time: second 12.5 is 0.125 at level 1."""
    return level * np.arange(round(seconds * RATE)) / RATE / 100


def rows(pitches: list[int], seconds: int) -> list[list[float]]:
    return [[i + 0.05, 0.9, pitches[i % len(pitches)], 80] for i in range(seconds - 1)]


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_set(folder: Path, seconds: int = 26) -> Path:
    """A test set of four pieces in four domains, of which cello is unseen."""
    notes = {name: rows(pitches, seconds) for name, pitches in PIECES.items()}
    domains, groups, audio = {}, {}, {}
    for number, (domain, (low, high)) in enumerate(RANGES.items()):
        (folder / domain).mkdir(parents=True)
        face, like = ("b", None) if domain == "cello" else ("a", None)
        domains[domain] = {"program": number, "soundfont": "font.sf2", "face": face, "like": like}
        domains[domain] |= {"low": low, "high": high}
        for piece in PIECES:
            name = f"{domain}/{piece}.flac"
            soundfile.write(folder / name, ramp(seconds, 1 / (number + 1)), RATE)
            groups[name] = piece
            audio[name] = hashed((folder / name).read_bytes())
    (folder / "classifier" / "piano").mkdir(parents=True)
    soundfile.write(folder / "classifier/piano/other.flac", ramp(2), RATE)
    content = {
        "format": 1,
        "sample_rate": RATE,
        "seed": 1,
        "domains": domains,
        "pieces": {
            name: {
                "seconds": float(seconds),
                "notes": hashed(json.dumps(r, separators=(",", ":")).encode()),
                "monophonic": name != "wide",
            }
            for name, r in notes.items()
        },
        "classifier": {"piano": ["classifier/piano/other.flac"]},
        "audio": audio,
    }
    for name, what in (("test", content), ("groups", groups), ("notes", notes)):
        (folder / f"{name}.json").write_text(json.dumps(what))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set; tests must not change it."""
    return write_set(tmp_path_factory.mktemp("testset") / "set")


def test_it_says_what_is_there(folder: Path) -> None:
    made = TestSet.open(folder)
    assert made.has_notes and made.sample_rate == RATE
    assert (made.domains, made.unseen) == (["flute", "guitar", "piano"], ["cello"])
    assert made.monophonic("low") and not made.monophonic("wide")
    assert made.classifier_files() == {"piano": [folder / "classifier/piano/other.flac"]}
    assert made.domain("cello").low == 36
    assert made.fingerprint == hashed((folder / "test.json").read_bytes())
    made.verify()
    with pytest.raises(CorpusError, match="does not say what 'oboe' is; expected one of flute"):
        made.domain("oboe")


# Segments


def test_a_segment_starts_just_before_an_onset_and_the_next_one_after_it() -> None:
    onsets = [0.5, 1.2, 2.4, 4.0, 8.4, 8.6, 9.6, 11.0, 12.0, 15.0]
    # 0.45 to 8.45; 8.6 is the first onset after that; the third would end beyond 24 s.
    assert cut(onsets, 24.0) == [0.45, 8.55]
    assert cut(onsets[::-1], 16.5) == [0.45]
    assert cut([0.02, 1.0, 2.0, 3.0], 8.0) == [0.0]


@pytest.mark.parametrize(
    ("onsets", "starts"),
    [
        ([0.05, 1.5, 2.5, 3.5], [0.0]),  # seconds 0, 1, 2, 3
        ([0.05, 0.9, 2.5, 3.5], []),  # seconds 0, 2, 3
        ([0.05, 3.2, 5.1, 7.9], [0.0]),
        ([0.05, 3.2, 5.1, 8.0], []),  # the fourth is beyond the end
        ([0.05, 6.1, 7.1, 8.2, 9.3], [6.05]),  # from 0 there are three
    ],
)
def test_four_seconds_of_eight_must_have_an_onset(onsets: list[float], starts: list[float]) -> None:
    assert cut(onsets, 15.0) == starts


def test_all_notes_of_a_segment_lie_in_both_ranges(folder: Path) -> None:
    made = TestSet.open(folder)

    def pieces(source: str, target: str) -> set[str]:
        return {s.piece for s in made.segments(source, target)}

    assert pieces("piano", "piano") == {"high", "low", "middle", "wide"}
    assert pieces("guitar", "piano") == pieces("piano", "guitar") == {"high", "low", "middle"}
    assert pieces("flute", "guitar") == pieces("cello", "flute") == {"high", "middle"}
    assert pieces("piano", "cello") == {"high", "low", "middle"}
    assert {s.piece for s in made.shared(["piano", "flute"])} == {"high", "middle"}
    with pytest.raises(CorpusError, match="has no domain 'oboe'"):
        made.segments("piano", "oboe")


def test_a_note_that_still_rings_counts(tmp_path: Path) -> None:
    write_set(tmp_path / "set", seconds=18)
    notes = json.loads((tmp_path / "set" / "notes.json").read_text())
    test = json.loads((tmp_path / "set" / "test.json").read_text())
    # The second segment begins at 8.0; a low note ends 0.3 s, and then 0.7 s before it.
    for end, count in ((7.7, 0), (7.3, 1)):
        notes["high"][7] = [7.05, end - 7.05, 45, 80]
        text = json.dumps(notes["high"], separators=(",", ":")).encode()
        test["pieces"]["high"]["notes"] = hashed(text)
        (tmp_path / "set" / "notes.json").write_text(json.dumps(notes))
        (tmp_path / "set" / "test.json").write_text(json.dumps(test))
        found = TestSet.open(tmp_path / "set").segments("flute", "flute")
        assert [s.piece for s in found].count("high") == count


def test_pieces_take_turns_and_a_smaller_count_is_the_beginning_of_a_larger(folder: Path) -> None:
    made = TestSet.open(folder)
    every = made.segments("piano", "piano", 100)
    assert len(every) == len(set(every)) == 12  # four pieces of 26 s, three segments in each
    for i in (0, 4, 8):
        assert {s.piece for s in every[i : i + 4]} == set(PIECES)
    for count in (1, 3, 5, 11):
        assert made.segments("piano", "piano", count) == every[:count]
    assert TestSet.open(folder).segments("piano", "piano", 100) == every
    narrow = made.segments("piano", "guitar", 100)
    assert narrow == [s for s in every if s.piece != "wide"]
    for piece in PIECES:
        starts = sorted(s.start for s in every if s.piece == piece)
        assert starts == [0.0, 8.0, 16.0]


def test_audio_and_notes_are_those_of_the_segment(folder: Path) -> None:
    made = TestSet.open(folder)
    sound = made.audio("guitar", Segment("middle", 8.0))
    assert sound.dtype == np.float32 and sound.shape == (SAMPLES,)
    expected = ramp(26)[round(8 * RATE) :][:SAMPLES] / 2
    assert np.abs(sound - expected).max() < 1e-4
    notes = made.notes(Segment("middle", 8.5))
    # The note of 8.05 to 8.95 is cut at the segment's start, that of 16.05 to 16.95 at its end.
    assert notes[0] == pytest.approx(Note(0.0, 0.45, 60, 80))
    assert notes[1] == pytest.approx(Note(0.55, 0.9, 64, 80))
    assert notes[-1] == pytest.approx(Note(7.55, 0.45, 60, 80))
    assert len(notes) == 9
    assert len(made.notes(Segment("middle", 8.92))) == 8  # 30 ms of a note are none


# What is wrong


def delete(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def change(name: str, key: str, value: Any) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {key: value}))

    return make


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (delete("notes.json"), "notes.json is missing: run data/transfer_test.py"),
        (delete("groups.json"), "groups.json is missing"),
        (delete("flute/low.flac"), "lacks flute/low.flac, which groups.json lists"),
        (delete("classifier/piano/other.flac"), r"lacks classifier/piano/other.flac \(of 1\)"),
        (change("notes.json", "low", [[0.0, 1.0, 60, 80]]), "other notes of low than test.json"),
        (change("test.json", "format", 2), "has format 2; expected 1"),
        (change("test.json", "pieces", 3), "test.json is damaged"),
        (change("test.json", "domains", {"flute": {"program": 1}}), "test.json is damaged"),
        (write("test.json", "{"), "test.json is damaged"),
        (write("groups.json", "{}"), "groups.json lists no file"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    harm: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    folder = write_set(tmp_path / "set", seconds=9)
    harm(folder)
    with pytest.raises(CorpusError, match=says) as caught:
        TestSet.open(folder)
    assert "\n" not in str(caught.value)


def test_no_test_set_and_a_rendering_that_was_stopped(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"neither test.json nor groups.json: .* make some with"):
        TestSet.open(tmp_path)
    (tmp_path / "groups.json").write_text("{}")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CorpusError, match="its rendering was stopped"):
        TestSet.open(tmp_path)


def test_changed_sounds_are_found_on_request_and_short_ones_when_read(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", seconds=9)
    soundfile.write(folder / "flute/low.flac", ramp(5), RATE)
    made = TestSet.open(folder)
    with pytest.raises(CorpusError, match=r"flute/low.flac \(of 1\) is not the sound"):
        made.verify()
    with pytest.raises(CorpusError, match=r"low.flac ends before 8.00 s"):
        made.audio("flute", Segment("low", 0.0))


# Renders without notes


def test_groups_alone_give_consecutive_segments_that_both_can_be_heard_in(tmp_path: Path) -> None:
    groups = {}
    for domain, quiet in (("flute", 1.0), ("piano", 1.0), ("tuba", 0.001)):
        (tmp_path / domain).mkdir()
        for piece, seconds in (("a", 17.0), ("b", 20.0 if domain == "flute" else 9.0)):
            tone = 0.1 * np.sin(np.arange(round(seconds * RATE)) * 0.3)
            tone[SAMPLES:] *= quiet if domain == "tuba" else 1.0
            soundfile.write(tmp_path / domain / f"{piece}.flac", tone, RATE)
            groups[f"{domain}/{piece}.flac"] = piece
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    made = TestSet.open(tmp_path)
    assert not made.has_notes and made.domains == ["flute", "piano", "tuba"]
    assert (made.unseen, made.classifier_files(), made.monophonic("a")) == ([], {}, False)
    assert set(made.segments("flute", "piano")) == {
        *(Segment("a", 0.0), Segment("a", 8.0), Segment("b", 0.0))
    }
    # A tone of 0.1 is at −23 dB; its thousandth at −83 dB.
    assert set(made.segments("flute", "tuba")) == {Segment("a", 0.0), Segment("b", 0.0)}
    first = made.fingerprint
    soundfile.write(tmp_path / "piano" / "a.flac", ramp(17), RATE)
    assert TestSet.open(tmp_path).fingerprint != first
