"""Natural playing ranges of General MIDI programs, as the pitches that sound.

They are the common professional ranges, as books on orchestration chart them (for instance S.
Adler, "The Study of Orchestration"); books differ by a few semitones at the top. Keyboards and
mallets have the compass of the common model. Transposing instruments stand here as they sound: a
trumpet in B flat that is written F#3 to D6 is E3 to C6. Middle C is C4, MIDI pitch 60.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from layout import DataError

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

RANGES: dict[int, tuple[str, str, str]] = {
    # keyboards and mallets
    **{p: (n, "A0", "C8") for p, n in enumerate(("piano", "bright piano", "electric grand"))},
    3: ("honky-tonk piano", "A0", "C8"),
    **{p: ("electric piano", "E1", "E7") for p in (4, 5)},
    6: ("harpsichord", "F1", "F6"),
    7: ("clavinet", "F1", "E6"),
    8: ("celesta", "C4", "C8"),
    9: ("glockenspiel", "G5", "C8"),
    10: ("music box", "C4", "C7"),
    11: ("vibraphone", "F3", "F6"),
    12: ("marimba", "A2", "C7"),
    13: ("xylophone", "F4", "C8"),
    14: ("tubular bells", "C4", "F5"),
    15: ("dulcimer", "D3", "D6"),
    **{p: ("organ", "C2", "C7") for p in (16, 17, 18, 19)},
    20: ("reed organ", "F1", "F6"),
    21: ("accordion", "F3", "A6"),
    22: ("harmonica", "C4", "C7"),
    23: ("bandoneon", "C2", "B6"),
    # guitars and basses
    24: ("nylon-string guitar", "E2", "B5"),
    25: ("steel-string guitar", "E2", "C6"),
    **{p: ("electric guitar", "E2", "D6") for p in range(26, 32)},
    32: ("plucked double bass", "E1", "G4"),
    **{p: ("bass guitar", "E1", "Eb4") for p in range(33, 40)},
    # strings
    40: ("violin", "G3", "E7"),
    41: ("viola", "C3", "E6"),
    42: ("cello", "C2", "A5"),
    43: ("double bass", "E1", "G4"),
    **{p: ("strings", "E1", "C7") for p in (44, 45, 48, 49, 50, 51)},
    46: ("harp", "B0", "G#7"),
    47: ("timpani", "D2", "C4"),
    # voices and brass
    **{p: ("choir", "E2", "C6") for p in (52, 53, 54)},
    56: ("trumpet", "E3", "C6"),
    57: ("trombone", "E2", "D5"),
    58: ("tuba", "D1", "F4"),
    59: ("muted trumpet", "E3", "C6"),
    60: ("horn", "B1", "F5"),
    **{p: ("brass section", "E2", "C6") for p in (61, 62, 63)},
    # reeds and flutes
    64: ("soprano saxophone", "Ab3", "E6"),
    65: ("alto saxophone", "Db3", "A5"),
    66: ("tenor saxophone", "Ab2", "E5"),
    67: ("baritone saxophone", "C2", "A4"),
    68: ("oboe", "Bb3", "A6"),
    69: ("English horn", "E3", "C6"),
    70: ("bassoon", "Bb1", "Eb5"),
    71: ("clarinet", "D3", "Bb6"),
    72: ("piccolo", "D5", "C8"),
    73: ("flute", "C4", "D7"),
    74: ("alto recorder", "F4", "G6"),
    75: ("pan flute", "G4", "D7"),
    77: ("shakuhachi", "D4", "A6"),
    79: ("ocarina", "A4", "F6"),
    # synthesisers have no limits of their own
    **{p: ("synthesiser", "C2", "C7") for p in range(80, 104)},
}


class Range(NamedTuple):
    """The lowest and the highest MIDI pitch, both within."""

    low: int
    high: int

    def holds(self, pitches: Iterable[int]) -> bool:
        """Whether all pitches lie within."""
        return all(self.low <= p <= self.high for p in pitches)


def midi_pitch(name: str) -> int:
    """The MIDI pitch of a note's name: C4 is 60, Eb4 and D#4 are 63."""
    letter, accidental, octave = name[0], name[1:-1], name[-1]
    return 12 * (int(octave) + 1) + _STEPS[letter] + {"": 0, "#": 1, "b": -1}[accidental]


def playing_range(program: int) -> Range:
    """The range of a General MIDI program from 0 to 127; DataError where none is known."""
    if program not in RANGES:
        raise DataError(
            f"no playing range is known of program {program}; expected a pitched instrument of "
            "data/ranges.py, or add it there"
        )
    _, low, high = RANGES[program]
    return Range(midi_pitch(low), midi_pitch(high))


def shared_range(programs: Iterable[int]) -> Range:
    """The pitches that all programs can play."""
    ranges = [playing_range(p) for p in programs]
    return Range(max(r.low for r in ranges), min(r.high for r in ranges))
