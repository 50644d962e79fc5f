"""Mel filters: triangles on Slaney's scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HERTZ_A_MEL = 200.0 / 3
KNEE = 1000.0
"""Hertz up to which the scale is linear."""
KNEE_MELS = KNEE / HERTZ_A_MEL
STEP = math.log(6.4) / 27.0
"""Of the logarithm of the frequency, to a mel above the knee."""


def to_mels(hertz: float) -> float:
    """Return a frequency in mels: 3 for each 200 Hz up to 1 kHz, 27 for each factor of 6.4 above.

    Slaney, "Auditory Toolbox" (1998).
    """
    return hertz / HERTZ_A_MEL if hertz < KNEE else KNEE_MELS + math.log(hertz / KNEE) / STEP


def mel_edges(n_mels: int, f_min: float, f_max: float, dtype: torch.dtype) -> Tensor:
    """Return where filters begin, peak and end, in hertz `(n_mels + 2,)`: equal steps in mels."""
    mels = torch.linspace(to_mels(f_min), to_mels(f_max), n_mels + 2, dtype=dtype)
    above = KNEE * torch.exp(STEP * (mels - KNEE_MELS))
    return torch.where(mels < KNEE_MELS, HERTZ_A_MEL * mels, above)


def mel_triangles(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return triangular filters with a peak of 1, `(n_mels, n_fft // 2 + 1)`.

    Args:
        sample_rate: of the sound, in hertz.
        n_fft: samples of a window.
        n_mels: how many; each begins and ends where its neighbours peak.
        f_min: where the first begins, in hertz.
        f_max: where the last ends; half of the sample rate when left out.
        dtype: that it is computed in.
    """
    last = sample_rate / 2 if f_max is None else f_max
    edges = mel_edges(n_mels, f_min, last, dtype)[:, None]
    bins = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=dtype)
    widths = edges.diff(dim=0)
    rising, falling = (bins - edges[:-2]) / widths[:-1], (edges[2:] - bins) / widths[1:]
    return torch.minimum(rising, falling).clamp_min(0.0)
