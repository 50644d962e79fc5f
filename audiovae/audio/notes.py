"""Notes that are to be played: a list of them, or a MIDI file."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from audiovae.errors import UserError

MOST_SECONDS = 24 * 3600.0
MOST_BYTES = 32 << 20
DRUMS = 9
"""Channel of the drums in General MIDI, counted from 0."""
SUSTAIN = 64
"""Controller of the sustain pedal, and the value from which on it is down."""
SHORTEST = 0.01
"""Seconds that a note lasts at least, and within which two strokes of a key are one."""


class Note(NamedTuple):
    """A note that is played: start and length in seconds, MIDI pitch, velocity from 1 to 127."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Score:
    """What is to be played: a key sounds once at a time."""

    notes: tuple[Note, ...]
    """Sorted by start; at least one."""
    drums: int = 0
    """Notes of drums that were left out."""

    @property
    def end(self) -> float:
        """Seconds at which the last note ends."""
        return max(note.start + note.length for note in self.notes)

    @classmethod
    def of(cls, notes: Iterable[Sequence[float]], drums: int = 0, name: str = "the score") -> Score:
        """Check notes `(start, length, pitch, velocity)`, and let a stroke end the one before it.

        Raises `UserError` when there are none, or one is out of range.
        """
        checked = sorted(_checked(note) for note in notes)
        if not checked:
            only = f" but {drums} of drums, which are left out" if drums else ""
            raise UserError(f"{name} has no notes{only}: nothing to play")
        by_key: dict[int, list[Note]] = {}
        for note in checked:
            struck = by_key.setdefault(note.pitch, [])
            last = struck[-1] if struck else None
            if last is not None and note.start - last.start < SHORTEST:
                length, velocity = max(last.length, note.length), max(last.velocity, note.velocity)
                struck[-1] = last._replace(length=length, velocity=velocity)
                continue
            if last is not None and last.start + last.length > note.start:
                struck[-1] = last._replace(length=note.start - last.start)
            struck.append(note)
        return cls(tuple(sorted(n for struck in by_key.values() for n in struck)), drums)


def _checked(note: Sequence[float]) -> Note:
    try:
        start, length, pitch, velocity = note
        whole = int(pitch) == pitch and int(velocity) == velocity
        fits = start >= 0 and length > 0 and start + length <= MOST_SECONDS
        fits = fits and 0 <= pitch <= 127 and 1 <= velocity <= 127
    except (TypeError, ValueError, OverflowError):
        whole = fits = False
    if not (whole and fits):
        raise UserError(
            f"{tuple(note) if isinstance(note, Sequence) else note!r} is no note: expected "
            "(start s, length s, pitch 0 to 127, velocity 1 to 127) within a day"
        )
    return Note(float(start), max(float(length), SHORTEST), int(pitch), int(velocity))


def read_score(path: str | Path) -> Score:
    """Read a MIDI file: all tracks and channels but drums as one, pedal held notes included.

    Programs, bends and controllers other than the sustain pedal are left out.

    Raises `UserError` on a file that is no MIDI or has no notes, and where mido is not installed.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder; expected a MIDI file" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path} has over {MOST_BYTES >> 20} MiB: not a MIDI file")
    if importlib.util.find_spec("mido") is None:
        raise UserError("MIDI files need mido: pip install 'audiovae[midi]'")
    import mido

    try:
        messages = list(mido.MidiFile(path, clip=True))
    except Exception as error:  # of many kinds, by where the bytes go wrong
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is no MIDI file ({reason}): expected a .mid of type 0 or 1") from (
            None
        )
    notes, drums = _play(messages)
    return Score.of(notes, drums, str(path))


def _play(messages: Iterable[Any]) -> tuple[list[Note], int]:
    """Return the notes of timed messages, and how many of drums there are."""
    now, drums = 0.0, 0
    down: dict[int, bool] = {}
    begun: dict[tuple[int, int], tuple[float, int]] = {}
    held: dict[tuple[int, int], tuple[float, int]] = {}
    notes: list[Note] = []

    def end(key: tuple[int, int], stroke: tuple[float, int]) -> None:
        start, velocity = stroke
        notes.append(Note(start, max(now - start, SHORTEST), key[1], velocity))

    for message in messages:
        now += message.time
        if message.type == "control_change" and message.control == SUSTAIN:
            down[message.channel] = message.value >= SUSTAIN
            if not down[message.channel]:
                for key in [k for k in held if k[0] == message.channel]:
                    end(key, held.pop(key))
        if message.type not in ("note_on", "note_off"):
            continue
        key, struck = (message.channel, message.note), message.type == "note_on"
        struck = struck and message.velocity > 0
        if message.channel == DRUMS:
            drums += struck
            continue
        if struck:
            for strokes in (begun, held):
                if key in strokes:
                    end(key, strokes.pop(key))
            begun[key] = (now, message.velocity)
        elif key in begun:
            stroke = begun.pop(key)
            if down.get(message.channel):
                held[key] = stroke
            else:
                end(key, stroke)
    for strokes in (begun, held):
        for key, stroke in strokes.items():
            end(key, stroke)
    return notes, drums


def loudness(notes: Sequence[Note]) -> float:
    """Return about how loud notes are in all, in decibels: their energy over their time.

    A stroke's amplitude goes with the square of its velocity, as General MIDI Level 2 recommends,
    and counts for two seconds at most.
    """
    first = min(note.start for note in notes)
    seconds = max(max(note.start + note.length for note in notes) - first, SHORTEST)
    energy = sum((n.velocity / 127) ** 4 * min(n.length, 2.0) for n in notes)
    return 10 * math.log10(energy / seconds)
