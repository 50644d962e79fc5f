"""Draws of the prior over time, one frame after another, nothing computed twice."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiovae.model.sequence import LARGEST, SequencePrior

COLDEST = 1e-3
"""Temperature below which the likeliest level is taken."""


def _draw_frame(heard, beside, tell, starts, chances, cold, drawn):  # type: ignore[no-untyped-def]
    """Draw the levels of a frame, one dimension after another, by inverting their distributions.

    Args:
        heard: `(unit + level,)`, what the past says; what the drawn levels say is added.
        beside: `(level, unit + level)`, what each level says to those after it.
        tell: `(level, hidden)`.
        starts: where each dimension's levels begin, and where the last ones end.
        chances: uniform in 0 to 1, `(dimension,)`.
        cold: one over the temperature; 0 for the likeliest level.
        drawn: `(dimension,)`, the levels, counted from 0.
    """
    hidden = tell.shape[1]
    units = (len(starts) - 1) * hidden
    odds = np.empty(tell.shape[0])
    for dimension in range(len(starts) - 1):
        first, last = starts[dimension], starts[dimension + 1]
        most, best = -np.inf, first
        for level in range(first, last):
            logit = heard[units + level]
            for unit in range(hidden):
                logit += tell[level, unit] * max(heard[dimension * hidden + unit], 0.0)
            odds[level] = LARGEST * math.tanh(logit / LARGEST)
            if odds[level] > most:
                most, best = odds[level], level
        if cold > 0:
            total = 0.0
            for level in range(first, last):
                odds[level] = math.exp(cold * (odds[level] - most))
                total += odds[level]
            left, best = chances[dimension] * total, first
            while best + 1 < last and left >= odds[best]:
                left -= odds[best]
                best += 1
        drawn[dimension] = best - first
        for output in range(heard.shape[0]):
            heard[output] += beside[best, output]


@cache
def _kernel() -> Any:
    from numba import njit

    return njit(cache=True, error_model="numpy", nogil=True)(_draw_frame)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().to(torch.float64, copy=True).numpy()


class SequenceSampler:
    """Frames of the prior over time, each given those before it.

    Args:
        prior: to draw from.
        temperature: that log-odds are divided by; 0 takes the likeliest level each time.
    """

    def __init__(self, prior: SequencePrior, temperature: float = 1.0) -> None:
        self.shape = prior.shape
        self.cold = 1 / temperature if temperature >= COLDEST else 0.0
        read, turn, *biases = (_array(weights) for weights in prior.memory.parameters())
        self.read, self.turn, self.biases = _array(prior.read.weight).T @ read.T, turn, biases
        self.recall, self.bias = _array(prior.recall.weight), _array(prior.recall.bias)
        self.before = np.ascontiguousarray(_array(prior.before.weight).T)
        self.beside = np.ascontiguousarray(_array(prior.beside.weight * prior.earlier).T)
        self.tell = _array(prior.tell)
        self.starts = np.array([*prior.shape.starts, sum(prior.shape.levels)])
        self.state = np.zeros(prior.shape.state)
        self.last: np.ndarray | None = None
        """Levels of the frame before, counted among all."""

    def draw(self, chances: Tensor) -> Tensor:
        """Map `chances (frame, latent)`, uniform in 0 to 1, to the next frames' levels, uint8."""
        drawn = np.empty(chances.shape, np.int64)
        for frame, row in zip(drawn, chances.double().numpy(), strict=True):
            self._step(row, frame)
        return torch.from_numpy(drawn).to(torch.uint8)

    def _step(self, chances: np.ndarray, frame: np.ndarray) -> None:
        """Draw one frame."""
        said, turned = self.biases[0].copy(), self.turn @ self.state + self.biases[1]
        if self.last is not None:
            said += self.read[self.last].sum(axis=0)
        size = len(self.state)
        reset, keep = np.split(1 / (1 + np.exp(-(said + turned)[: 2 * size])), 2)
        new = np.tanh(said[2 * size :] + reset * turned[2 * size :])
        self.state = (1 - keep) * new + keep * self.state
        heard = self.recall @ self.state + self.bias
        if self.last is not None:
            heard += self.before[self.last].sum(axis=0)
        _kernel()(heard, self.beside, self.tell, self.starts, chances, self.cold, frame)
        self.last = frame + self.starts[:-1]
