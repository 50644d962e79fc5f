"""Where a sound is not silent: silence in is silence out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SILENCE = 10 ** (-70 / 20)
"""Peak amplitude under which a stretch of input is silence, and so is its output."""
SILENCE_HOPS = 24
"""Hops of silence on each side before the output is muted: tails of notes ring on."""
SMOOTHED = 2
"""Hops on each side that a gain is averaged over."""


def hop_peaks(audio: Tensor, hop_length: int) -> Tensor:
    """Return the peak amplitude of each hop of `audio (batch, sample)`, `(batch, hop)`."""
    return F.max_pool1d(audio.abs()[:, None], hop_length, ceil_mode=True)[:, 0]


def gates(peaks: Tensor, causal: bool) -> Tensor:
    """Return the gain of each hop, 0 to 1, from the hops' peaks; both `(batch, hop)`.

    A causal one does not know when silence will end, and opens at once.
    """
    around = (2 * SILENCE_HOPS, 0) if causal else (SILENCE_HOPS, SILENCE_HOPS)
    spread = F.max_pool1d(F.pad(peaks[:, None], around), 2 * SILENCE_HOPS + 1, stride=1)
    heard = (spread > SILENCE).to(peaks.dtype)
    if causal:
        return heard[:, 0]
    padded = F.pad(heard, (SMOOTHED, SMOOTHED), mode="replicate")
    return F.avg_pool1d(padded, 2 * SMOOTHED + 1, stride=1)[:, 0]
