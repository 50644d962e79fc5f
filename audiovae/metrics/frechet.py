"""Distances between two sets of embeddings: does a collection of sounds look like another?

Both compare distributions, not pairs: rows are samples, `(n, dimension)`, computed in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

Samples = npt.NDArray[Any] | Tensor
Matrix = npt.NDArray[np.float64]


def frechet_distance(a: Samples, b: Samples) -> float:
    """Return the Fréchet distance of two normal distributions fitted to `a` and `b`.

    `|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`: Dowson and Landau (1982); for sound,
    Kilgour et al., "Fréchet Audio Distance" (2019). It is biased upwards on few samples: compare
    sets of one size, with several times more samples than dimensions.

    Raises:
        ValueError: on fewer than two samples, and on sets of other dimensions.
    """
    x, y = _pair(a, b)
    shift = x.mean(0) - y.mean(0)
    first, second = _factor(x), _factor(y)
    # With C_a = A'A and C_b = B'B the root's trace is the sum of the singular values of AB': no
    # root of a singular matrix is taken.
    overlap = np.linalg.norm(first @ second.T, "nuc")
    return float(shift @ shift + (first**2).sum() + (second**2).sum() - 2 * overlap)


def kernel_distance(a: Samples, b: Samples) -> float:
    """Return the squared maximum mean discrepancy with the kernel `(x . y / dimension + 1)^3`.

    Bińkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs" (2018). The estimate is
    unbiased on sets of any size: 0 on average for two sets of one distribution, and so below it
    at times. The kernel is not blind to scale: give it embeddings whose entries are about 1.

    Raises:
        ValueError: on fewer than two samples, and on sets of other dimensions.
    """
    x, y = _pair(a, b)
    return float(_within(x) + _within(y) - 2 * _kernel(x, y).mean())


def _kernel(x: Matrix, y: Matrix) -> Matrix:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _within(x: Matrix) -> float:
    """Return the mean kernel over pairs of different samples."""
    values = _kernel(x, x)
    return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))


def _factor(x: Matrix) -> Matrix:
    """Return a matrix `(rank, dimension)` whose product with itself is the covariance."""
    return np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1)).R


def _pair(a: Samples, b: Samples) -> tuple[Matrix, Matrix]:
    x, y = (np.asarray(s, np.float64) for s in (a, b))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not x.shape[1]:
        raise ValueError(
            f"sets of shape {x.shape} and {y.shape} can't be compared; "
            "expected (sample, dimension), one dimension for both"
        )
    if min(len(x), len(y)) < 2:
        raise ValueError(f"sets of {len(x)} and {len(y)} samples; expected at least 2 in each")
    return x, y
