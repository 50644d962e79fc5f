"""A General MIDI soundfont played note by note: FluidSynth or tinysoundfont, whichever is there.

Both are driven in blocks of `BLOCK` samples, so that an event falls on the same sample in every
domain and a rendering is the same bits each time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from layout import DataError
from scores import Note

SAMPLE_RATE = 44100
BLOCK = 64
CHANNELS = 128  # one a program
SYSTEM_SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


class Synthesiser(Protocol):
    """Plays a list of notes with one program of a soundfont."""

    def render(self, notes: Sequence[Note], program: int, samples: int) -> np.ndarray:
        """Mono float32 of shape (samples,); `notes` in seconds, at most one at a time a pitch."""


def find_soundfont(path: Path | None = None) -> Path:
    """`path`, or FluidR3 where Debian installs it, or the small one inside pretty_midi."""
    if path is not None:
        if not path.is_file():
            raise DataError(f"no soundfont {path}; give an .sf2 file with --soundfont")
        return path
    for found in known_soundfonts():
        return found
    raise DataError(
        "no soundfont found; install Debian's fluid-soundfont-gm, pip install pretty_midi, or give "
        "--soundfont FILE.sf2"
    )


def known_soundfonts() -> list[Path]:
    """The soundfonts that are there without a word: FluidR3, then the one inside pretty_midi."""
    places = [SYSTEM_SOUNDFONT]
    spec = importlib.util.find_spec("pretty_midi")
    if spec is not None and spec.origin:
        places.append(Path(spec.origin).parent / "TimGM6mb.sf2")
    return [p for p in places if p.is_file()]


def open_synthesiser(soundfont: Path) -> Synthesiser:
    """The first synthesiser that imports, with the soundfont loaded."""
    for make in (FluidSynth, TinySoundFont):
        try:
            return make(soundfont)
        except ImportError:
            continue
    raise DataError(
        "no synthesiser found; apt install libfluidsynth3 and pip install pyfluidsynth, or "
        "pip install --no-deps tinysoundfont"
    )


def _events(notes: Sequence[Note], samples: int) -> list[tuple[int, int, int, int]]:
    """(sample, 0 off | 1 on, pitch, velocity) on the grid of `BLOCK`, offs first."""

    def grid(seconds: float) -> int:
        return round(seconds * SAMPLE_RATE / BLOCK) * BLOCK

    events = []
    for note in notes:
        start, end = grid(note.start), grid(note.start + note.length)
        if start < samples:
            events.append((start, 1, note.pitch, note.velocity))
            events.append((max(end, start + BLOCK), 0, note.pitch, 0))
    return sorted(events)


class FluidSynth:
    """pyfluidsynth over libfluidsynth, dry (no reverb, no chorus), read as float."""

    def __init__(self, soundfont: Path) -> None:
        import ctypes

        import fluidsynth

        self._module, self._soundfont = fluidsynth, str(soundfont)
        # The 16-bit output is dithered by a state that outlives a reset; floats are the same always
        write = fluidsynth._fl.fluid_synth_write_float
        pointer, number = ctypes.c_void_p, ctypes.c_int
        write.argtypes = [pointer, number, pointer, number, number, pointer, number, number]
        self._write = write
        # Plays nothing: synthesisers share samples, and what this one has selected stays loaded.
        self._keeper, self._kept = self._open()

    def _open(self) -> tuple[Any, int]:
        """A new synthesiser: a reset leaves release tails and filter states of the last piece."""
        synth = self._module.Synth(
            gain=0.4,
            samplerate=float(SAMPLE_RATE),
            channels=CHANNELS,
            **{
                "synth.reverb.active": 0,
                "synth.chorus.active": 0,
                "synth.polyphony": 512,
                "synth.dynamic-sample-loading": 1,
            },
        )
        font = synth.sfload(self._soundfont)
        if font < 0:
            raise DataError(f"FluidSynth can't load {self._soundfont}; expected an .sf2 soundfont")
        return synth, font

    def render(self, notes: Sequence[Note], program: int, samples: int) -> np.ndarray:
        """Mono float32 of shape (samples,)."""
        self._keeper.program_select(program, self._kept, 0, program)
        synth, font = self._open()
        try:
            synth.program_select(0, font, 0, program)
            return self._play(synth, _events(notes, samples), samples)
        finally:
            synth.delete()

    def _play(
        self, synth: Any, events: Sequence[tuple[int, int, int, int]], samples: int
    ) -> np.ndarray:
        length = -(-samples // BLOCK) * BLOCK
        left, right = np.zeros(length, np.float32), np.zeros(length, np.float32)
        now = 0
        for sample, on, pitch, velocity in [*events, (length, 0, -1, 0)]:
            stop = min(sample, length)
            if stop > now:
                self._write(
                    *(synth.synth, stop - now),
                    *(left.ctypes.data, now, 1, right.ctypes.data, now, 1),
                )
                now = stop
            if on:
                synth.noteon(0, pitch, velocity)
            elif pitch >= 0:
                synth.noteoff(0, pitch)
        return (0.5 * (left + right))[:samples]


class TinySoundFont:
    """tinysoundfont (install it without its dependencies: only live playing needs PortAudio)."""

    def __init__(self, soundfont: Path) -> None:
        import tinysoundfont

        self._synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6.0)
        try:
            self._font = self._synth.sfload(str(soundfont))
        except Exception as error:  # its own exception type is not public
            raise DataError(
                f"tinysoundfont can't load {soundfont}; expected an .sf2 soundfont"
            ) from error

    def render(self, notes: Sequence[Note], program: int, samples: int) -> np.ndarray:
        """Mono float32 of shape (samples,)."""
        synth = self._synth
        synth.program_select(0, self._font, 0, program)
        synth.sounds_off(0)
        synth.generate(4 * 1024)  # what the last piece left dies away unheard
        pieces, now = [], 0
        for sample, on, pitch, velocity in [*_events(notes, samples), (samples, 0, -1, 0)]:
            stop = min(sample, samples)
            if stop > now:
                stereo = np.frombuffer(bytes(synth.generate(stop - now)), np.float32)
                pieces.append(stereo.reshape(-1, 2).mean(axis=1))
                now = stop
            if pitch >= 0 and on:
                synth.noteon(0, pitch, velocity)
            elif pitch >= 0:
                synth.noteoff(0, pitch)
        return np.concatenate(pieces)[:samples] if pieces else np.zeros(samples, np.float32)
