"""Scores and their performances, in data/."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import invented
import numpy as np
import performance
import pytest
import scores
from layout import DataError
from scores import Note, Score
from scripts import score, tunes


def test_split_is_by_tune_and_fixed() -> None:
    melody = [60, 62, 64, 65, 67, 65, 64, 62, 60, 67, 72, 71, 69, 67]
    solo = score("solo", melody)
    bass = tuple(Note(float(i), 1.0, 40 + i, 80, 1) for i in range(14))
    moved = tuple(n._replace(pitch=n.pitch + 3) for n in solo.notes)
    setting = Score("setting", "bach", None, tuple(sorted(moved + bass)))
    assert solo.tune == setting.tune == "2 2 1 2 -2 -1 -2 -2 7 5 -1 -2"
    assert solo.split == setting.split
    shares = Counter(s.split for s in invented.invented_scores(count=400))
    assert 0.10 < shares["test"] / 400 < 0.20


def test_order_holds_the_shares_of_the_collections_in_every_prefix() -> None:
    made = [Score(f"b{i}", "bach", None, ()) for i in range(60)]
    made += [Score(f"r{i}", "ryansMammoth", None, ()) for i in range(60)]
    ordered = scores.order(made, seed=1)
    assert Counter(s.collection for s in ordered[:40]) == {"bach": 30, "ryansMammoth": 10}
    assert ordered == scores.order(list(made), seed=1)
    assert ordered != scores.order(list(made), seed=2)


@pytest.mark.parametrize(
    "line",
    [
        "!!!YEM: Rights to all derivative electronic formats reserved. rights reserved",
        "% Copyright (C) 1999 somebody",
        "<rights>2010 – a CC-BY-SA 3.0 license</rights>",
        "© 2014 license (CC-BY)",
        "for non-commercial distribution and use",
    ],
)
def test_an_encoding_that_states_a_restriction_or_a_licence_is_found(line: str) -> None:
    assert scores.restriction(f"X:1\nT: a tune\n{line}\n") == line


@pytest.mark.parametrize("line", ["<rights>Released to Public Domain</rights>", "Z: somebody"])
def test_a_free_encoding_passes(line: str) -> None:
    assert scores.restriction(f"X:1\n{line}") is None


def test_midi_folder_becomes_scores_and_its_cache_holds_them(tmp_path: Path) -> None:
    pretty_midi = pytest.importorskip("pretty_midi")
    song = pretty_midi.PrettyMIDI()
    for program, drum, pitch in ((0, False, 60), (40, False, 72), (0, True, 36)):
        instrument = pretty_midi.Instrument(program, is_drum=drum)
        instrument.notes = [pretty_midi.Note(90, pitch + i, 0.5 * i, 0.5 * i + 0.4) for i in (0, 1)]
        song.instruments.append(instrument)
    folder, cache = tmp_path / "midi", tmp_path / "cache"
    (folder / "sub").mkdir(parents=True)
    song.write(str(folder / "sub" / "a song.mid"))
    (folder / "broken.mid").write_bytes(b"MThd")
    first = scores.load_scores(str(folder), cache)
    assert [s.name for s in first] == ["sub-a-song"]
    assert [(n.pitch, n.part) for n in first[0].notes] == [(60, 0), (72, 1), (61, 0), (73, 1)]
    assert scores.load_scores(str(folder), cache) == first
    kept = next(cache.glob("sub-a-song.*.json"))
    kept.write_text(kept.read_text().replace("sub-a-song", "from-cache"))
    assert scores.load_scores(str(folder), cache)[0].name == "from-cache"


def test_music21_score_becomes_notes_without_chord_symbols_and_grace_notes() -> None:
    pytest.importorskip("music21")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21 import chord, harmony, note, stream, tempo, tie

        part = stream.Part()
        part.append(tempo.MetronomeMark(number=80))
        held, ending = note.Note("C4", quarterLength=1), note.Note("C4", quarterLength=1)
        held.tie, ending.tie = tie.Tie("start"), tie.Tie("stop")
        for element in (held, ending, chord.Chord(["E4", "G4"]), note.Note("A4").getGrace()):
            part.append(element)
        part.insert(0, harmony.ChordSymbol("C"))
        found = scores._notes(stream.Score([part]))
    assert found[0] == 80
    assert [n[:3] for n in found[1]] == [(0.0, 2.0, 60), (2.0, 1.0, 64), (2.0, 1.0, 67)]


@pytest.mark.parametrize(("source", "says"), [("nowhere", "no folder"), (".", "no .mid file")])
def test_score_folders_that_do_not_serve(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=says):
        scores.load_scores(source)


def test_invented_scores_are_seeded_and_within_the_keyboard() -> None:
    made = invented.invented_scores(count=60)
    assert made == invented.invented_scores(count=60)
    assert made[0] != invented.invented_scores(seed=1, count=1)[0]
    pitches = [n.pitch for s in made for n in s.notes]
    assert min(pitches) < 40 and max(pitches) > 90
    assert all(33 <= p <= 98 for p in pitches)
    assert all(len(s.notes) > 10 and s.notes == tuple(sorted(s.notes)) for s in made)


# Performances


def test_a_performance_follows_from_seed_and_name() -> None:
    tune = tunes(1)[0]
    first = performance.perform(tune, seed=4, max_seconds=10)
    assert first == performance.perform(tune, seed=4, max_seconds=10)
    assert first != performance.perform(tune, seed=5, max_seconds=10)


@pytest.mark.parametrize("made", invented.invented_scores(seed=9, count=12), ids=lambda s: s.name)
def test_a_performance_can_be_played_by_one_instrument(made: Score) -> None:
    notes = performance.perform(made, seed=1, max_seconds=9.0)
    assert notes == tuple(sorted(notes))
    assert notes[0].start == pytest.approx(0.05)
    assert performance.seconds(notes) <= 9.0
    assert all(n.length > 0 and 24 <= n.velocity <= 124 for n in notes)
    for pitch in {n.pitch for n in notes}:
        voice = [n for n in notes if n.pitch == pitch]
        gaps = [b.start - a.start - a.length for a, b in itertools.pairwise(voice)]
        assert all(gap > 0.005 for gap in gaps)


def test_humanising_moves_notes_a_little() -> None:
    tune = score("steady", [60 + i % 12 for i in range(60)], tempo=60)
    notes = performance.perform(tune, seed=0, vary=False)
    starts = np.array([n.start for n in notes])
    steps = np.diff(starts)
    assert [n.pitch for n in notes] == [n.pitch for n in tune.notes]
    assert 0.85 < steps.mean() < 1.15
    assert 0.005 < steps.std() < 0.1
    assert np.std([n.velocity for n in notes]) > 1


@pytest.mark.parametrize("pitches", [[60, 64], [34, 97], [33, 40], [90, 98], [20, 110]])
def test_a_piece_moves_only_where_every_note_fits(pitches: list[int]) -> None:
    low, high = performance.LOWEST, performance.HIGHEST
    shifts = {performance.transposition(pitches, random.Random(i)) for i in range(200)}
    moved = shifts - {0}
    assert all(low <= p + shift <= high for shift in moved for p in pitches)
    if pitches == [60, 64]:
        assert {-12, 12} <= shifts and len(shifts) > 20
    if pitches == [20, 110]:
        assert shifts == {0}


def test_unisons_become_one_note_and_a_repeat_ends_the_note_before_it() -> None:
    notes = [Note(0.0, 1.0, 60, 80, 0), Note(0.01, 2.0, 60, 70, 1), Note(1.5, 1.0, 60, 75, 0)]
    single = performance.single_voice_a_pitch(notes)
    assert single == [Note(0.0, 1.49, 60, 80, 0), Note(1.5, 1.0, 60, 75, 0)]
