"""Phases from phase differences: each frame's are carried on from the last and pulled into line.

A network that sees mel frames and no time gives equal frames for a steady tone, and equal frames
one hop apart can only sound at multiples of the frame rate (86 Hz). What it can tell is how far
the phase of a bin turns from frame to frame, and from bin to bin. These differences are linked
here, as in Masuyama, Yatabe and Oikawa, "Phase reconstruction based on recurrent phase unwrapping
with deep neural networks" (2020); how sure the network is of each is the length of a complex
number, the natural parameter of a von Mises distribution, so that opinions add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEAN = 1.0
"""Weight of what holds where no difference is sure: all bins sound at one moment of the frame, its
mean group delay, which is the centre for steady tones and the click's own place for a click."""
SWEEPS = 2
"""Passes over a frame's bins, first the even ones and then the odd ones, each of which is pulled
into line with its two neighbours: as good as one bin after the other, and no bin waits."""
MOST = 4.0
"""Most that a louder neighbour counts: what an untrained network says is soon forgotten, too."""
LEAST = 1e-7
"""Amplitude below which a bin counts as silent."""


def advance(n_fft: int, hop_length: int) -> Tensor:
    """Turn of each bin's centre frequency from frame to frame: complex `(n_fft // 2 + 1,)`."""
    turns = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * hop_length % n_fft / n_fft
    return torch.polar(torch.ones_like(turns), 2 * math.pi * turns).to(torch.complex64)


