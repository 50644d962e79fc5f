"""Scores as plain lists of notes: music21's corpus or a folder of MIDI files.

Both become `Score`: a name, a tempo and notes in quarter notes, parsed once and kept as JSON in a
cache folder (music21 needs about 0.1 s a piece). The split into training and test pieces is a hash
of the *tune*, so two harmonisations of one chorale never lie on both sides.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import random
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from layout import DataError, safe_name

TEST_SHARE = 0.15

# Collections of music21's corpus that may be rendered for weights that ship, and the weight each
# has in the order of pieces. All are works in the public domain, in encodings that carry no
# restriction; `restriction` below also drops every single file that states one. Left out:
#   palestrina (rights to derivative electronic formats reserved), josquin (GPL), trecento, ciconia,
#   luca, schumann_clara (share-alike), essenFolksong (non-commercial), beethoven, mozart, haydn,
#   monteverdi and the single pieces (origin or terms of the encoding not stated).
COLLECTIONS = {
    "bach": 6.0,  # chorales in four parts, those files alone that carry no notice of any kind
    "ryansMammoth": 2.0,  # fiddle tunes printed in 1883, contributed to a public tune archive
    "oneills1850": 1.0,  # Irish tunes printed in 1903, transcribed for free use by volunteers
    "airdsAirs": 1.0,  # airs printed in 1778 to 1801, transcribed by Jack Campin
    "invented": 6.0,  # made up by invented.py, nobody's
}
_NOTICES = ("copyright", "©", "license", "licence", "rights reserved", "non-commercial")
_FREE = ("public domain",)


class Note(NamedTuple):
    """One note: start and length in quarter notes (a `Score`) or seconds (a performance)."""

    start: float
    length: float
    pitch: int
    velocity: int
    part: int


@dataclass(frozen=True)
class Score:
    """A composition: `tempo` in quarters a minute (None: not stated), notes sorted by start."""

    name: str
    collection: str
    tempo: float | None
    notes: tuple[Note, ...]

    @property
    def tune(self) -> str:
        """The intervals of the top part's first 13 notes: what two settings of a tune share."""
        top = max({n.part for n in self.notes}, key=lambda p: _mean_pitch(self.notes, p))
        line = [n.pitch for n in self.notes if n.part == top][:13]
        return " ".join(str(b - a) for a, b in itertools.pairwise(line))

    @property
    def split(self) -> str:
        """ "test" for a fixed 15 % of all tunes, else "train"."""
        digest = hashlib.sha256(f"tune {self.tune}".encode()).digest()
        return "test" if int.from_bytes(digest[:4]) < TEST_SHARE * 2**32 else "train"


def _mean_pitch(notes: Iterable[Note], part: int) -> float:
    pitches = [n.pitch for n in notes if n.part == part]
    return sum(pitches) / len(pitches)


def load_scores(
    source: str,
    cache: Path | None = None,
    workers: int = 1,
    only: Collection[str] | None = None,
) -> list[Score]:
    """All scores of `source` ("music21" or a folder of MIDI files), sorted by name.

    With `cache`, each file's notes are kept there and read back the next time. With `only`, the
    scores of these names, and no file is read that can't hold one of them.

    Raises:
        DataError: the folder or the package is missing, or nothing in it can be read.
    """
    files = _music21_files() if source == "music21" else _midi_files(Path(source))
    if only is not None:
        files = [f for f in files if any(n == f[1] or n.startswith(f"{f[1]}-") for n in only)]
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    jobs = [(path, name, collection, cache) for path, name, collection in files]
    if workers > 1 and len(jobs) > 1:
        with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
            parsed = pool.map(_load_file, jobs, chunksize=8)
    else:
        parsed = [_load_file(job) for job in jobs]
    wanted = [s for found in parsed for s in found if only is None or s.name in only]
    scores = sorted(wanted, key=lambda s: s.name)
    if not scores and only is None:
        raise DataError(f"no score in {source} could be read; expected .mid files with notes")
    return scores


