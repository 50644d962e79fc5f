"""What holds z to the prior: the ELBO's divergence, an adversary, or a discrepancy of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.audio.augment import mix_seed
from audiovae.config import Config
from audiovae.model.autoencoder import AudioVAE, Output
from audiovae.model.critics import LatentCritic, mmd
from audiovae.model.priors import divergence
from audiovae.training.objective import kl_term
from audiovae.training.optimise import Optimiser
from audiovae.training.ranks import mean_over_ranks, rows_of_all

MMD_FRAMES = 512
"""Latent frames of each side that a discrepancy is computed from."""


class Matching:
    """The term that holds the posterior to the prior, and what it needs to be trained itself.

    Args:
        model: that trains.
        config: settings; `objective.match` says which term.
        steps: length of the schedule.
    """

    def __init__(self, model: AudioVAE, config: Config, steps: int) -> None:
        self.model, self.config = model, config
        self.kind, settings = config.objective.match, config.training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 1)
            self.critic = LatentCritic(config.model.latent_dim).to(model.device)
        groups = [(list(self.critic.parameters()), settings.critic_learning_rate)]
        self.optimiser = Optimiser(groups, settings, steps, betas=(0.5, 0.99))

    def term(
        self, output: Output, numbers: Sequence[int], step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the term of a step, and figures to log; `numbers` are the rows'."""
        if self.kind == "kl":
            return self.divergence(output, self.config.objective.free_bits), {}
        made = output.z.float().transpose(1, 2)
        with torch.no_grad():
            wanted = self._drawn(numbers, made.shape[1], step)
        if self.kind == "mmd":
            both = [rows_of_all(x, numbers).flatten(0, 1) for x in (made, wanted)]
            return mmd(both, MMD_FRAMES), {}
        made, wanted = made.flatten(0, 1), wanted.flatten(0, 1)
        accuracy = self._train_critic(made.detach(), wanted, step)
        # The non-saturating loss: the encoder wants its frames to be taken for the prior's.
        told = mean_over_ranks(F.softplus(-self.critic(made)))
        return told, {"match_accuracy": accuracy}

    def divergence(self, output: Output, free_bits: float = 0.0) -> Tensor:
        """Return the KL divergence in nats a feature frame; `free_bits` a dimension are let be."""
        settings, prior = self.config.model, self.model.prior
        if prior.exact:
            dimensions = mean_over_ranks(output.posterior.kl().mean(dim=2))
            return kl_term(dimensions, free_bits, settings.latent_stride)
        nats = divergence(prior, output.posterior, output.z, self.model.encoder)
        told = mean_over_ranks(nats.mean(dim=1))
        return told.clamp_min(free_bits * settings.latent_dim) / settings.latent_stride

    def _drawn(self, numbers: Sequence[int], frames: int, step: int) -> Tensor:
        """Return frames of the prior `(row, frame, latent)`, a function of seed, step and row."""
        generator, width = torch.Generator(), self.config.model.latent_dim
        drawn = torch.empty(len(numbers), frames, width), torch.empty(len(numbers), frames)
        for noise, chance, row in zip(*drawn, numbers, strict=True):
            generator.manual_seed(mix_seed(self.config.training.seed, step, row, 12))
            noise.normal_(generator=generator)
            chance.uniform_(generator=generator)
        noise, chance = (x.flatten(0, 1).to(self.model.device) for x in drawn)
        return self.model.prior.sample(noise, chance, self.model.encoder).unflatten(0, (-1, frames))

    def _train_critic(self, made: Tensor, wanted: Tensor, step: int) -> float:
        """Let the critic learn once; return how often it is right."""
        # What the encoder's loss left here is none of the critic's.
        self.critic.zero_grad(set_to_none=True)
        odds = self.critic(torch.cat([made, wanted]))
        truth = torch.cat([odds.new_zeros(len(made)), odds.new_ones(len(wanted))])
        loss = mean_over_ranks(F.binary_cross_entropy_with_logits(odds, truth, reduction="none"))
        loss.backward()
        self.optimiser.apply(step, [loss.detach()])
        return float(((odds > 0) == (truth > 0)).float().mean())

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {"critic": self.critic.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.critic.load_state_dict(state["critic"])
        self.optimiser.load_state_dict(state["optimiser"])
