"""Scores made up by rule: textures, registers and keys that chorales and fiddle tunes lack.

They belong to nobody, cover the keyboard from A1 to D7 and mix voices, arpeggios, block chords,
fast runs and long notes, so that an encoder hears more than four singers and one fiddle.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from scores import Note, Score

Scale = tuple[int, ...]  # semitones of an octave

COUNT = 600
QUARTERS = 112  # length of a piece, 60 to 100 seconds
SCALES: tuple[Scale, ...] = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 11),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 7, 9),
    (0, 2, 4, 6, 8, 10),
    tuple(range(12)),
)
STEPS = (0, 3, 4, 1, 5, 2, 4, 0)  # the chords' roots a piece wanders over


def invented_scores(seed: int = 0, count: int = COUNT) -> list[Score]:
    """`count` made-up scores; the same for the same seed."""
    return [_compose(f"invented-{i:04d}", random.Random(f"{seed} {i}")) for i in range(count)]


def _compose(name: str, draw: random.Random) -> Score:
    key, scale = draw.randrange(12), draw.choice(SCALES)
    harmony = [draw.choice(STEPS) for _ in range(QUARTERS // 4)]  # one chord a bar of four
    texture = draw.choice(TEXTURES)
    notes = texture(draw, key, scale, harmony)
    kept = sorted(n for n in notes if 33 <= n.pitch <= 98)
    return Score(name, "invented", draw.uniform(66, 112), tuple(kept))


def _pitch(key: int, scale: Scale, degree: int) -> int:
    octave, step = divmod(degree, len(scale))
    return key + 12 * octave + scale[step]


def _line(
    draw: random.Random,
    key: int,
    scale: Scale,
    centre: int,
    lengths: tuple[float, ...],
    part: int,
    rests: float = 0.08,
) -> list[Note]:
    """A melody that wanders around MIDI pitch `centre`, mostly by step, in figures."""
    middle = round((centre - key) / 12 * len(scale))
    degree, at, notes = middle, 0.0, []
    while at < QUARTERS:
        length = draw.choice(lengths)
        for _ in range(draw.choice((1, 2, 4)) if length < 1 else 1):
            if draw.random() > rests:
                velocity = 80 + round(draw.gauss(0, 6))
                notes.append(Note(at, length, _pitch(key, scale, degree), velocity, part))
            at += length
            degree += draw.choice((-1, -1, 1, 1, -2, 2, 0, draw.randint(-6, 6)))
            if abs(degree - middle) > len(scale):
                degree = middle + draw.randint(-3, 3)
    return notes


def _chord(key: int, scale: Scale, root: int, low: int, size: int) -> list[int]:
    """`size` pitches of thirds over `root`, the lowest at or above MIDI pitch `low`."""
    degree = root
    while _pitch(key, scale, degree) < low:
        degree += len(scale)
    return [_pitch(key, scale, degree + 2 * i) for i in range(size)]


def _solo(draw: random.Random, key: int, scale: Scale, harmony: list[int]) -> list[Note]:
    lengths = draw.choice(((0.25, 0.5), (0.5, 1.0), (0.25, 0.25, 2.0), (1.0, 2.0, 3.0)))
    return _line(draw, key, scale, draw.randint(42, 90), lengths, 0, rests=0.12)


def _voices(draw: random.Random, key: int, scale: Scale, harmony: list[int]) -> list[Note]:
    """Two to four melodies, one below the other."""
    count = draw.randint(2, 4)
    top, gap = draw.randint(70, 88), draw.randint(7, 14)
    lengths = draw.choice(((0.5, 1.0), (1.0, 2.0), (0.5, 2.0), (2.0, 4.0)))
    notes = []
    for part in range(count):
        notes += _line(draw, key, scale, top - gap * part, lengths, part, rests=0.15)
    return notes


def _accompanied(draw: random.Random, key: int, scale: Scale, harmony: list[int]) -> list[Note]:
    """A melody over block chords, broken chords or an oom-pah bass."""
    notes = _line(draw, key, scale, draw.randint(66, 84), (0.5, 0.5, 1.0, 2.0), 0)
    style, low, size = draw.randrange(3), draw.randint(36, 52), draw.randint(3, 4)
    for bar, root in enumerate(harmony):
        chord = _chord(key, scale, root, low, size)
        for beat in range(4):
            at = 4.0 * bar + beat
            if style == 0 and beat % 2 == 0:
                notes += [Note(at, 2.0, p, 70, 1) for p in chord]
            elif style == 1:
                notes += [
                    Note(at + 0.5 * i, 0.5, chord[(2 * beat + i) % size], 68, 1) for i in (0, 1)
                ]
            elif style == 2:
                chosen = chord[:1] if beat % 2 == 0 else chord[1:]
                notes += [Note(at, 0.75, p, 72, 1) for p in chosen]
    return notes


def _arpeggios(draw: random.Random, key: int, scale: Scale, harmony: list[int]) -> list[Note]:
    length, low = draw.choice((0.25, 1 / 3, 0.5)), draw.randint(36, 60)
    hold = draw.choice((1, 1, 4))  # 4: as with a pedal
    notes: list[Note] = []
    for bar, root in enumerate(harmony):
        chord = _chord(key, scale, root, low, draw.randint(4, 7))
        path = [*chord, *chord[-2:0:-1]]
        for i in range(round(4 / length)):
            at = 4.0 * bar + i * length
            notes.append(Note(at, length * hold, path[i % len(path)], 74, 0))
    return notes


def _blocks(draw: random.Random, key: int, scale: Scale, harmony: list[int]) -> list[Note]:
    low, notes = draw.randint(36, 64), []
    for bar, root in enumerate(harmony):
        rhythm = draw.choice(((4.0,), (2.0, 2.0), (1.0, 1.0, 2.0), (0.5, 0.5, 1.0, 2.0)))
        at = 4.0 * bar
        chord = _chord(key, scale, root, low, draw.randint(2, 5))
        for length in rhythm:
            velocity = 80 + round(draw.gauss(0, 8))
            notes += [Note(at, length * 0.95, p, velocity, 0) for p in chord]
            at += length
    return notes


def _scattered(draw: random.Random, key: int, scale: Scale, harmony: list[int]) -> list[Note]:
    """Single notes all over the keyboard, some short, some long, some together."""
    at, notes = 0.0, []
    while at < QUARTERS:
        pitches = [draw.randint(36, 96) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
        length = draw.choice((0.25, 0.5, 1.0, 2.0, 4.0))
        notes += [Note(at, length, p, draw.randint(55, 105), 0) for p in pitches]
        at += draw.choice((0.5, 1.0, length))
    return notes


Texture = Callable[[random.Random, int, Scale, list[int]], list[Note]]
TEXTURES: tuple[Texture, ...] = (
    *(_solo, _solo, _voices, _voices, _accompanied, _accompanied),
    *(_arpeggios, _blocks, _scattered),
)
