"""An anchor: the input with the target's mean spectrum envelope, and nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from audiovae.errors import UserError
from audiovae.evaluation.unpaired import read_unpaired

if TYPE_CHECKING:
    from audiovae.evaluation.testset import TestSet

SECONDS = 240.0
"""Of unpaired sound that a target's envelope is the mean of."""
N_FFT = 8192
LOWEST = 31.25
"""Centre of the lowest band in hertz; the others follow in half octaves."""
BANDS_AN_OCTAVE = 2
RANGE_DB = 50.0
"""Frames this far below the loudest one are silence and play no part."""
FLOOR = 1e-10
"""Of a band's power, before its logarithm; sounds have unit root mean square."""
MOST_DB = 40.0
"""Largest gain or attenuation: noise is not to be made a tone."""
TAIL = 32_768
"""Samples of silence behind the input, so that the filter wraps nothing around."""


class Equalise:
    """A zero-phase equaliser from each input's own mean envelope to the target's.

    The envelope is the mean over frames of the level in decibels, in triangular bands an octave
    wide: fine enough for an instrument's colour, too coarse for its notes. Levels are averaged
    rather than powers because the spectra are compared in decibels, too.
    """

    name = "equalise"
    oracle = False
    fingerprint = "equalise 1"

    def __init__(self) -> None:
        self.rate = 0
        self.targets: dict[str, np.ndarray] = {}

    def fit(self, testset: TestSet, domains: Sequence[str]) -> None:
        """Take the mean envelope of each domain's unpaired recordings."""
        self.rate = testset.sample_rate
        for domain in domains:
            frames = [
                band_levels(sound, self.rate) for sound in read_unpaired(testset, domain, SECONDS)
            ]
            self.targets[domain] = np.concatenate(frames).mean(axis=0)

    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Equalise `audio (batch, sample)` towards a target."""
        if target not in self.targets:
            raise UserError(f"equalise knows no {target!r}: fit it on a test set that has it")
        sounds = audio.detach().cpu().numpy()
        return torch.from_numpy(np.stack([self._filter(x, self.targets[target]) for x in sounds]))

    def _filter(self, sound: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        level = np.sqrt(np.mean(np.square(sound, dtype=np.float64)))
        if level == 0:
            return sound
        own = band_levels(sound / level, self.rate).mean(axis=0)
        gain_db = np.clip(wanted - own, -MOST_DB, MOST_DB)
        samples = len(sound) + TAIL
        hertz = np.fft.rfftfreq(samples, 1 / self.rate)
        places = np.interp(_octaves(hertz), np.arange(len(own)) / BANDS_AN_OCTAVE, gain_db)
        made = np.fft.irfft(np.fft.rfft(sound, samples) * 10 ** (places / 20), samples)
        return made[: len(sound)].astype(np.float32)


def band_levels(sound: np.ndarray, rate: int) -> np.ndarray:
    """Return the level in decibels of each band of the frames heard, `(frame, band)`.

    Args:
        sound: `(sample,)` of unit root mean square.
        rate: of it, in hertz.
    """
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    padded = np.pad(sound.astype(np.float32), N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[:: N_FFT // 4]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / window.sum() ** 2
    total = power.sum(axis=1)
    heard = power[total > total.max() * 10 ** (-RANGE_DB / 10)]
    return 10 * np.log10(heard @ _weights(rate).T + FLOOR)


def _weights(rate: int) -> np.ndarray:
    """Return triangles an octave wide whose weights sum to 1, `(band, bin)`."""
    octaves = _octaves(np.fft.rfftfreq(N_FFT, 1 / rate))
    centres = np.arange(0, octaves[-1], 1 / BANDS_AN_OCTAVE)
    triangles = np.maximum(0, 1 - BANDS_AN_OCTAVE * np.abs(octaves - centres[:, None]))
    return triangles / triangles.sum(axis=1, keepdims=True)


def _octaves(hertz: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(hertz, LOWEST) / LOWEST)
