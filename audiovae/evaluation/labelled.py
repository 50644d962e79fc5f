"""Sounds with labels, for probes: notes in NSynth's layout, aligned renders, folders of a label."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.audio.files import find_audio, probe, read
from audiovae.errors import CorpusError
from audiovae.evaluation.testset import SECONDS, TestSet

TABLE = "examples.json"
SUFFIXES = (".wav", ".flac", ".ogg")
SEGMENTS = 24
"""Of aligned renders, `SECONDS` long each, the same in all domains."""
STRETCHES = 4
"""Of a recording in a folder, as long, one after another."""


@dataclass(frozen=True)
class Example:
    """A sound and what is known of it."""

    label: str
    """The instrument or domain."""
    group: str
    """The recording or piece: never on both sides of a split."""
    sample_rate: int
    seconds: float
    load: Callable[[], np.ndarray]
    """Gives the sound, `(sample,)` float32."""
    pitch: int | None = None
    """MIDI number of its one note."""
    onsets: tuple[float, ...] | None = None
    """Seconds at which notes begin; nothing where they are not known."""


@dataclass(frozen=True)
class Labelled:
    """Sounds of one folder."""

    layout: str
    """`notes`, `renders` or `folders`."""
    examples: Sequence[Example]


def read_labelled(folder: str | Path, segments: int = SEGMENTS) -> Labelled:
    """Read a folder by what lies in it.

    `examples.json`, or folders that hold one, as NSynth is published: single notes.
    `groups.json`: aligned renders of `data/render.py` or `data/transfer_test.py`. Else each folder
    in it is a label and holds recordings. `segments` is of aligned renders, in each domain.

    Raises:
        CorpusError: when it is none of these, or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorpusError(f"no folder {folder}: expected one of labelled sounds")
    tables = [p for p in (folder / TABLE, *sorted(folder.glob(f"*/{TABLE}"))) if p.is_file()]
    if tables:
        return Labelled("notes", [e for table in tables for e in _notes(table)])
    if (folder / "groups.json").is_file():
        return Labelled("renders", _renders(TestSet.open(folder), segments))
    return Labelled("folders", _folders(folder))


def _mono(path: Path, start: int = 0, frames: int | None = None) -> np.ndarray:
    return read(path, start, frames)[0].mean(axis=0)


def _notes(table: Path) -> list[Example]:
    try:
        rows: dict[str, Any] = json.loads(table.read_text("utf-8"))
        facts = [(k, str(v["instrument_str"]), int(v["pitch"])) for k, v in sorted(rows.items())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(
            f"{table} is not NSynth's table ({error!r}): expected instrument_str and pitch of "
            "each note"
        ) from None
    made = []
    for name, instrument, pitch in facts:
        path = _sound(table.parent / "audio", name)
        info = probe(path)
        load = partial(_mono, path)
        made.append(Example(instrument, name, info.sample_rate, info.seconds, load, pitch))
    return made


def _sound(folder: Path, name: str) -> Path:
    for suffix in SUFFIXES:
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    raise CorpusError(f"{folder} lacks the note {name} (.wav, .flac or .ogg): unpack it again")


def _renders(testset: TestSet, count: int) -> list[Example]:
    domains = testset.domains
    made = []
    for segment in testset.shared(domains, count):
        onsets = None
        if testset.has_notes:
            onsets = tuple(note.start for note in testset.notes(segment))
        for domain in domains:
            load = partial(testset.audio, domain, segment)
            rate, group = testset.sample_rate, segment.piece
            made.append(Example(domain, group, rate, SECONDS, load, onsets=onsets))
    return made


def _folders(folder: Path) -> list[Example]:
    made = []
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        for path in find_audio(place):
            info = probe(path)
            length = round(SECONDS * info.sample_rate)
            # What is left at the end joins nothing, unless it is all there is.
            for i in range(max(1, min(STRETCHES, info.frames // length))):
                load = partial(_mono, path, i * length, length)
                group = str(path.relative_to(folder))
                seconds = min(SECONDS, info.seconds)
                made.append(Example(place.name, group, info.sample_rate, seconds, load))
    if len({e.label for e in made}) < 2:
        raise CorpusError(
            f"{folder} has fewer than two labels: expected {folder}/<label>/<recording>, "
            f"{TABLE} as NSynth has it, or aligned renders with groups.json"
        )
    return made
