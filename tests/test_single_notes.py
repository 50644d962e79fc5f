"""Single notes in NSynth's layout, by data/single_notes.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import single_notes
import soundfile
from layout import DataError
from scores import Note

from audiovae.evaluation.labelled import read_labelled

ROOT = Path(__file__).parents[1]


class Beeps:
    """A stand-in for a synthesiser: a tone a note, and a record of what was played."""

    played: list[tuple[Note, int]]

    def __init__(self, soundfont: Path) -> None:
        Beeps.played = []

    def render(self, notes: Sequence[Note], program: int, samples: int) -> np.ndarray:
        Beeps.played.append((notes[0], program))
        return np.sin(np.arange(samples) * 0.05).astype(np.float32) * 0.1


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF")
    monkeypatch.setattr(single_notes, "open_synthesiser", Beeps)
    asked = "--domains oboe=68 tuba=58 --pitches 59 60 --velocities 40 90 --lengths 0.1 0.2"
    return [str(tmp_path / "out"), *asked.split(), "--soundfont", str(font)]


def test_notes_are_what_their_table_says(words: list[str], tmp_path: Path) -> None:
    single_notes.main(words)
    table = json.loads((tmp_path / "out" / "examples.json").read_text())
    assert len(table) == len(Beeps.played) == 8
    row = table["oboe-060-090"]
    assert (row["instrument_family_str"], row["pitch"], row["velocity"]) == ("reed", 60, 90)
    assert table["tuba-059-040"]["instrument_family_str"] == "brass"
    heard, rate = soundfile.read(tmp_path / "out" / "audio" / "oboe-060-090.flac")
    assert np.abs(heard).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3)
    spare = single_notes.START + single_notes.RELEASE
    assert len(heard) / rate == pytest.approx(row["length"] + spare, abs=1e-3)
    examples = read_labelled(tmp_path / "out").examples
    assert {(e.label, e.pitch) for e in examples} == {
        (name, pitch) for name in ("oboe", "tuba") for pitch in (59, 60)
    }


def test_it_goes_on_where_it_was_stopped(words: list[str], tmp_path: Path) -> None:
    single_notes.main(words)
    (tmp_path / "out" / "audio" / "tuba-060-040.flac").unlink()
    single_notes.main(words)
    assert [(n.pitch, n.velocity, p) for n, p in Beeps.played] == [(60, 40, 58)]
    with pytest.raises(DataError, match="other options"):
        single_notes.main([*words, "--velocities", "41"])


@pytest.mark.parametrize(
    ("option", "said"),
    [("--pitches 60 50", "LOW first"), ("--velocities 0", "1 to 127"), ("--lengths 0", "0.05")],
)
def test_wrong_options(words: list[str], option: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        single_notes.main([*words, *option.split()])


def test_the_default_instruments_trained_nothing() -> None:
    # The transfer test plays four of them, as sources alone.
    heard: set[int] = set()
    for name in ("programs.txt", "programs_musescore.txt"):
        for item in (ROOT / "recipes" / name).read_text().split():
            heard |= {int(p) for p in item.partition("=")[2].split(",")}
    unheard = {int(item.partition("=")[2]) for item in single_notes.UNHEARD.split()}
    assert len(unheard) == 16 and not heard & unheard
