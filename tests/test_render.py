"""Scores become domains of sound: plans, rendering, synthesisers, in data/."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import layout
import numpy as np
import pytest
import render
import soundfile
import synthesis
from layout import DataError
from scores import Note, Score
from scripts import tunes


def options(**changes: object) -> argparse.Namespace:
    given = {"mode": "aligned", "split": "all", "pieces": None, "start": 0, "minutes": None}
    given |= {"max_seconds": 12.0, "min_seconds": 4.0, "vary": True, "seed": 0}
    return argparse.Namespace(**(given | changes))


# Plans


def test_aligned_pieces_have_one_list_of_notes_for_every_domain() -> None:
    pieces = render.plan(tunes(), render.parse_domains(None), options(pieces=5))
    assert len(pieces) == 5
    assert all(dict(p.domains) == render.DOMAINS for p in pieces)


def test_unpaired_domains_share_no_tune_and_have_equal_minutes() -> None:
    twice = [*tunes(), *(Score(f"{s.name}-again", *_rest(s)) for s in tunes())]
    domains = render.parse_domains(["piano", "flute", "organ"])
    pieces = render.plan(twice, domains, options(mode="unpaired"))
    assert len(pieces) == len(twice)
    homes: dict[str, set[str]] = {}
    lengths = Counter[str]()
    for piece in pieces:
        ((domain, _),) = piece.domains
        homes.setdefault(piece.name.removesuffix("-again"), set()).add(domain)
        lengths[domain] += round(piece.seconds)
    assert all(len(h) == 1 for h in homes.values())
    assert max(lengths.values()) < 1.25 * min(lengths.values())


def _rest(made: Score) -> tuple[str, float | None, tuple[Note, ...]]:
    return made.collection, made.tempo, made.notes


def test_plan_keeps_to_split_start_pieces_and_minutes() -> None:
    made = tunes(60)
    piano, two = {"piano": (0,)}, {"piano": (0,), "flute": (73,)}
    train = render.plan(made, piano, options(split="train"))
    test = render.plan(made, piano, options(split="test"))
    assert {p.name for p in train} | {p.name for p in test} == {s.name for s in made}
    assert not {p.name for p in train} & {p.name for p in test}
    later = render.plan(made, piano, options(split="train", start=3, pieces=4))
    assert later == train[3:7]
    capped = render.plan(made, two, options(minutes=1.0, mode="unpaired"))
    seconds = Counter[str]()
    for piece in capped:
        seconds[piece.domains[0][0]] += round(piece.seconds)
    assert all(55 < s < 75 for s in seconds.values())
    with pytest.raises(DataError, match="no piece is left of 60 scores"):
        render.plan(made, piano, options(min_seconds=1000))


def test_domains_are_parsed_and_wrong_ones_named() -> None:
    assert render.parse_domains(None) == {d: (p,) for d, p in render.DOMAINS.items()}
    assert render.parse_domains(["flute", "low=42,43"]) == {"flute": (73,), "low": (42, 43)}
    for wrong in (
        "low=42,",
        "low=42,128",
        "cello",
        "cello=128",
        "a/b=3",
        "=4",
        "cello=-1",
        ".hidden=3",
    ):
        with pytest.raises(DataError, match="expected name=program"):
            render.parse_domains([wrong])


# Rendering


class Beeps:
    """A stand-in for a synthesiser: a sine a note."""

    calls = 0

    def __init__(self, soundfont: Path) -> None:
        self.soundfont = soundfont

    def render(self, notes: list[Note], program: int, samples: int) -> np.ndarray:
        Beeps.calls += 1
        time = np.arange(samples) / synthesis.SAMPLE_RATE
        audio = np.zeros(samples, np.float32)
        for n in notes:
            held = (time >= n.start) & (time < n.start + n.length)
            audio += held * np.sin(2 * np.pi * 440 * 2 ** ((n.pitch - 69) / 12) * time) * 0.3
        return audio * (1 + program / 50)


@pytest.fixture
def beeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command's arguments for two invented pieces, played by `Beeps`."""
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF")
    monkeypatch.setattr(render, "open_synthesiser", Beeps)
    monkeypatch.setattr(Beeps, "calls", 0)
    given = "--scores invented --domains piano flute --pieces 2 --max-seconds 3 --min-seconds 1"
    return [*given.split(), "--workers", "1", "--soundfont", str(font)]


