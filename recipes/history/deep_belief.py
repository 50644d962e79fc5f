"""Deep belief networks: restricted Boltzmann machines stacked, each trained on the one below.

Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", 2006. The top machine is
the prior of the layers under it, which generate downwards: p(v) = sum_h p(v | h) p_top(h). With the
upward pass as q(h | v) there is a lower bound, and with K samples of it a tighter one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from rbm import RBM, BernoulliRBM, GaussianRBM, fit_rbm, start_from
from sampling import bernoulli_log_prob, coins, every_state, log_mean_exp
from torch import Generator, Tensor, nn


class DeepBeliefNet(nn.Module):
    """A stack: the first machine sees frames, each other one the hidden units of the one below.

    Args:
        machines: from the frames up; at least one.
    """

    def __init__(self, machines: list[RBM]) -> None:
        super().__init__()
        for below, above in pairwise(machines):
            if len(below.hidden_bias) != len(above.visible_bias):
                raise ValueError(
                    f"a machine with {len(below.hidden_bias)} hidden units is under one that sees "
                    f"{len(above.visible_bias)}; expected as many"
                )
        self.machines = nn.ModuleList(machines)

    @property
    def top(self) -> RBM:
        """The machine whose Z the density needs."""
        return self.machines[-1]

    def rise(self, frames: Tensor, generator: Generator) -> Tensor:
        """Draw what the top machine sees, `(row, unit)`, given `(row, dimension)`."""
        for machine in self.machines[:-1]:
            frames = machine.sample_hidden(frames, generator)
        return frames

    def fall(self, seen: Tensor, generator: Generator) -> Tensor:
        """Draw frames `(row, dimension)` given what the top machine sees."""
        for machine in reversed(self.machines[:-1]):
            seen = machine.sample_visible(seen, generator)
        return seen

    def chances(self, frames: Tensor) -> Tensor:
        """Return the chances of all hidden units on the way up, `(row, all units)`."""
        layers = []
        for machine in self.machines:
            frames = machine.hidden_chances(frames)
            layers.append(frames)
        return torch.cat(layers, 1)

    @torch.no_grad()
    def bound(self, frames: Tensor, log_z: float, samples: int, generator: Generator) -> Tensor:
        """Return a lower bound on log p(v), on average, in nats: `(row,)`.

        Args:
            frames: `(row, dimension)`.
            log_z: of the top machine.
            samples: of the hidden units for each frame; 1 is the classical bound.
            generator: of them.
        """
        weights = torch.stack([self._weigh(frames, generator) for _ in range(samples)])
        return log_mean_exp(weights.double()) - log_z

    def _weigh(self, seen: Tensor, generator: Generator) -> Tensor:
        """Return log p(v, h) Z / q(h | v) for one draw of h, `(row,)`."""
        total = torch.zeros(len(seen), dtype=seen.dtype)
        for machine in self.machines[:-1]:
            logits = machine.hidden_logits(seen)
            hidden = coins(logits.sigmoid(), generator)
            total += machine.visible_log_prob(seen, hidden) - bernoulli_log_prob(hidden, logits)
            seen = hidden
        return total + self.top.log_weight(seen)

    @torch.no_grad()
    def exact_log_prob(self, frames: Tensor) -> Tensor:
        """Return log p(v) in nats, `(row,)`, of two machines by listing the units between them.

        Raises:
            ValueError: on another number of machines, or more than 16 units.
        """
        if len(self.machines) != 2:
            raise ValueError(f"{len(self.machines)} machines; exact only for 2")
        first = self.machines[0]
        states = every_state(len(first.hidden_bias), frames.dtype)
        prior = self.top.log_weight(states) - self.top.log_z()
        rows = [first.visible_log_prob(row.expand(len(states), -1), states) for row in frames]
        return torch.stack([(row + prior).logsumexp(0) for row in rows])


def fit_deep_belief(
    frames: Tensor,
    hidden: list[int],
    *,
    steps: int,
    generator: Generator,
    batch: int = 128,
    rate: float = 2e-3,
) -> tuple[DeepBeliefNet, Tensor]:
    """Train a stack greedily and return it with the top machine's last chains.

    Args:
        frames: `(frame, dimension)`.
        hidden: units of each layer.
        steps: of each machine.
        generator: of everything random.
        batch: frames in a step.
        rate: first learning rate.
    """
    net: DeepBeliefNet | None = None
    for units in hidden:
        below = list(net.machines) if net else []
        machine: RBM
        if net:
            machine = BernoulliRBM(len(net.top.hidden_bias), units, generator)
        else:
            machine = GaussianRBM(frames.shape[1], units, generator)
        net = DeepBeliefNet([*below, machine])
        with torch.no_grad():
            start_from(machine, net.rise(frames, generator))
        chains = fit_rbm(
            machine,
            frames,
            steps=steps,
            generator=generator,
            batch=batch,
            rate=rate,
            through=lambda picked, net=net: net.rise(picked, generator),
        )
    if net is None:
        raise ValueError("a deep belief network needs at least one layer of hidden units")
    return net, chains
