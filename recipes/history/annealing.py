"""Annealed importance sampling: log Z between two bounds, and a careful log p(v).

Neal, "Annealed importance sampling", 2001; for Boltzmann machines Salakhutdinov and Murray, "On the
quantitative analysis of deep belief networks", 2008. A *path* leads from a distribution whose
Z is known (`beta` 0) to the model (`beta` 1); each of its steps leaves the distribution of its
`beta` as it is, and is reversible. Forward, the mean of the weights is unbiased for Z, so their log
is below log Z on average; backward from samples of the model it is unbiased for 1 / Z, so log Z
is bounded above: Grosse, Ghahramani and Adams, "Sandwiching the marginal likelihood using
bidirectional Monte Carlo", 2015. Samples of the model are exact only where its states can be
listed; from long chains the upper bound is as good as the chains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from rbm import BernoulliRBM, GaussianRBM
from sampling import bernoulli_log_prob, coins, gaussian_log_prob, log_mean_exp, normal
from torch import Generator, Tensor

STEEPNESS = 4.0
"""Of the sigmoid along which `beta` rises: most steps are taken near the two ends."""


class Path(Protocol):
    """What annealing needs of a path; a state is `(chain, unit)`."""

    def start(self, count: int, generator: Generator) -> Tensor:
        """Draw exact samples of `beta` 0."""

    @property
    def log_start(self) -> float:
        """Exact log Z at `beta` 0."""

    def log_weight(self, state: Tensor, beta: float) -> Tensor:
        """Return the log-density times Z, `(chain,)`."""

    def step(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """Move reversibly under the distribution of `beta`."""


@dataclass(frozen=True)
class LogZ:
    """Estimates of log Z in nats.

    Attributes:
        forward: below log Z on average.
        error: standard error of `forward` by the spread of its weights.
        reverse: above log Z on average.
    """

    forward: float
    error: float
    reverse: float

    @property
    def doubt(self) -> float:
        """How far `forward` may be off: its standard error, or the gap where that is wider.

        Two good estimates cross by chance: the gap counts whichever is above.
        """
        return max(self.error, abs(self.reverse - self.forward))


def schedule(steps: int) -> list[float]:
    """Return `steps + 1` rising values of `beta` from 0 to 1."""
    curve = torch.linspace(-STEEPNESS, STEEPNESS, steps + 1, dtype=torch.float64).sigmoid()
    return ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()


@torch.no_grad()
def anneal(
    path: Path, betas: list[float], state: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Return the log weights `(chain,)` gathered along `betas`, and where the chains ended."""
    total = torch.zeros(len(state), dtype=torch.float64)
    for before, beta in pairwise(betas):
        total += path.log_weight(state, beta).double() - path.log_weight(state, before).double()
        state = path.step(state, beta, generator)
    return total, state


def sandwich_log_z(
    path: Path, samples: Tensor, generator: Generator, *, steps: int, chains: int = 100
) -> LogZ:
    """Estimate log Z forward from `chains` exact starts and backward from the model's `samples`."""
    betas = schedule(steps)
    forward, _ = anneal(path, betas, path.start(chains, generator), generator)
    # Backward a step comes first: the exact mirror of the forward weights.
    with torch.no_grad():
        settled = path.step(samples, 1.0, generator)
    backward, _ = anneal(path, betas[::-1], settled, generator)
    share = (forward - forward.logsumexp(0)).exp()
    # The delta method: the error of a log is the relative error of the mean.
    error = float(share.std() * math.sqrt(chains))
    return LogZ(
        float(log_mean_exp(forward)) + path.log_start,
        error,
        path.log_start - float(log_mean_exp(backward)),
    )


@torch.no_grad()
def reverse_log_prob(path: Path, visible: Tensor, generator: Generator, *, steps: int) -> Tensor:
    """Return RAISE's log p(v) of `(row, visible)` in nats, `(row,)`: too low rather than too high.

    Burda, Grosse and Salakhutdinov, "Accurate and conservative estimates of MRF log-likelihood
    using reverse annealing", 2015: a row is annealed back to the start, which gives an unbiased
    estimate of the probability that the *annealing* ends at it. Its log is below on average. Only
    for paths whose state is the visible units.
    """
    total = torch.zeros(len(visible), dtype=torch.float64)
    betas = schedule(steps)
    for beta in betas[:0:-1]:
        # p_0(v_0) times the product of T(v_k | v_{k-1}) / T(v_{k-1} | v_k), T reversible.
        total += path.log_weight(visible, beta).double()
        visible = path.step(visible, beta, generator)
        total -= path.log_weight(visible, beta).double()
    return total + path.log_weight(visible, 0.0).double() - path.log_start


class GaussianPath:
    """From independent Gaussians to a Gaussian-Bernoulli RBM; the state is its visible units.

    The distributions between are geometric means, RBMs themselves (Salakhutdinov and Murray, 2008).

    Args:
        machine: at the end of the path.
        mean: `(visible,)` of the Gaussians; those of the data make a short path.
        variance: `(visible,)` of them.
    """

    def __init__(self, machine: GaussianRBM, mean: Tensor, variance: Tensor) -> None:
        self.machine, self.mean, self.log_variance = machine, mean, variance.log()

    @property
    def log_start(self) -> float:
        """Exact log Z at `beta` 0: the Gaussians are normalised, the hidden units free."""
        return len(self.machine.hidden_bias) * math.log(2)

    def start(self, count: int, generator: Generator) -> Tensor:
        """Draw `(count, visible)`."""
        mean = self.mean.expand(count, -1)
        return mean + (0.5 * self.log_variance).exp() * normal(mean, generator)

    def log_weight(self, state: Tensor, beta: float) -> Tensor:
        """As in `Path`."""
        base = gaussian_log_prob(state, self.mean, self.log_variance)
        hidden = F.softplus(beta * self.machine.hidden_logits(state)).sum(1)
        return (1 - beta) * base - beta * self.machine.visible_energy(state) + hidden

    def step(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """As in `Path`."""
        hidden = coins((beta * self.machine.hidden_logits(state)).sigmoid(), generator)
        first = (1 - beta) * (-self.log_variance).exp()
        last = beta * (-self.machine.log_variance).exp()
        variance = (first + last).reciprocal()
        mean = variance * (first * self.mean + last * self.machine.visible_mean(hidden))
        return mean + variance.sqrt() * normal(mean, generator)


class BernoulliPath:
    """From independent bits to a binary RBM; the state is its visible units.

    Args:
        machine: at the end of the path.
        logits: `(visible,)` log-odds of the bits; those of the data make a short path.
    """

    def __init__(self, machine: BernoulliRBM, logits: Tensor) -> None:
        self.machine, self.logits = machine, logits

    @property
    def log_start(self) -> float:
        """Exact log Z at `beta` 0."""
        return len(self.machine.hidden_bias) * math.log(2)

    def start(self, count: int, generator: Generator) -> Tensor:
        """Draw `(count, visible)`."""
        return coins(self.logits.sigmoid().expand(count, -1), generator)

    def log_weight(self, state: Tensor, beta: float) -> Tensor:
        """As in `Path`."""
        base = bernoulli_log_prob(state, self.logits)
        hidden = F.softplus(beta * self.machine.hidden_logits(state)).sum(1)
        return (1 - beta) * base - beta * self.machine.visible_energy(state) + hidden

    def step(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """As in `Path`."""
        hidden = coins((beta * self.machine.hidden_logits(state)).sigmoid(), generator)
        logits = (1 - beta) * self.logits + beta * self.machine.visible_logits(hidden)
        return coins(logits.sigmoid(), generator)
