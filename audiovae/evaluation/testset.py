"""A test set: pieces with the same notes on every instrument, and what of them is compared."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from audiovae.audio.files import probe, read
from audiovae.audio.notes import Note, Score
from audiovae.corpus.scan import hash_file
from audiovae.errors import CorpusError
from audiovae.evaluation.testset_files import Content, Domain, read_content

__all__ = ["SECONDS", "Domain", "Note", "Segment", "TestSet", "cut"]

SECONDS = 8.0
"""Length of a compared segment."""
LEAD = 0.05
"""Seconds of a segment before its first onset, so that no attack is cut."""
BUSY = 4
"""Of a segment's seconds, so many must have an onset; the first one has."""
RELEASE = 0.5
"""Seconds for which a note that has ended may still ring."""
QUIETEST_DB = -45.0
"""Where no notes are known: a segment that is quieter counts as out of an instrument's range."""


@dataclass(frozen=True)
class Segment:
    """`SECONDS` of a piece, from `start` seconds."""

    piece: str
    start: float


class TestSet:
    """Aligned renders in a folder.

    Args:
        folder: they lie in.
        content: what its files say; `TestSet.open` reads it.
    """

    __test__ = False  # no class of tests, whatever its name says to a test runner

    def __init__(self, folder: Path, content: Content) -> None:
        self.folder = folder
        self.sample_rate = content.sample_rate
        self._content = content
        self._loud: dict[tuple[str, Segment], bool] = {}

    @classmethod
    def open(cls, folder: str | Path) -> TestSet:
        """Open what `data/transfer_test.py` made, or aligned renders of `data/render.py`.

        Raises `CorpusError` when something is missing or damaged. The sounds are compared with
        their hashes by `verify` alone.
        """
        return cls(Path(folder), read_content(Path(folder)))

    @property
    def has_notes(self) -> bool:
        """Whether it is known what was played, and on what."""
        return bool(self._content.domains)

    @property
    def domains(self) -> list[str]:
        """The domains that are both sources and targets, sorted."""
        return self._faces("a") if self.has_notes else sorted(self._content.files)

    @property
    def unseen(self) -> list[str]:
        """Sources that no training may hear, sorted."""
        return self._faces("b")

    def _faces(self, face: str) -> list[str]:
        return sorted(name for name, d in self._content.domains.items() if d.face == face)

    def domain(self, name: str) -> Domain:
        """Return how a domain was rendered; `CorpusError` where that is not known."""
        if name not in self._content.domains:
            raise CorpusError(
                f"{self.folder} does not say what {name!r} is; expected one of "
                f"{', '.join(self._content.domains) or 'none: it has no test.json'}"
            )
        return self._content.domains[name]

    def monophonic(self, piece: str) -> bool:
        """Return whether a piece is a single line; no, where the notes are not known."""
        return self._content.pieces[piece].monophonic

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that is compared: of `test.json`, which has the sounds' hashes."""
        if self.has_notes:
            return hash_file(self.folder / "test.json")
        paths = sorted(p for files in self._content.files.values() for p in files.values())
        hashes = [hash_file(p) for p in (self.folder / "groups.json", *paths)]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def segments(self, source: str, target: str, count: int = 24) -> list[Segment]:
        """Return up to `count` segments that both domains can play.

        A segment has an onset in its first second and in at least `BUSY` of its seconds, and all
        its notes lie in the ranges of both. Where no notes are known, segments follow one another
        and are loud enough in both. Pieces take turns, in an order that follows from the test's
        seed and the source; segments of a piece never overlap. The first n of a smaller count are
        the first n of a larger one.

        Raises:
            CorpusError: when there is no such domain.
        """
        return self.shared((source, target), count)

    def shared(self, domains: Sequence[str], count: int = 24) -> list[Segment]:
        """Return up to `count` segments that all of `domains` can play, chosen as `segments` are.

        What is compared across domains must have the same notes in all of them: registers would
        tell instruments apart.
        """
        for domain in domains:
            if domain not in self._content.files:
                raise CorpusError(
                    f"{self.folder} has no domain {domain!r}; expected one of "
                    f"{', '.join(self._content.files)}"
                )
        draw = random.Random(f"{self._content.seed} {domains[0]}")
        order = sorted(self._segments)
        draw.shuffle(order)
        turns = []
        for piece in order:
            if all(piece in self._content.files[d] for d in domains):
                starts = list(self._segments[piece])
                draw.shuffle(starts)
                turns.append(s for s in starts if self._plays(domains, s))
        chosen: list[Segment] = []
        while turns and len(chosen) < count:
            turn = turns.pop(0)
            segment = next(turn, None)
            if segment is not None:
                chosen.append(segment)
                turns.append(turn)
        return chosen

    @cached_property
    def _segments(self) -> dict[str, list[Segment]]:
        """All segments of each piece, whoever can play them."""
        found = {}
        for name, piece in self._content.pieces.items():
            starts = cut([n.start for n in piece.notes], piece.seconds)
            if not self.has_notes:
                starts = [i * SECONDS for i in range(int(piece.seconds / SECONDS))]
            found[name] = [Segment(name, start) for start in starts]
        return found

    def _plays(self, domains: Sequence[str], segment: Segment) -> bool:
        if not self.has_notes:
            return all(self._is_loud(d, segment) for d in domains)
        end = segment.start + SECONDS
        pitches = [
            n.pitch
            for n in self._content.pieces[segment.piece].notes
            if n.start < end and n.start + n.length > segment.start - RELEASE
        ]
        ranges = [self._content.domains[d] for d in domains]
        return all(r.low <= min(pitches) and max(pitches) <= r.high for r in ranges)

    def _is_loud(self, domain: str, segment: Segment) -> bool:
        key = (domain, segment)
        if key not in self._loud:
            power = np.mean(np.square(self.audio(domain, segment), dtype=np.float64))
            self._loud[key] = bool(10 * np.log10(power + 1e-12) > QUIETEST_DB)
        return self._loud[key]

    def audio(self, domain: str, segment: Segment) -> np.ndarray:
        """Return a segment's sound in a domain: `(samples,)` float32 of exactly `SECONDS`."""
        path = self._content.files[domain][segment.piece]
        rate = probe(path).sample_rate
        start, frames = round(segment.start * rate), round(SECONDS * rate)
        samples = round(SECONDS * self.sample_rate)
        sound = read(path, start, frames, self.sample_rate)[0].mean(axis=0)[:samples]
        if len(sound) < samples - 1:
            end = segment.start + SECONDS
            raise CorpusError(f"{path} ends before {end:.2f} s: delete it and render it again")
        return np.pad(sound, (0, samples - len(sound)))

    def notes(self, segment: Segment) -> list[Note]:
        """Return what sounds in a segment: times from the segment's start, cut to it.

        A note that began before the segment starts at 0. Notes that the segment holds less than
        `LEAD` of are left out: they end as its first note begins.
        """
        found = []
        for note in self._content.pieces[segment.piece].notes:
            start = max(note.start - segment.start, 0.0)
            end = min(note.start + note.length - segment.start, SECONDS)
            if start < SECONDS and end - start > (LEAD if start == 0 else 0):
                found.append(note._replace(start=start, length=end - start))
        return found

    def score(self, piece: str) -> Score:
        """Return what is played in a piece. Raises `UserError` where that is not known."""
        return Score.of(self._content.pieces[piece].notes, name=piece)

    def classifier_files(self) -> dict[str, list[Path]]:
        """Return domain to unpaired recordings of other pieces; empty where there are none."""
        return dict(self._content.classifier)

    def verify(self) -> None:
        """Compare all sounds with their hashes; `CorpusError` names the first that differs."""
        wrong = [n for n, h in self._content.audio.items() if hash_file(self.folder / n) != h]
        if wrong:
            raise CorpusError(
                f"{self.folder / wrong[0]} (of {len(wrong)}) is not the sound that test.json "
                "lists: render into a new folder"
            )


def cut(onsets: Sequence[float], seconds: float) -> list[float]:
    """Return where segments of a piece start: just before an onset, one after the other.

    Args:
        onsets: of the piece's notes, in seconds.
        seconds: length of the piece; no segment goes beyond it.
    """
    starts: list[float] = []
    free = 0.0
    for onset in sorted(onsets):
        start = round(max(onset - LEAD, 0.0), 5)
        if start < free or start + SECONDS > seconds:
            continue
        busy = {int(o - start) for o in onsets if start <= o < start + SECONDS}
        if len(busy) >= BUSY:
            starts.append(start)
            free = start + SECONDS
    return starts
