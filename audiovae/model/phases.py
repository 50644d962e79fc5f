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
LANES = 8
"""Stretches of bins that are swept side by side, half of the time of one after the other."""
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
    """Fill `made` with phases frame by frame, and `after` with the state after `kept` frames.

    A bin waits for its neighbour, so the bins are cut into `LANES` stretches that are swept side by
    side: arrays are `(place in the stretch, lane)`, with the neighbouring lanes' ends around them.
    """
    frames, bins = roots.shape
    one, lean, most = np.float32(1.0), np.float32(LEAN), np.float32(MOST)
    length = (bins + LANES - 1) // LANES
    # What the frame before says, and each bin's opinion so far, of length 0 to 1. A neighbour
    # counts by its loudness over the bin's own, so that loud bins lead.
    before = np.zeros((2, length, LANES), np.float32)
    opinion = np.zeros((2, length + 2, LANES), np.float32)
    link = np.zeros((2, length + 1, LANES), np.float32)
    root = np.ones((length + 2, LANES), np.float32)
    quietness = np.zeros((length, LANES), np.float32)
    below, above = np.zeros_like(quietness), np.zeros_like(quietness)
    last = state.copy()
    for t in range(frames):
        if t == kept:
            after[:] = last
        for lane in range(LANES):
            for i in range(min(length, bins - lane * length)):
                k = lane * length + i
                ar, ai = steps[t, 0, k], steps[t, 1, k]
                quiet = one / roots[t, k]
                weight = min(last[2, k] * quiet, most)
                x = weight * (ar * last[0, k] - ai * last[1, k]) + lean
                y = weight * (ar * last[1, k] + ai * last[0, k])
                scale = one / np.sqrt(x * x + y * y + one)
                before[0, i, lane], before[1, i, lane] = x, y
                opinion[0, i + 1, lane], opinion[1, i + 1, lane] = x * scale, y * scale
                link[0, i, lane], link[1, i, lane] = steps[t, 2, k], steps[t, 3, k]
                root[i + 1, lane], quietness[i, lane] = roots[t, k], quiet
        # Nothing lies under the first bin, and nothing above the last.
        root[0, 0] = root[length + 1, LANES - 1] = np.float32(0.0)
        root[0, 1:], root[length + 1, :-1] = root[length, :-1], root[1, 1:]
        link[0, length, :-1], link[1, length, :-1] = link[0, 0, 1:], link[1, 0, 1:]
        for i in range(length):
            for lane in range(LANES):
                below[i, lane] = min(root[i, lane] * quietness[i, lane], most)
                above[i, lane] = min(root[i + 2, lane] * quietness[i, lane], most)
        for sweep in range(SWEEPS):
            for part in range(2):
                opinion[part, 0, 1:] = opinion[part, length, :-1]
                opinion[part, length + 1, :-1] = opinion[part, 1, 1:]
            for j in range(length):
                i = j if sweep % 2 == 0 else length - 1 - j
                for lane in range(LANES):
                    low, high = below[i, lane], above[i, lane]
                    ar, ai = link[0, i, lane], link[1, i, lane]
                    cr, ci = link[0, i + 1, lane], link[1, i + 1, lane]
                    lx, ly = opinion[0, i, lane], opinion[1, i, lane]
                    hx, hy = opinion[0, i + 2, lane], opinion[1, i + 2, lane]
                    x = before[0, i, lane] + low * (ar * lx - ai * ly) + high * (cr * hx + ci * hy)
                    y = before[1, i, lane] + low * (ar * ly + ai * lx) + high * (cr * hy - ci * hx)
                    scale = one / np.sqrt(x * x + y * y + one)
                    opinion[0, i + 1, lane], opinion[1, i + 1, lane] = x * scale, y * scale
        for lane in range(LANES):
            for i in range(min(length, bins - lane * length)):
                k = lane * length + i
                x, y = opinion[0, i + 1, lane], opinion[1, i + 1, lane]
                unit = one / (np.sqrt(x * x + y * y) + np.float32(1e-6))
                made[t, k, 0], made[t, k, 1] = x * unit, y * unit
                last[0, k] = x * turns[k, 0] - y * turns[k, 1]
                last[1, k] = x * turns[k, 1] + y * turns[k, 0]
                last[2, k] = roots[t, k]
    if kept >= frames:
        after[:] = last
