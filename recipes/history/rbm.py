"""Restricted Boltzmann machines: Gaussian or binary units that are seen, binary units that hide.

The Gaussian one has the energy of Cho, Ilin and Raiko, "Improved learning of Gaussian-Bernoulli
restricted Boltzmann machines", 2011, with a learned variance for each dimension:

    E(v, h) = sum_i (v_i - b_i)^2 / (2 s_i^2) - sum_ij v_i W_ij h_j / s_i^2 - sum_j c_j h_j

so that p(v | h) = N(b + W h, s^2), and p(v) is a mixture of 2^H such Gaussians. Densities are known
up to Z, a sum over 2^H states: exact for few hidden units, else by `annealing.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from sampling import (
    LOG_TWO_PI,
    bernoulli_log_prob,
    coins,
    every_state,
    gaussian_log_prob,
    minibatches,
    normal,
)
from torch import Generator, Tensor, nn

FIRST_WEIGHTS = 0.8
"""Their standard deviation times the root of the number of visible units. From far smaller ones a
Gaussian machine takes long to leave the saddle where its hidden units do nothing."""
FIRST_NOISE = 0.25
"""Share of the data's variance that the noise starts with: the rest is for the hidden units."""


class RBM(nn.Module):
    """What both machines share; a subclass says what its visible units are.

    Args:
        visible: number of visible units.
        hidden: number of hidden units.
        generator: draws the first weights.
    """

    def __init__(self, visible: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        weight = torch.randn(visible, hidden, generator=generator)
        self.weight = nn.Parameter(FIRST_WEIGHTS * visible**-0.5 * weight)
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    def pull(self, visible: Tensor) -> Tensor:
        """Return what `(row, visible)` adds to the hidden units' log-odds, `(row, hidden)`."""
        raise NotImplementedError

    def visible_energy(self, visible: Tensor) -> Tensor:
        """Return the energy of `(row, visible)` with all hidden units off, `(row,)`."""
        raise NotImplementedError

    def sample_visible(self, hidden: Tensor, generator: Generator, times: int = 1) -> Tensor:
        """Draw `(row, visible)` given `(row, hidden)` that counts `times` over."""
        raise NotImplementedError

    def visible_log_prob(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return log p(v | h) in nats, `(row,)`."""
        raise NotImplementedError

    def log_weight_hidden(self, hidden: Tensor) -> Tensor:
        """Return log of p(h) Z, the visible units summed out, for `(row, hidden)`: `(row,)`."""
        raise NotImplementedError

    def hidden_logits(self, visible: Tensor, times: int = 1) -> Tensor:
        """Return the log-odds of the hidden units given `(row, visible)` that counts `times`."""
        return self.hidden_bias + times * self.pull(visible)

    def hidden_chances(self, visible: Tensor, times: int = 1) -> Tensor:
        """Return p(h_j = 1 | v), `(row, hidden)`."""
        return self.hidden_logits(visible, times).sigmoid()

    def sample_hidden(self, visible: Tensor, generator: Generator, times: int = 1) -> Tensor:
        """Draw `(row, hidden)` given `(row, visible)`."""
        return coins(self.hidden_chances(visible, times), generator)

    def energy(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return E(v, h), `(row,)`; linear in h, so chances give the mean energy."""
        return self.visible_energy(visible) - (hidden * self.hidden_logits(visible)).sum(1)

    def log_weight(self, visible: Tensor) -> Tensor:
        """Return log of p(v) Z, the hidden units summed out, for `(row, visible)`: `(row,)`."""
        return F.softplus(self.hidden_logits(visible)).sum(1) - self.visible_energy(visible)

    def gibbs(self, visible: Tensor, steps: int, generator: Generator) -> Tensor:
        """Return `(row, visible)` after `steps` rounds of block Gibbs sampling."""
        for _ in range(steps):
            visible = self.sample_visible(self.sample_hidden(visible, generator), generator)
        return visible

    def log_z(self) -> float:
        """Return the exact log Z by listing the hidden states; `ValueError` above 16 units."""
        states = every_state(len(self.hidden_bias), self.weight.dtype)
        with torch.no_grad():
            return float(self.log_weight_hidden(states).double().logsumexp(0))


class GaussianRBM(RBM):
    """Visible units on the real line with a learned variance each (`log_variance`)."""

    def __init__(self, visible: int, hidden: int, generator: Generator) -> None:
        super().__init__(visible, hidden, generator)
        self.log_variance = nn.Parameter(torch.zeros(visible))

    def pull(self, visible: Tensor) -> Tensor:
        """As in `RBM`."""
        return (visible * (-self.log_variance).exp()) @ self.weight

    def visible_energy(self, visible: Tensor) -> Tensor:
        """As in `RBM`."""
        squares = (visible - self.visible_bias).square() * (-self.log_variance).exp()
        return 0.5 * squares.sum(1)

    def visible_mean(self, hidden: Tensor) -> Tensor:
        """Return E[v | h] for `(row, hidden)`: `(row, visible)`."""
        return self.visible_bias + hidden @ self.weight.T

    def sample_visible(self, hidden: Tensor, generator: Generator, times: int = 1) -> Tensor:
        """As in `RBM`."""
        mean = self.visible_bias + times * (hidden @ self.weight.T)
        return mean + (0.5 * self.log_variance).exp() * normal(mean, generator)

    def visible_log_prob(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """As in `RBM`."""
        return gaussian_log_prob(visible, self.visible_mean(hidden), self.log_variance)

    def log_weight_hidden(self, hidden: Tensor) -> Tensor:
        """As in `RBM`: a Gaussian integral, which completes the square."""
        shift = hidden @ self.weight.T
        squares = shift * (2 * self.visible_bias + shift) * (-self.log_variance).exp()
        constant = 0.5 * (self.log_variance + LOG_TWO_PI).sum()
        return hidden @ self.hidden_bias + 0.5 * squares.sum(1) + constant


class BernoulliRBM(RBM):
    """Visible units of 0 and 1."""

    def pull(self, visible: Tensor) -> Tensor:
        """As in `RBM`."""
        return visible @ self.weight

    def visible_energy(self, visible: Tensor) -> Tensor:
        """As in `RBM`."""
        return -(visible @ self.visible_bias)

    def visible_logits(self, hidden: Tensor, times: int = 1) -> Tensor:
        """Return the log-odds of the visible units given `(row, hidden)`."""
        return self.visible_bias + times * (hidden @ self.weight.T)

    def sample_visible(self, hidden: Tensor, generator: Generator, times: int = 1) -> Tensor:
        """As in `RBM`."""
        return coins(self.visible_logits(hidden, times).sigmoid(), generator)

    def visible_log_prob(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """As in `RBM`."""
        return bernoulli_log_prob(visible, self.visible_logits(hidden))

    def log_weight_hidden(self, hidden: Tensor) -> Tensor:
        """As in `RBM`."""
        return hidden @ self.hidden_bias + F.softplus(self.visible_logits(hidden)).sum(1)


@torch.no_grad()
def start_from(machine: RBM, frames: Tensor) -> None:
    """Set the visible biases (and variances) to what `frames (frame, visible)` are without h."""
    if isinstance(machine, GaussianRBM):
        machine.visible_bias.copy_(frames.mean(0))
        variance = FIRST_NOISE * frames.var(0).clamp_min(1e-4)
        machine.log_variance.copy_(variance.log())
    else:
        machine.visible_bias.copy_(torch.logit(frames.mean(0).clamp(0.01, 0.99)))


def fit_rbm(
    machine: RBM,
    frames: Tensor,
    *,
    steps: int,
    generator: Generator,
    batch: int = 128,
    rate: float = 2e-3,
    gibbs: int = 1,
    persistent: bool = True,
    through: Callable[[Tensor], Tensor] = lambda frames: frames,
    up: int = 1,
    down: int = 1,
) -> Tensor:
    """Train by contrastive divergence, and return the last chains `(batch, visible)`.

    Chains start at the data in each step (CD-k: Hinton, "Training products of experts by minimizing
    contrastive divergence", 2002) or go on from where they were (Tieleman, "Training restricted
    Boltzmann machines using approximations to the likelihood gradient", 2008).

    Args:
        machine: changed in place.
        frames: `(frame, dimension)`.
        steps: of Adam; the rate falls to 0 along a line, which stills the noise of the chains.
        generator: of minibatches and of all units.
        batch: frames in a step, and chains.
        rate: first learning rate.
        gibbs: rounds of sampling in a step, the k.
        persistent: whether chains go on.
        through: what turns frames into what this machine sees.
        up: how often the visible units count for the hidden ones, 2 in a DBM's first layer.
        down: how often the hidden units count for the visible ones, 2 in its last.

    Raises:
        FloatingPointError: where the weights grow without bound.
    """
    adam = torch.optim.Adam(machine.parameters(), rate)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, max(steps, 1))
    chains = through(next(minibatches(frames, batch, 1, generator)))
    for picked in minibatches(frames, batch, steps, generator):
        with torch.no_grad():
            data = through(picked)
            seen = machine.hidden_chances(data, up)
            chains = chains if persistent else data
            for _ in range(gibbs):
                hidden = machine.sample_hidden(chains, generator, up)
                chains = machine.sample_visible(hidden, generator, down)
            dreamt = machine.hidden_chances(chains, up)
        # The gradient of -log p: energy of the data goes down, energy of the model's dreams up.
        loss = machine.energy(data, seen).mean() - machine.energy(chains, dreamt).mean()
        if not loss.isfinite():
            raise FloatingPointError("the machine's weights grew without bound: lower the rate")
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        fall.step()
    return chains
