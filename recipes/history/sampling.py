"""What the models of the history share: minibatches, coins, sums of exponentials, all bit strings.

Everything random is drawn from a `torch.Generator`, so that a seed fixes a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

MOST_BITS = 16
"""Binary units whose states are listed one by one: 65,536 rows."""
LOG_TWO_PI = math.log(2 * math.pi)


def minibatches(frames: Tensor, size: int, steps: int, generator: Generator) -> Iterator[Tensor]:
    """Yield `steps` draws `(size, dimension)` with replacement from `frames (frame, dimension)`."""
    for _ in range(steps):
        yield frames[torch.randint(len(frames), (size,), generator=generator)]


def normal(like: Tensor, generator: Generator) -> Tensor:
    """Return standard normal numbers of the shape and type of `like`."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def coins(chances: Tensor, generator: Generator) -> Tensor:
    """Return 1 with each of `chances` (0 to 1), else 0, in their shape and type."""
    return torch.bernoulli(chances, generator=generator)


def every_state(bits: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return all binary vectors `(2 ** bits, bits)`; `ValueError` above 16 bits."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"{bits} units have too many states; expected 1 to {MOST_BITS}")
    rows = torch.arange(2**bits)[:, None]
    return (rows >> torch.arange(bits) & 1).to(dtype)


def log_mean_exp(logs: Tensor, dim: int = 0) -> Tensor:
    """Return the log of the mean of `exp(logs)` along `dim`."""
    return logs.logsumexp(dim) - math.log(logs.shape[dim])


def gaussian_log_prob(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the log-density of diagonal Gaussians, summed over the last axis, in nats."""
    squares = (x - mean).square() * (-log_variance).exp()
    return -0.5 * (squares + log_variance + LOG_TWO_PI).sum(-1)


def bernoulli_log_prob(bits: Tensor, logits: Tensor) -> Tensor:
    """Return the log-probability of independent bits, summed over the last axis, in nats."""
    # log sigmoid(a) = -softplus(-a), and the other outcome's is a less.
    return (bits * logits - torch.nn.functional.softplus(logits)).sum(-1)


def bernoulli_entropy(chances: Tensor) -> Tensor:
    """Return the entropy of independent bits with `chances`, summed over the last axis, in nats."""
    return -(torch.xlogy(chances, chances) + torch.xlogy(1 - chances, 1 - chances)).sum(-1)


def logit(chances: Tensor, least: float = 0.02) -> Tensor:
    """Return log-odds of chances held to `least` … 1 - `least`."""
    return torch.logit(chances.clamp(least, 1 - least))