def centred(n_fft: int) -> Tensor:
    """Signs `(n_fft // 2 + 1,)` that move phases from a window's start to its centre, and back."""
    return 1.0 - 2.0 * (torch.arange(n_fft // 2 + 1) % 2)


def differences(spectra: Tensor, advance: Tensor) -> tuple[Tensor, Tensor]:
    """Phase differences of centred spectra: unit numbers, 0 where there is no neighbour.

    Args:
        spectra: complex `(batch, frame, bin)`, phases about the windows' centres.
        advance: what `advance` returns; it is taken off the differences in time.

    Returns:
        In time (from the frame before) and in frequency (from the bin below), each shaped like
        `spectra`.
    """
    unit = spectra / spectra.abs().clamp_min(1e-12)
    time, frequency = torch.zeros_like(unit), torch.zeros_like(unit)
    time[:, 1:] = unit[:, 1:] * unit[:, :-1].conj() * advance.conj()
    frequency[:, :, 1:] = unit[:, :, 1:] * unit[:, :, :-1].conj()
    return time, frequency


@dataclass
class PhaseMemory:
    """Where the phases of a stream stand between two of its pieces; new for each stream."""

    state: np.ndarray | None = None
    """`(batch, 3, bin)`: real and imaginary parts, and roots of amplitudes, of the last frame."""

    def link(self, links: Tensor, amplitude: Tensor, turn: Tensor) -> Tensor:
        """Carry phases through the next frames.

        Args:
            links: `(batch, frame, 4, bin)`: real and imaginary parts of differences in time, then
                in frequency; their length says how sure they are.
            amplitude: `(batch, frame, bin)`, of at least 0.
            turn: what `advance` returns.

        Returns:
            Unit numbers `(batch, frame, bin)`, on the device of `links`.
        """
        batch, frames, _, bins = links.shape
        steps = np.ascontiguousarray(links.detach().float().cpu().numpy())
        roots = amplitude.detach().float().cpu().clamp_min(LEAST).sqrt().numpy()
        turns = torch.view_as_real(turn).cpu().numpy()
        state = self.state
        if state is None:
            state = np.zeros((batch, 3, bins), np.float32)
            state[:, 2] = LEAST
        made = np.empty((batch, frames, bins, 2), np.float32)
        kernel, self.state = _compiled(), state
        for row in range(batch):
            kernel(steps[row], roots[row], turns, state[row], made[row])
        return torch.view_as_complex(torch.from_numpy(made)).to(links.device)


@cache
def _compiled() -> Callable[..., None]:
    from numba import njit

    # A check for a division by zero, which Python wants, would keep loops from being vectorised.
    kernel: Any = njit(cache=True, fastmath=True, error_model="numpy", nogil=True)(_link)
    return kernel


def _link(
    steps: np.ndarray,
    roots: np.ndarray,
    turns: np.ndarray,
    last: np.ndarray,
    made: np.ndarray,
) -> None:
    """Fill `made` with phases frame by frame; `last` is the state before, and then after them.

    Even and odd bins lie apart: bin 2i + p is place i of part p. Below it is place i - 1 + p of the
    other part, above it the place after that.
    """
    frames, bins = roots.shape
    one, lean, most = np.float32(1.0), np.float32(LEAN), np.float32(MOST)
    places = (bins + 1) // 2
    # What the frame before says, and each bin's opinion so far, of length 0 to 1; a place of
    # nobody's at both ends. `low` and `high` turn a neighbour's opinion into one about the bin,
    # weighted by its loudness over the bin's own, so that loud bins lead.
    before = np.zeros((2, 2, places), np.float32)
    opinion = np.zeros((2, 2, places + 2), np.float32)
    low, high = np.zeros((2, 2, places), np.float32), np.zeros((2, 2, places), np.float32)
    # Phases of a click at the frame's mean group delay: powers of one unit number.
    click = np.zeros((2, bins), np.float32)
    click[0, 0] = one
    for t in range(frames):
        cr, ci, sure = np.float32(1e-12), np.float32(0.0), np.float32(1e-12)
        for k in range(1, bins):
            weight, dr, di = roots[t, k] * roots[t, k - 1], steps[t, 2, k], steps[t, 3, k]
            cr += weight * dr
            ci += weight * di
            sure += weight * np.sqrt(dr * dr + di * di)
        scale = one / np.sqrt(cr * cr + ci * ci)
        # How far the differences agree, squared: where they don't, their direction says nothing.
        agreed = (one / (scale * sure)) ** 2
        cr, ci = cr * scale, ci * scale
        known = 1
        while known < bins:
            for k in range(min(known, bins - known)):
                click[0, known + k] = click[0, k] * cr - click[1, k] * ci
                click[1, known + k] = click[0, k] * ci + click[1, k] * cr
            known, cr, ci = 2 * known, cr * cr - ci * ci, np.float32(2.0) * cr * ci
        for part in range(2):
            for i in range((bins - part + 1) // 2):
                k = 2 * i + part
                quiet = one / roots[t, k]
                ar, ai = steps[t, 0, k], steps[t, 1, k]
                weight = min(last[2, k] * quiet, most)
                x = lean * (one - agreed + agreed * click[0, k])
                y = lean * agreed * click[1, k]
                x += weight * (ar * last[0, k] - ai * last[1, k])
                y += weight * (ar * last[1, k] + ai * last[0, k])
                scale = one / np.sqrt(x * x + y * y + one)
                before[part, 0, i], before[part, 1, i] = x, y
                opinion[part, 0, i + 1], opinion[part, 1, i + 1] = x * scale, y * scale
                if k > 0:
                    weight = min(roots[t, k - 1] * quiet, most)
                    low[part, 0, i] = weight * steps[t, 2, k]
                    low[part, 1, i] = weight * steps[t, 3, k]
                if k + 1 < bins:
                    weight = min(roots[t, k + 1] * quiet, most)
                    high[part, 0, i] = weight * steps[t, 2, k + 1]
                    high[part, 1, i] = -weight * steps[t, 3, k + 1]
        for turn in range(2 * SWEEPS):
            part = turn % 2
            other, mine = opinion[1 - part], opinion[part]
            for i in range((bins - part + 1) // 2):
                lx, ly = other[0, i + part], other[1, i + part]
                hx, hy = other[0, i + part + 1], other[1, i + part + 1]
                lr, li = low[part, 0, i], low[part, 1, i]
                hr, hi = high[part, 0, i], high[part, 1, i]
                x = before[part, 0, i] + lr * lx - li * ly + hr * hx - hi * hy
                y = before[part, 1, i] + lr * ly + li * lx + hr * hy + hi * hx
                scale = one / np.sqrt(x * x + y * y + one)
                mine[0, i + 1], mine[1, i + 1] = x * scale, y * scale
        for part in range(2):
            for i in range((bins - part + 1) // 2):
                k = 2 * i + part
                x, y = opinion[part, 0, i + 1], opinion[part, 1, i + 1]
                unit = one / (np.sqrt(x * x + y * y) + np.float32(1e-6))
                made[t, k, 0], made[t, k, 1] = x * unit, y * unit
                last[0, k] = x * turns[k, 0] - y * turns[k, 1]
                last[1, k] = x * turns[k, 1] + y * turns[k, 0]
                last[2, k] = roots[t, k]