def test_aligned_rendering(beeps: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    render.main([str(out), *beeps, "--mode", "aligned"])
    groups = json.loads((out / "groups.json").read_text())
    files = sorted(out.glob("*/*.flac"))
    assert sorted(groups) == [str(f.relative_to(out)) for f in files] and len(files) == 4
    assert {f.stem for f in files} == set(groups.values())
    notes = json.loads((out / "notes.json").read_text())
    assert set(notes) == set(groups.values())
    assert all(start >= 0 and 0 < pitch < 128 for n in notes.values() for start, _, pitch, _ in n)
    for file in files:
        audio, rate = soundfile.read(file)
        info = soundfile.info(file)
        assert (rate, info.channels, info.subtype) == (44_100, 1, "PCM_16")
        assert np.abs(audio).max() == pytest.approx(render.PEAK, abs=1e-3)
        assert len(audio) <= 3 * 44_100
    for name in set(groups.values()):
        lengths = {soundfile.info(out / d / f"{name}.flac").frames for d in ("piano", "flute")}
        assert len(lengths) == 1


def test_rendering_goes_on_and_grows_and_refuses_other_options(
    beeps: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [str(out), *beeps, "--mode", "aligned"]
    render.main(arguments)
    kept = {p: p.read_bytes() for p in out.glob("*/*.flac")}
    gone = next(iter(kept))
    gone.unlink()
    render.main(arguments)
    assert Beeps.calls == 5
    assert {p: p.read_bytes() for p in out.glob("*/*.flac")} == kept
    render.main([*arguments, "--pieces", "3"])
    assert Beeps.calls == 7
    with pytest.raises(DataError, match="other options"):
        render.main([*arguments, "--seed", "1"])


def test_domains_join_a_folder_and_none_changes_its_voice(beeps: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(out), *beeps, "--mode", "aligned"]
    render.main(arguments)
    before = json.loads((out / "groups.json").read_text())
    font = tmp_path / "other.sf2"
    font.touch()
    joining = [*arguments, "--domains", "cello=42", "--soundfont", str(font)]
    render.main(joining)
    after = json.loads((out / "groups.json").read_text())
    assert before.items() < after.items()
    assert {d.split("/")[0] for d in after.keys() - before.keys()} == {"cello"}
    assert set(after.values()) == set(before.values())
    voices = json.loads((out / "render.json").read_text())["domains"]
    assert voices["cello"] == {"program": 42, "soundfont": "other.sf2"}
    with pytest.raises(DataError, match="other options"):
        render.main([*joining[:-3], "cello=43", *joining[-2:]])
    render.main(joining)


def test_programs_of_one_domain_take_turns(beeps: list[str], tmp_path: Path) -> None:
    given = options(pieces=4)
    pieces = render.plan(tunes(), {"piano": (0,), "mixed": (4, 40)}, given)
    assert [dict(p.domains) for p in pieces] == [
        {"piano": 0, "mixed": program} for program in (4, 40, 4, 40)
    ]
    later = render.plan(tunes(), {"piano": (0,), "mixed": (4, 40)}, options(start=1, pieces=3))
    assert later == pieces[1:]
    arguments = [str(tmp_path / "out"), *beeps, "--mode", "aligned", "--domains", "piano"]
    render.main([*arguments, "mixed=4,40"])
    voices = json.loads((tmp_path / "out" / "render.json").read_text())["domains"]
    assert voices["mixed"]["program"] == [4, 40] and voices["piano"]["program"] == 0
    with pytest.raises(DataError, match="other options"):
        render.main([*arguments, "mixed=4,41"])


def test_no_domain_joins_an_unpaired_folder(beeps: list[str], tmp_path: Path) -> None:
    arguments = [str(tmp_path / "out"), *beeps, "--mode", "unpaired"]
    render.main(arguments)
    with pytest.raises(DataError, match="other domains, unpaired"):
        render.main([*arguments, "--domains", "piano", "flute", "cello=42"])
    render.main(arguments)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--pieces", "0"], "--pieces must be more than 0"),
        (["--minutes", "-1"], "--minutes must be more than 0"),
        (["--max-seconds", "1"], "at least 2"),
        (["--soundfont", "nowhere.sf2"], "no soundfont nowhere.sf2"),
        (["--domains", "piano=200"], "expected name=program"),
        (["--domains", "piano=0,"], "expected name=program"),
        (["--min-seconds", "100"], "no piece is left"),
    ],
)
def test_wrong_options_are_named(
    wrong: list[str], says: str, beeps: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=says) as caught:
        render.main([str(out), *beeps, *wrong])
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_no_synthesiser_gives_one_line_that_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF")
    with pytest.raises(SystemExit) as stopped:
        layout.run(render.main, [str(tmp_path / "out"), "--soundfont", str(font)])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: no synthesiser found; apt install libfluidsynth3")
    assert line.count("\n") == 1


def test_no_soundfont_gives_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthesis, "SYSTEM_SOUNDFONT", tmp_path / "none.sf2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="no soundfont found; install"):
        synthesis.find_soundfont()


def test_events_lie_on_the_grid_and_offs_come_first() -> None:
    notes = [Note(0.1, 0.5, 60, 80, 0), Note(0.6, 0.5, 62, 81, 0), Note(9.0, 1.0, 64, 82, 0)]
    events = synthesis._events(notes, samples=44_100)
    assert [e[1:] for e in events] == [(1, 60, 80), (0, 60, 0), (1, 62, 81), (0, 62, 0)]
    assert all(e[0] % synthesis.BLOCK == 0 for e in events)
    assert events[0][0] / 44_100 == pytest.approx(0.1, abs=0.001)


def test_a_real_synthesiser_gives_the_same_bits_whatever_it_played_before() -> None:
    try:
        player = synthesis.open_synthesiser(synthesis.find_soundfont())
    except DataError as missing:
        pytest.skip(str(missing))
    notes = [Note(0.05, 0.3, 60, 90, 0), Note(0.2, 0.3, 67, 70, 0)]
    samples = 30_001
    first = player.render(notes, 0, samples)
    other = player.render(notes, 48, samples)
    assert first.shape == (samples,) and first.dtype == np.float32
    assert np.abs(first[:2000]).max() == 0 and np.abs(first[2300:4000]).max() > 1e-3
    assert not np.allclose(first, other)
    assert np.array_equal(first, player.render(notes, 0, samples))
