"""The transfer test's data: ranges, the choice of pieces, the fixed manifest, rendering."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranges
import render
import repertoire
import soundfile
import synthesis
import transfer_test
from invented import invented_scores
from layout import DataError
from scores import Note, Score
from scripts import score

from audiovae.evaluation.testset import TestSet

MANIFEST = json.loads(transfer_test.MANIFEST.read_text("utf-8"))


# Ranges


@pytest.mark.parametrize(
    ("program", "low", "high"),
    # Written down anew as MIDI pitches: guitar E2 (open) to B5 (19th fret of the E4 string), and
    # what B-flat instruments sound a whole tone lower than written (E3 to C7, F#3 to D6).
    [(0, 21, 108), (24, 40, 64 + 19), (42, 36, 81), (71, 52 - 2, 96 - 2), (56, 54 - 2, 86 - 2)],
)
def test_ranges_are_sounding_pitches(program: int, low: int, high: int) -> None:
    assert ranges.playing_range(program) == (low, high)


def test_every_range_is_one_of_sounding_pitches_of_the_keyboard() -> None:
    for program in ranges.RANGES:
        low, high = ranges.playing_range(program)
        assert 21 <= low < high <= 108 and high - low >= 17
    assert [ranges.midi_pitch(n) for n in ("C4", "A4", "Eb4", "G#7", "A0")] == [60, 69, 63, 104, 21]
    shared = ranges.shared_range((24, 73))
    assert shared == (60, 83)
    assert shared.holds([60, 83]) and not shared.holds([59]) and not shared.holds([84])
    with pytest.raises(DataError, match="no playing range is known of program 127"):
        ranges.playing_range(127)


# Arrangements


def test_close_position_moves_parts_by_octaves_to_the_top_part() -> None:
    parts = {0: [72, 76], 1: [64, 67], 2: [55, 57], 3: [41, 43]}  # means 74, 65.5, 56, 42
    notes = tuple(Note(float(i), 1.0, p, 80, k) for k, v in parts.items() for i, p in enumerate(v))
    moved = repertoire.close_position(Score("chorale", "bach", None, tuple(sorted(notes))))
    found = {k: [n.pitch for n in moved.notes if n.part == k] for k in parts}
    assert found == {0: [72, 76], 1: [76, 79], 2: [79, 81], 3: [77, 79]}


def test_a_shift_moves_every_note_and_nothing_else() -> None:
    tune = score("tune", [60 + i % 7 for i in range(60)])
    plain = repertoire.play(tune, False, 0, seed=3, max_seconds=20)
    moved = repertoire.play(tune, False, 5, seed=3, max_seconds=20)
    assert moved == tuple(n._replace(pitch=n.pitch + 5) for n in plain)
    assert repertoire.digest(moved) != repertoire.digest(plain)


@pytest.mark.parametrize(("second", "single"), [(0.97, True), (0.5, False)])
def test_a_single_line_may_overlap_by_a_finger(second: float, single: bool) -> None:
    notes = [Note(0.0, 1.0, 60, 80, 0), Note(second, 1.0, 62, 80, 0)]
    assert repertoire.is_single(notes) is single


def test_the_hash_is_of_the_notes_as_json() -> None:
    text = "[[0.05,0.5,60,80]]"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert repertoire.digest([Note(0.05, 0.5, 60, 80, 3)]) == expected


# The choice, and the manifest


def test_chosen_pieces_fit_their_ranges_and_share_no_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = tuple(dataclasses.replace(k, counts={"invented": 2}) for k in repertoire.KINDS[:3])
    monkeypatch.setattr(repertoire, "KINDS", kinds)
    monkeypatch.setattr(repertoire, "CLASSIFIER_PIECES", 2)
    made = {s.name: s for s in invented_scores(count=260)}
    chosen = repertoire.choose(list(made.values()), seed=5)
    assert chosen == repertoire.choose(list(made.values())[::-1], seed=5)
    pieces = transfer_test.perform_items(chosen["pieces"], made, 5, repertoire.TEST_SECONDS)
    assert len(pieces) == 6 and sum(map(repertoire.is_single, pieces.values())) == 2
    assert all(repertoire.KINDS[1].range.holds(n.pitch for n in p) for p in pieces.values())
    heard = []
    for domain, items in chosen["classifier"].items():
        own = ranges.playing_range(render.DOMAINS[domain])
        played = transfer_test.perform_items(items, made, 5, repertoire.CLASSIFIER_SECONDS)
        assert len(played) == 2 and all(own.holds(n.pitch for n in p) for p in played.values())
        heard += list(played)
    assert {made[n].split for n in pieces} == {"test"} and {made[n].split for n in heard} == {
        "train"
    }
    tunes = [made[n].tune for n in [*pieces, *heard]]
    assert len(set(tunes)) == len(tunes)
    with pytest.raises(DataError, match="too few scores of invented for piano, harpsichord"):
        repertoire.choose(list(made.values())[:20], seed=5)


def test_the_manifest_has_the_eight_domains_and_twelve_unseen_ones() -> None:
    domains = MANIFEST["domains"]
    faces = Counter(d["face"] for d in domains.values())
    assert faces == {"a": 8, "b": 12}
    assert {n: d["program"] for n, d in domains.items() if d["face"] == "a"} == render.DOMAINS
    likes = {n: d["like"] for n, d in domains.items() if d["like"]}
    assert set(likes.values()) == set(render.DOMAINS)
    for name, like in likes.items():
        assert domains[name]["program"] == domains[like]["program"]
        assert domains[name]["soundfont"] == "TimGM6mb.sf2" != domains[like]["soundfont"]
    assert repertoire.domains_of(list(MANIFEST["soundfonts"])) == domains
    classified = set(itertools.chain.from_iterable(MANIFEST["classifier"].values()))
    assert len(classified) == 8 * repertoire.CLASSIFIER_PIECES
    assert not classified & set(MANIFEST["pieces"])


@pytest.fixture(scope="module")
def played() -> dict[str, tuple[Note, ...]]:
    """The notes of the manifest's pieces; reading them compares their hashes."""
    pytest.importorskip("music21")
    import warnings

    names = {i["score"] for i in MANIFEST["pieces"].values()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = transfer_test.find_scores(names, None, workers=1)
    assert {s.split for s in scores.values()} == {"test"}
    longest = MANIFEST["seconds"]["pieces"]
    return transfer_test.perform_items(MANIFEST["pieces"], scores, MANIFEST["seed"], longest)


def test_scores_that_are_nowhere_are_named() -> None:
    pytest.importorskip("music21")
    with pytest.raises(DataError, match="lacks 1 of the manifest's scores, first bach-bwv9999"):
        transfer_test.find_scores({"invented-0001", "bach-bwv9999"}, None, workers=1)


def test_the_manifest_gives_every_pair_two_dozen_segments(
    played: dict[str, tuple[Note, ...]], tmp_path: Path
) -> None:
    for domain, piece in itertools.product(MANIFEST["domains"], played):
        (tmp_path / domain).mkdir(exist_ok=True)
        (tmp_path / domain / f"{piece}.flac").touch()
    content = transfer_test.describe(MANIFEST, played, {}, tmp_path)
    groups = {f"{d}/{p}.flac": p for d, p in itertools.product(MANIFEST["domains"], played)}
    notes = {name: repertoire.rows(n) for name, n in played.items()}
    for name, what in (("test", content), ("groups", groups), ("notes", notes)):
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    found = TestSet.open(tmp_path)
    single = Counter[bool]()
    for source, target in itertools.product([*found.domains, *found.unseen], found.domains):
        segments = found.segments(source, target)
        assert len(segments) == 24, (source, target)
        single.update(found.monophonic(s.piece) for s in segments)
    assert 0.25 < single[True] / single.total() < 0.75


# Rendering


class Beeps:
    """A stand-in for a synthesiser: a click a note, louder for a higher program."""

    def __init__(self, soundfont: Path) -> None:
        self.soundfont = soundfont

    def render(self, notes: list[Note], program: int, samples: int) -> np.ndarray:
        audio = np.zeros(samples, np.float32)
        for note in notes:
            audio[round(note.start * synthesis.SAMPLE_RATE)] = 1.0
        audio[0] = 0.01 * program  # what tells domains apart
        return audio


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[list[str], dict[str, Any]]:
    """The command's arguments for a manifest of two made-up pieces, played by `Beeps`."""
    fonts = [tmp_path / "one.sf2", tmp_path / "two.sf2"]
    for font in fonts:
        font.write_bytes(font.name.encode())
    for module in (render, transfer_test):
        monkeypatch.setattr(module, "open_synthesiser", Beeps)
    items = {}
    for made in invented_scores(count=3):
        notes = repertoire.play(made, False, 0, 1, 12.0)
        items[made.name] = repertoire.Item(made.name, False, 0, repertoire.digest(notes))
    pieces = {n: dataclasses.asdict(i) for n, i in items.items()}
    last = {"invented-0002": pieces.pop("invented-0002")}
    manifest = MANIFEST | {
        "pieces": pieces,
        "classifier": {"piano": last},
        "domains": {
            "piano": repertoire._domain(0, "one.sf2", "a"),
            "flute": repertoire._domain(73, "one.sf2", "a"),
            "other-flute": repertoire._domain(73, "two.sf2", "b", "flute"),
        },
        "soundfonts": {f.name: transfer_test.hash_file(f) for f in fonts},
        "seconds": {"pieces": 12.0, "classifier": 12.0},
    }
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    given = ["--manifest", str(path), "--workers", "1", "--soundfonts", *map(str, fonts)]
    return given, manifest


def test_rendering_makes_a_test_set(
    small: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    given, manifest = small
    out = tmp_path / "out"
    transfer_test.main([str(out), *given])
    made = TestSet.open(out)
    made.verify()
    assert (made.domains, made.unseen) == (["flute", "piano"], ["other-flute"])
    assert made.domain("other-flute").like == "flute" and made.domain("piano").high == 108
    assert made.classifier_files() == {"piano": [out / "classifier/piano/invented-0002.flac"]}
    for piece in manifest["pieces"]:
        sounds = [soundfile.read(out / d / f"{piece}.flac")[0] for d in ("flute", "other-flute")]
        assert np.array_equal(*sounds)
        notes = json.loads((out / "notes.json").read_text())[piece]
        onsets = {round(n[0] * synthesis.SAMPLE_RATE) for n in notes}
        assert set(np.flatnonzero(sounds[0] > 0.6)) == onsets - {0}
    known = (out / "test.json").read_bytes()
    next(out.glob("piano/*.flac")).unlink()
    transfer_test.main([str(out), *given])
    assert (out / "test.json").read_bytes() == known


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("seed", 2, "the notes of invented-000. are not the manifest's"),
        ("soundfonts", {"one.sf2": "0" * 64}, "no soundfont is the manifest's one.sf2"),
        ("format", 9, "is no manifest of format 1"),
    ],
)
def test_what_is_not_the_manifests_is_named(
    key: str, value: object, says: str, small: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    given, manifest = small
    Path(given[1]).write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(DataError, match=says) as caught:
        transfer_test.main([str(tmp_path / "out"), *given])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_manifest_and_a_missing_score_are_refused(
    small: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    given, manifest = small
    out = tmp_path / "out"
    transfer_test.main([str(out), *given])
    fewer = dict(list(manifest["pieces"].items())[:1])
    Path(given[1]).write_text(json.dumps(manifest | {"pieces": fewer}))
    with pytest.raises(DataError, match="another manifest's renders"):
        transfer_test.main([str(out), *given])
    with pytest.raises(DataError, match=r"no manifest|the manifest is missing"):
        transfer_test.main([str(out), "--manifest", str(tmp_path / "nowhere.json")])