def order(scores: list[Score], seed: int) -> list[Score]:
    """A seeded order in which every prefix holds each collection in proportion to its weight."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.collection, []).append(score)
    ranked: list[tuple[float, str, Score]] = []
    for collection, group in groups.items():
        random.Random(f"{seed} {collection}").shuffle(group)
        weight = COLLECTIONS.get(collection, 1.0)
        ranked += [((i + 0.5) / weight, s.name, s) for i, s in enumerate(group)]
    return [score for _, _, score in sorted(ranked, key=lambda r: r[:2])]


def restriction(text: str) -> str | None:
    """The line of an encoding that restricts its use, or None."""
    for line in text.splitlines():
        lowered = line.lower()
        if any(n in lowered for n in _NOTICES) and not any(f in lowered for f in _FREE):
            return line.strip()[:200]
    return None


def _music21_files() -> list[tuple[Path, str, str]]:
    try:
        import music21
    except ImportError:
        raise DataError(
            "music21 is not installed; pip install music21, or give a MIDI folder"
        ) from None
    root = Path(music21.__file__).parent / "corpus"
    found = []
    for collection in COLLECTIONS:
        if not (root / collection).is_dir():
            continue  # "invented" is no folder of music21
        for path in sorted((root / collection).rglob("*")):
            if path.suffix in (".mxl", ".xml", ".abc"):
                found.append((path, safe_name(f"{collection}-{path.stem}"), collection))
    if not found:
        raise DataError(f"music21 came without its corpus: {root} has no {', '.join(COLLECTIONS)}")
    return found


def _midi_files(folder: Path) -> list[tuple[Path, str, str]]:
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; expected --scores music21 or a folder of MIDI files")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".mid", ".midi"))
    if not found:
        raise DataError(f"{folder} holds no .mid file; expected a folder of MIDI files")
    return [(p, safe_name(str(p.relative_to(folder).with_suffix(""))), "midi") for p in found]


def _load_file(job: tuple[Path, str, str, Path | None]) -> list[Score]:
    path, name, collection, cache = job
    kept = cache / f"{name}.{path.stat().st_size}.json" if cache else None
    if kept is not None and kept.is_file():
        rows = json.loads(kept.read_text())
        return [Score(**{**r, "notes": tuple(Note(*n) for n in r["notes"])}) for r in rows]
    scores = _read_midi(path, name) if collection == "midi" else _read(path, name, collection)
    if kept is not None:
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps([asdict(s) for s in scores]))
        os.replace(partial, kept)
    return scores


def _text(path: Path) -> str:
    if path.suffix == ".mxl":
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if not n.startswith("META-INF")]
            data = b"".join(archive.read(n) for n in names if n.endswith(".xml"))
        return data.replace(b"\0", b"").decode("utf-8", "ignore")
    return path.read_text("utf-8", "ignore")


def _read(path: Path, name: str, collection: str) -> list[Score]:
    """The scores of one file of music21's corpus; none if it may not be used or read."""
    from music21 import converter, stream
    from music21.exceptions21 import Music21Exception

    if restriction(_text(path)):
        return []
    try:
        parsed = converter.parse(path, forceSource=True, storePickle=False)
        several = isinstance(parsed, stream.Opus)
        found = list(parsed.scores) if isinstance(parsed, stream.Opus) else [parsed]
    except (Music21Exception, ValueError, KeyError, IndexError, AttributeError, TypeError):
        return []
    scores = []
    for i, score in enumerate(found):
        try:
            tempo, notes = _notes(score)
        except (Music21Exception, ValueError, KeyError, IndexError, AttributeError, TypeError):
            continue
        if notes:
            full = f"{name}-{i + 1:03d}" if several else name
            scores.append(Score(full, collection, tempo, notes))
    return scores


def _notes(score: Any) -> tuple[float | None, tuple[Note, ...]]:
    from music21 import harmony, tempo

    marks = [m for m in score.recurse().getElementsByClass(tempo.MetronomeMark) if m.number]
    quarters = float(marks[0].getQuarterBPM()) if marks else None
    found = []
    for part, stream in enumerate(list(score.parts) or [score]):
        for element in stream.stripTies().flatten().notes:
            length = float(element.duration.quarterLength)
            if isinstance(element, harmony.Harmony) or length <= 0:
                continue  # chord symbols and grace notes have no time of their own
            velocity = element.volume.velocity or 80
            for pitch in element.pitches:
                start = round(float(element.offset), 5)
                found.append(Note(start, round(length, 5), int(pitch.midi), int(velocity), part))
    return quarters, tuple(sorted(found))


def _read_midi(path: Path, name: str) -> list[Score]:
    """A MIDI file as a score whose quarter is one second; none if it has no pitched note."""
    try:
        import pretty_midi
    except ImportError:
        raise DataError("pretty_midi is not installed; pip install pretty_midi") from None
    try:
        song = pretty_midi.PrettyMIDI(str(path))
    except (OSError, ValueError, EOFError, KeyError, IndexError):
        return []
    notes = [
        Note(round(n.start, 5), round(n.end - n.start, 5), n.pitch, n.velocity, part)
        for part, instrument in enumerate(i for i in song.instruments if not i.is_drum)
        for n in instrument.notes
        if n.end > n.start
    ]
    return [Score(name, "midi", 60.0, tuple(sorted(notes)))] if notes else []
