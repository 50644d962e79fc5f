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
"""Weight of phase zero at the frame's centre: what holds where no difference is sure."""
SWEEPS = 2
"""Passes over a frame's bins, up and down in turn, that pull each into line with its neighbours."""
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

    def link(self, links: Tensor, amplitude: Tensor, turn: Tensor, kept: int) -> Tensor:
        """Carry phases through the frames of a piece.

        Args:
            links: `(batch, frame, 4, bin)`: real and imaginary parts of differences in time, then
                in frequency; their length says how sure they are.
            amplitude: `(batch, frame, bin)`, of at least 0.
            turn: what `advance` returns.
            kept: frames after which the state is remembered; the next piece begins there.

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
        kernel, self.state = _compiled(), np.empty_like(state)
        for row in range(batch):
            kernel(steps[row], roots[row], turns, state[row], kept, made[row], self.state[row])
        return torch.view_as_complex(torch.from_numpy(made)).to(links.device)


@cache
def _compiled() -> Callable[..., None]:
    from numba import njit

    kernel: Any = njit(cache=True, fastmath=True)(_link)
    return kernel


def _link(
    steps: np.ndarray,
    roots: np.ndarray,
    turns: np.ndarray,
    state: np.ndarray,
    kept: int,
    made: np.ndarray,
    after: np.ndarray,
) -> None:
    """Fill `made` with phases frame by frame, and `after` with the state after `kept` frames."""
    frames, bins = roots.shape
    one, lean, most = np.float32(1.0), np.float32(LEAN), np.float32(MOST)
    # What the frame before says, and each bin's opinion so far, of length 0 to 1; one empty bin on
    # each side. A neighbour counts by its loudness over the bin's own, so that loud bins lead.
    before = np.empty((2, bins), np.float32)
    opinion = np.zeros((2, bins + 2), np.float32)
    last = state.copy()
    for t in range(frames):
        if t == kept:
            after[:] = last
        ar, ai, cr, ci = steps[t, 0], steps[t, 1], steps[t, 2], steps[t, 3]
        root = roots[t]
        quietness = one / root
        for k in range(bins):
            weight = min(last[2, k] * quietness[k], most)
            x = weight * (ar[k] * last[0, k] - ai[k] * last[1, k]) + lean
            y = weight * (ar[k] * last[1, k] + ai[k] * last[0, k])
            scale = one / np.sqrt(x * x + y * y + one)
            before[0, k], before[1, k] = x, y
            opinion[0, k + 1], opinion[1, k + 1] = x * scale, y * scale
        for sweep in range(SWEEPS):
            for i in range(bins):
                k = i if sweep % 2 == 0 else bins - 1 - i
                x, y = before[0, k], before[1, k]
                if k > 0:
                    weight = min(root[k - 1] * quietness[k], most)
                    x += weight * (cr[k] * opinion[0, k] - ci[k] * opinion[1, k])
                    y += weight * (cr[k] * opinion[1, k] + ci[k] * opinion[0, k])
                if k < bins - 1:
                    weight = min(root[k + 1] * quietness[k], most)
                    x += weight * (cr[k + 1] * opinion[0, k + 2] + ci[k + 1] * opinion[1, k + 2])
                    y += weight * (cr[k + 1] * opinion[1, k + 2] - ci[k + 1] * opinion[0, k + 2])
                scale = one / np.sqrt(x * x + y * y + one)
                opinion[0, k + 1], opinion[1, k + 1] = x * scale, y * scale
        for k in range(bins):
            x, y = opinion[0, k + 1], opinion[1, k + 1]
            unit = one / (np.sqrt(x * x + y * y) + np.float32(1e-6))
            made[t, k, 0], made[t, k, 1] = x * unit, y * unit
            last[0, k] = x * turns[k, 0] - y * turns[k, 1]
            last[1, k] = x * turns[k, 1] + y * turns[k, 0]
            last[2, k] = root[k]
    if kept >= frames:
        after[:] = last
