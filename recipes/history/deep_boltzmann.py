"""A deep Boltzmann machine of two hidden layers on frames of real numbers.

Salakhutdinov and Hinton, "Deep Boltzmann machines", 2009: all connections go both ways, so the
first layer hears the frame and the second layer at once. Trained greedily (what a layer gets from
one side alone counts twice), then as a whole: mean-field inference for the data, persistent chains
for the model. Its energy is the sum of two restricted machines' that share the first layer:

    E(v, h1, h2) = E_bottom(v, h1) + E_top(h1, h2)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from rbm import BernoulliRBM, GaussianRBM, fit_rbm, start_from
from sampling import (
    LOG_TWO_PI,
    bernoulli_entropy,
    bernoulli_log_prob,
    coins,
    every_state,
    log_mean_exp,
    minibatches,
    normal,
)
from torch import Generator, Tensor, nn

ROUNDS = 15
"""Of mean-field updates: most frames settle in fewer."""


class DeepBoltzmann(nn.Module):
    """Two machines that share a layer of hidden units.

    Args:
        bottom: of frames and the first layer.
        top: of the first and the second layer. Its visible biases are the first layer's too.
    """

    def __init__(self, bottom: GaussianRBM, top: BernoulliRBM) -> None:
        super().__init__()
        self.bottom, self.top = bottom, top

    def energy(self, frames: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return E(v, h1, h2), `(row,)`; linear in each, so independent chances give its mean."""
        return self.bottom.energy(frames, first) + self.top.energy(first, second)

    def first_logits(self, frames: Tensor, second: Tensor) -> Tensor:
        """Return the log-odds of the first layer given both its neighbours."""
        return self.bottom.hidden_logits(frames) + self.top.visible_logits(second)

    @torch.no_grad()
    def infer(self, frames: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
        """Return the mean-field chances of both layers, `(row, first)` and `(row, second)`."""
        first = (self.bottom.hidden_logits(frames, 2) + self.top.visible_bias).sigmoid()
        for _ in range(rounds):
            second = self.top.hidden_chances(first)
            first = self.first_logits(frames, second).sigmoid()
        return first, self.top.hidden_chances(first)

    def log_weight_first(self, first: Tensor) -> Tensor:
        """Return log of p(h1) Z, all else summed out, for `(row, first)`: `(row,)`."""
        return self.bottom.log_weight_hidden(first) + self.top.log_weight(first)

    def log_weight_pair(self, frames: Tensor, first: Tensor) -> Tensor:
        """Return log of p(v, h1) Z, the second layer summed out: `(row,)`."""
        return self.top.log_weight(first) - self.bottom.energy(frames, first)

    @torch.no_grad()
    def mean_field_bound(self, frames: Tensor, log_z: float) -> Tensor:
        """Return the variational lower bound on log p(v) in nats, `(row,)`."""
        first, second = self.infer(frames)
        entropy = bernoulli_entropy(first) + bernoulli_entropy(second)
        return (entropy - self.energy(frames, first, second)).double() - log_z

    @torch.no_grad()
    def bound(self, frames: Tensor, log_z: float, samples: int, generator: Generator) -> Tensor:
        """Return a tighter bound, on average: `samples` first layers drawn from mean field."""
        logits = torch.logit(self.infer(frames)[0], eps=1e-6)
        weights = []
        for _ in range(samples):
            first = coins(logits.sigmoid(), generator)
            weight = self.log_weight_pair(frames, first) - bernoulli_log_prob(first, logits)
            weights.append(weight.double())
        return log_mean_exp(torch.stack(weights)) - log_z

    @torch.no_grad()
    def log_z(self) -> float:
        """Return the exact log Z by listing the first layer; `ValueError` above 16 units."""
        states = every_state(len(self.bottom.hidden_bias), self.bottom.weight.dtype)
        return float(self.log_weight_first(states).double().logsumexp(0))

    @torch.no_grad()
    def exact_log_prob(self, frames: Tensor) -> Tensor:
        """Return log p(v) in nats, `(row,)`; `ValueError` above 16 units in the first layer."""
        states = every_state(len(self.bottom.hidden_bias), frames.dtype)
        rows = [self.log_weight_pair(row.expand(len(states), -1), states) for row in frames]
        return torch.stack([row.logsumexp(0) for row in rows]) - self.log_z()

    def gibbs(self, first: Tensor, steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return frames and second layers drawn `steps` rounds on from `first (row, unit)`."""
        for step in range(steps):
            frames = self.bottom.sample_visible(first, generator)
            second = self.top.sample_hidden(first, generator)
            if step < steps - 1:
                first = coins(self.first_logits(frames, second).sigmoid(), generator)
        return frames, second


class DeepPath:
    """From independent units to a deep Boltzmann machine; the state is its first layer.

    Frames and second layers are summed out, so that annealing moves in a small space.

    Args:
        machine: at the end of the path.
        mean: `(visible,)` of the Gaussians that frames are at `beta` 0.
        variance: `(visible,)` of them.
        logits: `(first,)` log-odds of the first layer at `beta` 0.
    """

    def __init__(
        self, machine: DeepBoltzmann, mean: Tensor, variance: Tensor, logits: Tensor
    ) -> None:
        self.machine, self.mean, self.variance, self.logits = machine, mean, variance, logits

    @property
    def log_start(self) -> float:
        """Exact log Z at `beta` 0."""
        second = len(self.machine.top.hidden_bias) * math.log(2)
        return float(F.softplus(self.logits).double().sum()) + second

    def start(self, count: int, generator: Generator) -> Tensor:
        """Draw `(count, first)`."""
        return coins(self.logits.sigmoid().expand(count, -1), generator)

    def _frames(self, first: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        """Return precision and precision times mean of frames given the first layer."""
        bottom = self.machine.bottom
        start, end = (1 - beta) / self.variance, beta * (-bottom.log_variance).exp()
        return start + end, start * self.mean + end * bottom.visible_mean(first)

    def log_weight(self, state: Tensor, beta: float) -> Tensor:
        """As in `annealing.Path`."""
        machine, bottom = self.machine, self.machine.bottom
        precision, pull = self._frames(state, beta)
        frames = 0.5 * (pull.square() / precision - precision.log() + LOG_TWO_PI).sum(1)
        # The squares of the two ends' own means, and the Gaussians' constant, which is beta 0's.
        start = self.mean.square() / self.variance + self.variance.log() + LOG_TWO_PI
        end = bottom.visible_bias.square() * (-bottom.log_variance).exp()
        constant = 0.5 * ((1 - beta) * start + beta * end).sum()
        biases = bottom.hidden_bias + machine.top.visible_bias
        own = state @ ((1 - beta) * self.logits + beta * biases)
        second = F.softplus(beta * machine.top.hidden_logits(state)).sum(1)
        return frames - constant + own + second

    def step(self, state: Tensor, beta: float, generator: Generator) -> Tensor:
        """As in `annealing.Path`."""
        machine = self.machine
        precision, pull = self._frames(state, beta)
        mean = pull / precision
        frames = mean + precision.rsqrt() * normal(mean, generator)
        second = coins((beta * machine.top.hidden_logits(state)).sigmoid(), generator)
        logits = (1 - beta) * self.logits + beta * machine.first_logits(frames, second)
        return coins(logits.sigmoid(), generator)


def fit_deep_boltzmann(
    frames: Tensor,
    hidden: tuple[int, int],
    *,
    steps: int,
    generator: Generator,
    batch: int = 128,
    rate: float = 2e-3,
) -> tuple[DeepBoltzmann, Tensor]:
    """Train greedily, then as a whole, and return the machine with its last chains.

    Args:
        frames: `(frame, dimension)`.
        hidden: units of the first and the second layer.
        steps: of each of the three trainings.
        generator: of everything random.
        batch: frames in a step, and chains.
        rate: first learning rate of the layers; half of it for the whole.

    Returns:
        The machine, and `(batch, first)` states of the first layer.
    """
    bottom = GaussianRBM(frames.shape[1], hidden[0], generator)
    top = BernoulliRBM(hidden[0], hidden[1], generator)
    start_from(bottom, frames)
    fit_rbm(bottom, frames, steps=steps, generator=generator, batch=batch, rate=rate, up=2)

    def rise(picked: Tensor) -> Tensor:
        return bottom.sample_hidden(picked, generator, 2)

    with torch.no_grad():
        start_from(top, rise(frames))
    fit_rbm(
        top, frames, steps=steps, generator=generator, batch=batch, rate=rate, through=rise, down=2
    )
    with torch.no_grad():
        # Each of the two was trained to give the first layer its biases alone.
        bottom.hidden_bias.mul_(0.5)
        top.visible_bias.mul_(0.5)
    machine = DeepBoltzmann(bottom, top)
    return machine, _fit_whole(machine, frames, steps, batch, rate / 2, generator)


def _fit_whole(
    machine: DeepBoltzmann,
    frames: Tensor,
    steps: int,
    batch: int,
    rate: float,
    generator: Generator,
) -> Tensor:
    """Train both layers together and return the last chains `(batch, first)`."""
    adam = torch.optim.Adam(machine.parameters(), rate)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, max(steps, 1))
    chains = coins(machine.infer(next(minibatches(frames, batch, 1, generator)))[0], generator)
    for data in minibatches(frames, batch, steps, generator):
        with torch.no_grad():
            seen = machine.infer(data)
            dreamt, second = machine.gibbs(chains, 1, generator)
            first = machine.first_logits(dreamt, second).sigmoid()
            chains = coins(first, generator)
        loss = machine.energy(data, *seen).mean() - machine.energy(dreamt, first, second).mean()
        if not loss.isfinite():
            raise FloatingPointError("the machine's weights grew without bound: lower the rate")
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        fall.step()
    return chains
