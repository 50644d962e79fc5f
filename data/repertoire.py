"""Which pieces the transfer test plays, and which others its classifier learns from.

    python data/repertoire.py MANIFEST --cache scores

chooses them from a seed and writes the manifest that data/transfer_test.py renders. It is run when
the test shall be another one: recipes/transfer_test.json is fixed. Test pieces are of the test
split and in ranges that several instruments share: single lines and music in several voices.
Classifier pieces are of the training split, each for one domain, within that domain's range.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from invented import invented_scores
from layout import DataError, run
from performance import perform, rows, seconds
from ranges import Range, playing_range, shared_range
from render import DOMAINS, write_json
from scores import Note, Score, load_scores, order
from synthesis import known_soundfonts

FORMAT = 1
# Collections with one piece a file; the others are books that take minutes to read.
COLLECTIONS = ("bach", "ryansMammoth", "invented")
INVENTED = 1200  # twice what training takes, so that enough lie in the test split
UNSEEN = {"cello": 42, "oboe": 68, "vibraphone": 11, "accordion": 21}
OTHER_FONT = "timgm"
TEST_SECONDS, CLASSIFIER_SECONDS = 40.0, 28.0
CLASSIFIER_PIECES = 14  # of each domain, half of them single lines


@dataclass(frozen=True)
class Item:
    """An arrangement of a score: what a manifest says of a piece."""

    score: str
    close: bool
    """Whether parts are moved by octaves to where the top part is."""
    shift: int
    """Semitones up."""
    notes: str
    """Hash of the notes as they are played."""


@dataclass(frozen=True)
class Kind:
    """So many pieces of each collection that all of these domains can play."""

    domains: tuple[str, ...]
    single: bool
    counts: dict[str, int]

    @property
    def range(self) -> Range:
        """The pitches these domains share."""
        return shared_range(DOMAINS[d] for d in self.domains)


_WIDE = ("piano", "harpsichord", "organ", "guitar", "strings")
KINDS = (
    Kind(tuple(DOMAINS), False, {"bach": 2, "ryansMammoth": 2, "invented": 12}),
    Kind(_WIDE, False, {"bach": 2, "ryansMammoth": 2, "invented": 16}),
    Kind(tuple(DOMAINS), True, {"ryansMammoth": 10, "invented": 5}),
    Kind((*_WIDE, "trumpet", "clarinet"), True, {"ryansMammoth": 2, "invented": 2}),
    Kind(("piano", "organ", "strings", "clarinet", "flute"), True, {"invented": 2}),
    Kind(_WIDE, True, {"invented": 3}),
)


def close_position(score: Score) -> Score:
    """A score whose parts are moved by octaves to within half an octave of the top part's mean.

    Four voices then fit into two octaves, as a flute and a guitar share them.
    """
    pitches: dict[int, list[int]] = {}
    for note in score.notes:
        pitches.setdefault(note.part, []).append(note.pitch)
    means = {part: fmean(p) for part, p in pitches.items()}
    top = max(means.values())
    moves = {part: 12 * round((top - mean) / 12) for part, mean in means.items()}
    moved = sorted(n._replace(pitch=n.pitch + moves[n.part]) for n in score.notes)
    return dataclasses.replace(score, notes=tuple(moved))


def play(score: Score, close: bool, shift: int, seed: int, max_seconds: float) -> tuple[Note, ...]:
    """The notes of an arrangement in seconds, moved by `shift` semitones."""
    arranged = close_position(score) if close else score
    notes = perform(arranged, seed, max_seconds, vary=False)
    return tuple(n._replace(pitch=n.pitch + shift) for n in notes)


def digest(notes: Iterable[Note]) -> str:
    """SHA-256 of notes: of their rows as JSON without spaces."""
    text = json.dumps(rows(notes), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_single(notes: Sequence[Note]) -> bool:
    """Whether one note sounds at a time, but for overlaps of a player's fingers (60 ms)."""
    ends = [n.start + n.length for n in notes]
    return all(b.start > end - 0.06 for end, b in zip(ends, notes[1:], strict=False))


