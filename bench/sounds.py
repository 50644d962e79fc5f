"""The sound that everything is timed on, and corpora of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile


def sound(samples: int, sample_rate: int, seed: int = 0) -> np.ndarray:
    """Return `(samples,)` float32 of notes with five partials and some noise."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(samples) / sample_rate
    out = 0.003 * rng.standard_normal(samples)
    for start in np.arange(0.0, samples / sample_rate, 0.25):
        at = slice(int(start * sample_rate), int((start + 0.5) * sample_rate))
        t = time_axis[at] - start
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        partials = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 6))
        out[at] += 0.1 * partials * np.exp(-4 * t)
    return out.astype(np.float32)


def make_recordings(
    folder: Path, domains: Sequence[str], sample_rate: int, *, count: int = 3, seconds: float = 20
) -> Path:
    """Write `count` FLAC files for each domain."""
    for number, domain in enumerate(domains):
        (folder / domain).mkdir(parents=True)
        for i in range(count):
            samples = sound(round(seconds * sample_rate), sample_rate, seed=100 * number + i)
            soundfile.write(folder / domain / f"{i}.flac", samples, sample_rate)
    return folder


def write_take(path: Path, seconds: float, sample_rate: int) -> Path:
    """Write a WAV file of so many seconds: a minute of sound, over and over."""
    minute, left = sound(60 * sample_rate, sample_rate), round(seconds * sample_rate)
    with soundfile.SoundFile(path, "w", sample_rate, 1) as file:
        while left > 0:
            file.write(minute[:left])
            left -= len(minute)
    return path
