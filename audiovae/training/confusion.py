"""What takes the domain out of z: a critic that reads it there, or a discrepancy of domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.config import Config
from audiovae.metrics.probe import STD_FLOOR
from audiovae.model.autoencoder import AudioVAE, Output
from audiovae.model.critics import DomainCritic, mmd
from audiovae.training.objective import confusion_bound
from audiovae.training.optimise import Optimiser
from audiovae.training.ranks import mean_over_ranks, rows_of_all, sum_over_ranks

CRITIC_STEPS = 4
"""Steps of the domain critic in each of the encoder's: one that lags is fooled, not matched."""


def spread(sources: Tensor, z: Tensor) -> Tensor:
    """Return the domain's number of each row and frame of z: `(row, frame)`."""
    return sources[:, None].expand(-1, z.shape[2])


def standardised(mean: Tensor) -> Tensor:
    """Return posterior means `(row, latent, frame)`, each dimension over its own deviation.

    That is what a fresh probe gets to see. In samples the noise hides from a critic what a
    transfer, which takes the mean, would still hand on.
    """
    with torch.no_grad():
        centre = mean_over_ranks(mean).mean(dim=1)[:, None]
        squares = sum_over_ranks((mean - centre).square().sum(dim=(0, 2)))
        count = sum_over_ranks(mean.new_tensor(float(mean[:, 0].numel())))
        deviation = (squares / (count - 1)).sqrt()[:, None].clamp_min(STD_FLOOR)
    return (mean - centre) / deviation


class Confusion:
    """The term that asks z not to tell its domain, and the critic that it is learned against.

    Args:
        model: that trains.
        config: settings; `objective.confusion` says which term.
        domains: how many the encoder hears.
        steps: length of the schedule.
    """

    def __init__(self, model: AudioVAE, config: Config, domains: int, steps: int) -> None:
        self.kind, settings = config.objective.confusion, config.training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            critic = DomainCritic(config.model.latent_dim, max(2, domains))
        self.critic = critic.to(model.device)
        groups = [(list(critic.parameters()), settings.critic_learning_rate)]
        self.optimiser = Optimiser(groups, settings, steps, betas=(0.5, 0.99))

    def train(self, output: Output, sources: Tensor, step: int) -> dict[str, float]:
        """Let the critic learn from what the encoder said of `sources (row,)`; return figures."""
        if self.kind != "adversarial":
            return {}
        seen = standardised(output.posterior.mean.detach())
        labels = spread(sources, seen)
        # What the encoder's loss left here is none of the critic's.
        self.critic.zero_grad(set_to_none=True)
        for _ in range(CRITIC_STEPS):
            logits = self.critic(seen)
            nats = F.cross_entropy(logits.float(), labels, reduction="none")
            loss = mean_over_ranks(nats).mean()
            loss.backward()
            self.optimiser.apply(step, [loss])
        return {"critic_accuracy": float((logits.argmax(1) == labels).float().mean())}

    def term(self, output: Output, sources: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return what z still says of the domains `sources (row,)`; `numbers` are the rows'."""
        if self.kind == "mmd":
            frames = rows_of_all(output.z, numbers).transpose(1, 2).float()
            sources = rows_of_all(sources, numbers)
            return mmd([frames[sources == n].flatten(0, 1) for n in sources.unique()])
        seen = standardised(output.posterior.mean)
        return confusion_bound(self.critic(seen), spread(sources, seen))
