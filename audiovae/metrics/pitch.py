"""The range of pitches in a sound, by autocorrelation: light, meant for single lines.

McLeod and Wyvill, "A smarter way to find pitch" (2005): the first high peak of the normalised
square difference function. Of chords it hears a common fundamental, or nothing clear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

RATE = 16_000
WINDOW, HOP = 1024, 512
LOWEST, HIGHEST = 40.0, 4_000.0
"""Fundamentals looked for, in hertz."""
CLARITY = 0.8
"""Height of a peak from which a frame counts as pitched."""
NEAR_BEST = 0.9
"""The first peak that reaches this share of the best one is the period."""
QUIET = 1e-4
"""Mean power (-40 dB) under the loudest frame's at which a frame is left out."""
FEWEST_FRAMES = 5
CHUNK = 512
"""Frames transformed at once."""


@dataclass(frozen=True)
class PitchRange:
    """Pitches as MIDI numbers: 69 is 440 Hz, 12 an octave."""

    low: float
    """Tenth percentile."""
    median: float
    high: float
    """Ninetieth percentile."""


def pitches(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the pitches of the pitched frames of `audio (sample,)` as MIDI numbers."""
    found = follow_pitch(audio, sample_rate)
    return found[np.isfinite(found)]


def follow_pitch(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the pitch of each frame of `audio (sample,)` as a MIDI number, NaN where it has none.

    Frame n is `2 * WINDOW` samples at `RATE`, from `n * HOP`.
    """
    audio = np.asarray(audio, np.float32)
    if sample_rate != RATE:
        audio = soxr.resample(audio, sample_rate, RATE)
    audio = np.pad(audio, (0, max(0, 2 * WINDOW - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, 2 * WINDOW)[::HOP]
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > QUIET * power.max(initial=0))
    found = np.full(len(frames), np.nan)
    for i in range(0, len(loud), CHUNK):
        part = loud[i : i + CHUNK]
        found[part] = _pitches(frames[part])
    return found


def _pitches(frames: np.ndarray) -> np.ndarray:
    """Return MIDI numbers of `frames (frame, 2 * WINDOW)`, NaN where there is no clear period."""
    spectra = np.fft.rfft(frames, 4 * WINDOW, axis=1)
    lags = np.fft.irfft(np.square(np.abs(spectra)), axis=1)[:, : WINDOW + 1]
    squares = np.pad(np.cumsum(np.square(frames, dtype=np.float64), axis=1), ((0, 0), (1, 0)))
    lag = np.arange(WINDOW + 1)
    # Energies of the two parts of the frame that a lag compares.
    energy = squares[:, frames.shape[1] - lag] + squares[:, -1:] - squares[:, lag]
    nsdf = 2 * lags / np.maximum(energy, 1e-12)
    inner = nsdf[:, 1:-1]
    peak = (inner >= nsdf[:, :-2]) & (inner > nsdf[:, 2:])
    # Peaks count after the first trough: the one at lag 0 is no period.
    fallen = np.maximum.accumulate(inner < 0, axis=1)
    within = (lag[1:-1] >= RATE / HIGHEST) & (lag[1:-1] <= RATE / LOWEST)
    # Heights between samples, by a parabola: a short period falls on few of them.
    bend = np.maximum(2 * inner - nsdf[:, :-2] - nsdf[:, 2:], 1e-9)
    top = inner + np.square(nsdf[:, :-2] - nsdf[:, 2:]) / (8 * bend)
    height = np.where(peak & fallen & within, top, 0.0)
    best = height.max(axis=1)
    first = (height >= NEAR_BEST * best[:, None]).argmax(axis=1)
    clear = best >= CLARITY
    rows, at = np.nonzero(clear)[0], first[clear] + 1
    before, here, after = (nsdf[rows, at + d] for d in (-1, 0, 1))
    offset = 0.5 * (before - after) / np.minimum(before - 2 * here + after, -1e-9)
    found = np.full(len(frames), np.nan)
    found[rows] = 69 + 12 * np.log2(RATE / (at + offset) / 440.0)
    return found


def pitch_range(audio: np.ndarray, sample_rate: int) -> PitchRange | None:
    """Return the range of the pitches of `audio (sample,)`; nothing where few frames have one."""
    found = pitches(audio, sample_rate)
    if len(found) < FEWEST_FRAMES:
        return None
    low, median, high = np.percentile(found, (10, 50, 90))
    return PitchRange(float(low), float(median), float(high))
