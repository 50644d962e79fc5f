"""From a score to a performance: tempo, phrasing, touch and small errors, all from one seed.

Everything here is a pure function of notes, so a piece sounds the same in every domain.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from scores import Note, Score

TAIL = 1.0  # seconds that ring on after the last note
LOWEST, HIGHEST = 33, 98  # pitches a varied piece stays within


def perform(
    score: Score, seed: int, max_seconds: float | None = None, vary: bool = True
) -> tuple[Note, ...]:
    """A humanised performance of a score: notes in seconds from 0, sorted by start.

    Tempo, excerpt, phrasing, touch and velocities follow from (seed, the score's name) alone, so
    the piece is the same in every domain. A pitch sounds once at a time. `max_seconds` cuts an
    excerpt that starts at a random note and holds, with `TAIL`, no more than that; `vary` also
    transposes by a few semitones and, when every note fits, an octave.
    """
    draw = random.Random(f"{seed} {score.name}")
    tempo = score.tempo if score.tempo and 40 <= score.tempo <= 200 else draw.uniform(70, 120)
    second = tempo / 60 * draw.uniform(0.92, 1.08)  # quarters a second
    shift = transposition([n.pitch for n in score.notes], draw) if vary else 0
    touch = draw.choice([1.0, 0.97, 0.92, 0.85, 0.6])
    level, swell = draw.uniform(62, 100), draw.uniform(4, 14)
    period, phase = draw.uniform(4, 12), draw.uniform(0, 2 * math.pi)
    drift, top = draw.uniform(0, 0.04), max(n.pitch for n in score.notes)
    usual = sum(n.velocity for n in score.notes) / len(score.notes)

    def when(quarter: float) -> float:
        wave = math.sin(2 * math.pi * quarter / 16 + phase) - math.sin(phase)
        return (quarter + drift * 16 / (2 * math.pi) * wave) / second

    played = []
    for note in score.notes:
        start = when(note.start)
        length = (when(note.start + note.length) - start) * touch
        curve = swell * math.sin(2 * math.pi * start / period + phase)
        velocity = level + curve + (note.velocity - usual) + draw.gauss(0, 4)
        velocity += 6 if top - note.pitch < 5 else 0
        start += min(max(draw.gauss(0, 0.008), -0.024), 0.024)
        played.append((start, length, note.pitch + shift, velocity, note.part))
    notes = [
        Note(s, max(d, 0.04), p, round(min(max(v, 24), 124)), part) for s, d, p, v, part in played
    ]
    notes = excerpt(sorted(notes), max_seconds, draw) if max_seconds else sorted(notes)
    origin = min(n.start for n in notes) - 0.05  # a breath before the first note
    moved = (n._replace(start=round(n.start - origin, 5), length=round(n.length, 5)) for n in notes)
    return tuple(single_voice_a_pitch(list(moved)))


def transposition(pitches: Sequence[int], draw: random.Random) -> int:
    """Semitones to move a piece by: up to five, often with an octave, where every note fits."""
    semitones = draw.randint(-5, 5)
    octave = draw.choice([-12, 0, 0, 12])
    for shift in (semitones + octave, semitones, 0):
        if min(pitches) + shift >= LOWEST and max(pitches) + shift <= HIGHEST:
            return shift
    return 0


def excerpt(notes: list[Note], max_seconds: float, draw: random.Random) -> list[Note]:
    """The notes of a window of `max_seconds` less `TAIL` that starts at a random note's onset."""
    room = max_seconds - TAIL - 0.1
    last = notes[-1].start
    starts = [n.start for n in notes if n.start <= max(last - room, notes[0].start)]
    begin = draw.choice(starts)
    return [
        n._replace(length=min(n.length, begin + room - n.start))
        for n in notes
        if begin <= n.start < begin + room - 0.05
    ]


def single_voice_a_pitch(notes: list[Note]) -> list[Note]:
    """One note at a time on each pitch: unisons become one, a repeat ends the note before it."""
    by_pitch: dict[int, list[Note]] = {}
    for note in sorted(notes):
        voice = by_pitch.setdefault(note.pitch, [])
        if voice and note.start - voice[-1].start < 0.06:
            if note.length > voice[-1].length:
                voice[-1] = voice[-1]._replace(length=note.length)
            continue
        if voice and voice[-1].start + voice[-1].length > note.start - 0.01:
            voice[-1] = voice[-1]._replace(length=round(note.start - 0.01 - voice[-1].start, 5))
        voice.append(note)
    return sorted(n for voice in by_pitch.values() for n in voice)


def seconds(notes: Sequence[Note]) -> float:
    """Length of a performance with its tail."""
    return max(n.start + n.length for n in notes) + TAIL


def rows(notes: Iterable[Note]) -> list[list[float]]:
    """Notes as [start s, length s, MIDI pitch, velocity]."""
    return [[n.start, n.length, n.pitch, n.velocity] for n in notes]
