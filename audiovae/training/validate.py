"""What held-out recordings say of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from audiovae.corpus.kinds import AnyLoader
from audiovae.metrics import probe as probes
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.priors import divergence
from audiovae.training.likelihood import Likelihood
from audiovae.training.objective import (
    active_units,
    kl_by_dimension,
)

STEPS = 3
"""Batches of held-out clips, always the same."""
PROBE_STEPS = 150
LEAST_ACTIVE = 0.25
"""Share of the latent dimensions; with fewer active ones a warning is due."""


class Validation:
    """Figures of a model on fixed clips of held-out recordings."""

    def __init__(
        self, model: AudioVAE, likelihood: Likelihood, loader: AnyLoader, targets: list[str]
    ) -> None:
        self.model, self.likelihood, self.loader = model, likelihood, loader
        self.targets = targets

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """Return ELBO parts in nats a feature frame, KL a dimension, active units, a probe.

        `transfer_error`, with aligned clips alone, is the likelihood's error of what is decoded
        from another domain's clip. `score` is that, or the negative ELBO where there are no pairs;
        lower is better.
        """
        model, likelihood = self.model, self.likelihood
        nats, errors, transfers = [], [], []
        posteriors: dict[str, list[DiagonalGaussian]] = {d: [] for d in self.targets}
        for step in range(STEPS):
            batch = self.loader.batch(step)
            wanted = {d: likelihood.target(batch[d]) for d in self.targets}

            for domain in self.targets:
                posterior = model.encode(batch[domain])
                posteriors[domain].append(posterior)
                surprise, error = self._score(posterior.mean, domain, wanted[domain], step)
                nats.append(surprise)
                errors.append(error)
            if self.loader.pairing == "aligned" and len(self.targets) > 1:
                for i, domain in enumerate(self.targets):
                    other = posteriors[self.targets[i - 1]][step]
                    transfers.append(self._score(other.mean, domain, wanted[domain], step)[1])
        every = [p for parts in posteriors.values() for p in parts]
        dimensions = kl_by_dimension(every)
        kl = float(self._divergence(every)) / model.config.model.latent_stride
        reconstruction = float(torch.stack(nats).mean())
        frames = {
            d: torch.cat([p.mean.transpose(1, 2).flatten(0, 1) for p in parts])
            for d, parts in posteriors.items()
        }
        figures: dict[str, Any] = {
            "elbo": -(reconstruction + kl),
            "reconstruction": reconstruction,
            "kl": kl,
            likelihood.error: float(torch.stack(errors).mean()),
            "active_units": active_units(torch.cat(list(frames.values()))),
            "kl_by_dimension": [round(float(v), 4) for v in dimensions],
        }
        if len(frames) > 1:
            figures["domain_accuracy"] = probe(list(frames.values()))
        if transfers:
            figures["transfer_error"] = float(torch.stack(transfers).mean())
        figures["score"] = figures.get("transfer_error", -figures["elbo"])
        return figures

    def _score(self, z: Tensor, domain: str, wanted: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return nats and the error of what a domain decodes, against what it should."""
        made, _ = self.model.locate(z, domain)
        return self.likelihood.score(self.model, domain, made, wanted, step)

    def _divergence(self, posteriors: list[DiagonalGaussian]) -> Tensor:
        """Return the mean KL divergence to the model's prior in nats a latent frame."""
        drawn = torch.Generator().manual_seed(0)
        nats = []
        for posterior in posteriors:
            noise = torch.randn(posterior.mean.shape, generator=drawn).to(posterior.mean.device)
            z = posterior.sample(noise)
            nats.append(divergence(self.model.prior, posterior, z, self.model.encoder).mean())
        return torch.stack(nats).mean()


def collapse(figures: Mapping[str, Any]) -> str | None:
    """Return what to say where few dimensions of z say anything; nothing where enough of them do.

    Args:
        figures: of a validation; without those of a latent there is nothing to say.
    """
    active, dimensions = figures.get("active_units"), len(figures.get("kl_by_dimension", ()))
    if active is None or active >= LEAST_ACTIVE * dimensions:
        return None
    return (
        f"warning: {active} of {dimensions} latent dimensions are active, so z says little; if "
        "that stays so, raise objective.free_bits or lower objective.beta"
    )


def probe(groups: list[Tensor]) -> float:
    """Accuracy of a fresh MLP that guesses the group of a sample, on the second half of each.

    Args:
        groups: `(sample, dimension)` each; samples of one recording must be neighbours.
    """
    return probes.probe(*probes.halves(groups), kind="mlp", steps=PROBE_STEPS)