def choose(scores: Sequence[Score], seed: int) -> dict[str, Any]:
    """The pieces and the classifier's pieces of a manifest: name to `Item` as a dict.

    Raises:
        DataError: the scores are too few for `KINDS`.
    """
    ordered = order(sorted(scores, key=lambda s: s.name), seed)
    test = [s for s in ordered if s.split == "test"]
    pieces: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    for kind in KINDS:
        for collection, count in kind.counts.items():
            pool = [s for s in test if s.collection == collection and s.tune not in used]
            found = _fitting(pool, kind.range, kind.single, seed, TEST_SECONDS)
            for _ in range(count):
                name, tune, item = _next(found, f"{collection} for {', '.join(kind.domains)}")
                used.add(tune)
                pieces[name] = dataclasses.asdict(item)
    classifier: dict[str, dict[str, Any]] = {d: {} for d in DOMAINS}
    for i in range(CLASSIFIER_PIECES):
        for domain, program in DOMAINS.items():
            pool = [s for s in ordered if s.split == "train" and s.tune not in used]
            wanted = playing_range(program)
            found = _fitting(pool, wanted, i % 2 == 1, seed, CLASSIFIER_SECONDS)
            name, tune, item = _next(found, f"training scores for {domain}")
            used.add(tune)
            classifier[domain][name] = dataclasses.asdict(item)
    return {"pieces": pieces, "classifier": classifier}


def _next(found: Iterator[tuple[str, str, Item]], what: str) -> tuple[str, str, Item]:
    try:
        return next(found)
    except StopIteration:
        raise DataError(f"there are too few scores of {what}; expected the whole corpus") from None


def _fitting(
    pool: Iterable[Score], within: Range, single: bool, seed: int, max_seconds: float
) -> Iterator[tuple[str, str, Item]]:
    """Name, tune and item of scores that fit a range, as they are or in close position.

    Left out are slow and short ones: segments with notes in every other second shall be found.
    """
    tunes: set[str] = set()
    for score in pool:
        if score.tune in tunes:
            continue
        for close in (False, True):
            notes = play(score, close, 0, seed, max_seconds)
            length = seconds(notes)
            busy = len({int(n.start) for n in notes}) >= 0.6 * length
            if not busy or length < 0.7 * max_seconds or is_single(notes) != single:
                break
            lowest, highest = min(n.pitch for n in notes), max(n.pitch for n in notes)
            shifts = [s for s in range(-24, 25) if within.holds((lowest + s, highest + s))]
            if shifts:
                shift = random.Random(f"{seed} shift {score.name}").choice(shifts)
                moved = play(score, close, shift, seed, max_seconds)
                tunes.add(score.tune)
                yield score.name, score.tune, Item(score.name, close, shift, digest(moved))
                break


def domains_of(fonts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The manifest's domains: face a, and face b from the same and from another soundfont."""
    first, second = fonts
    face_a = {d: _domain(p, first, "a") for d, p in DOMAINS.items()}
    unseen = {d: _domain(p, first, "b") for d, p in UNSEEN.items()}
    other = {f"{OTHER_FONT}-{d}": _domain(p, second, "b", d) for d, p in DOMAINS.items()}
    return face_a | unseen | other


def _domain(program: int, font: str, face: str, like: str | None = None) -> dict[str, Any]:
    return {"program": program, "soundfont": font, "face": face, "like": like}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("manifest", type=Path, metavar="MANIFEST", help="JSON file to write")
    made.add_argument("--cache", type=Path, help="folder that keeps parsed scores")
    made.add_argument("--seed", type=int, default=1)
    options = made.parse_args(arguments)
    fonts = known_soundfonts()
    if len(fonts) < 2:
        raise DataError(
            "two soundfonts are needed; install Debian's fluid-soundfont-gm and pip install "
            "pretty_midi"
        )
    found = [*load_scores("music21", options.cache), *invented_scores(count=INVENTED)]
    chosen = choose([s for s in found if s.collection in COLLECTIONS], options.seed)
    hashes = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in fonts}
    manifest = {
        "format": FORMAT,
        "seed": options.seed,
        "seconds": {"pieces": TEST_SECONDS, "classifier": CLASSIFIER_SECONDS},
        "soundfonts": hashes,
        "domains": domains_of(list(hashes)),
        **chosen,
    }
    write_json(options.manifest, manifest)
    print(f"{len(chosen['pieces'])} pieces: {options.manifest}")


if __name__ == "__main__":
    run(main)
