"""Signals on tensors, and what is measured of them."""

from __future__ import annotations

import math

import torch

RATE = 16_000


def white(rows, samples, seed=0):
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


def tone(hertz, samples=RATE, level=0.5):
    now = torch.arange(samples, dtype=torch.float64) / RATE
    return (level * torch.sin(2 * math.pi * hertz * now)).float()[None]


def level_db(audio):
    return 10 * torch.log10(audio.double().square().mean(-1))


def pitch(audio):
    """Frequency in hertz of the highest peak, by a parabola through its log spectrum."""
    window = torch.hann_window(audio.shape[-1])
    spectrum = torch.fft.rfft(audio * window, 4 * audio.shape[-1]).abs().log()
    k = int(spectrum.argmax())
    below, at, above = (float(spectrum[i]) for i in (k - 1, k, k + 1))
    peak = k + 0.5 * (below - above) / (below - 2 * at + above)
    return peak * RATE / (4 * audio.shape[-1])


def semitones(audio, hertz):
    return 12 * math.log2(pitch(audio) / hertz)
