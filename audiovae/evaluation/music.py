"""Where transfers are near the truth, and where far: by voices, register and pace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audiovae.evaluation.runner import Pair
from audiovae.evaluation.summary import GROUPS, as_dict
from audiovae.evaluation.testset import SECONDS, Segment, TestSet
from audiovae.metrics.intervals import bootstrap


@dataclass(frozen=True)
class Music:
    """What is played in a segment."""

    single: bool
    """Whether its piece is a single line."""
    key: float
    """Mean MIDI number of its notes."""
    pace: float
    """Notes a second."""


KINDS: dict[str, Callable[[Music], bool]] = {
    "single lines": lambda m: m.single,
    "several voices": lambda m: not m.single,
    "mean key below C4": lambda m: m.key < 60,
    "mean key C4 to B4": lambda m: 60 <= m.key < 72,
    "mean key from C5": lambda m: m.key >= 72,
    "under 3 notes a second": lambda m: m.pace < 3,
    "3 to 6 notes a second": lambda m: 3 <= m.pace < 6,
    "6 notes a second and more": lambda m: m.pace >= 6,
}
"""Kinds of segments; each is in one of every line of them: voices, register, pace."""


def listen(testset: TestSet, segment: Segment) -> Music:
    """Return what is played in a segment of a test set that knows its notes."""
    notes = testset.notes(segment)
    key = float(np.mean([note.pitch for note in notes])) if notes else float("nan")
    return Music(testset.monophonic(segment.piece), key, len(notes) / SECONDS)


def compare_music(pairs: Sequence[Pair], testset: TestSet) -> dict[str, Any]:
    """Return, for each system and kind of music, the log-spectral distance of its transfers.

    Args:
        pairs: between the model's domains; others are left out.
        testset: that knows its notes.
    """
    music: dict[Segment, Music] = {}
    table: dict[str, Any] = {}
    for name in dict.fromkeys(p.system for p in pairs):
        own = [p for p in pairs if p.system == name and GROUPS["transfer"](p)]
        if not own:
            continue
        segments = [s for p in own for s in p.segments]
        values = np.concatenate([p.figures["lsd"] for p in own])
        for segment in segments:
            if segment not in music:
                music[segment] = listen(testset, segment)
        table[name] = {}
        for kind, belongs in KINDS.items():
            chosen = np.array([belongs(music[s]) for s in segments])
            if chosen.any():
                pieces = [s.piece for s, among in zip(segments, chosen, strict=True) if among]
                interval = bootstrap(values[chosen], groups=pieces)
                table[name][kind] = as_dict(interval, int(chosen.sum()))
    return table
