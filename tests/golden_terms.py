"""Golden figures of the objective: every term, steps of training, and what vocoders learn from."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from formula import DOMAINS, SAMPLES, Figure, draw, fill, model, nats, normal, settings, sound
from torch import Tensor

from audiovae.config import Config
from audiovae.model import critics
from audiovae.model.autoencoder import AudioVAE, Output
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.priors import log_normal
from audiovae.model.wavenet import mu_law_decode, mu_law_encode
from audiovae.training import objective
from audiovae.training.autoencoder import VAETask
from audiovae.training.confusion import Confusion
from audiovae.training.feed import Clips
from audiovae.training.likelihood import make_likelihood
from audiovae.training.matching import Matching
from audiovae.training.optimise import Average, Optimiser
from audiovae.training.vocoder_losses import LinkLoss, VoiceLoss

STEPS = 3
"""Of training."""


def codes_of(audio: Tensor) -> Tensor:
    """Return mu-law codes, in float64: no rounding of a logarithm makes another code."""
    return mu_law_encode(2 * audio.double())


def heard(vae: AudioVAE, seed: int) -> tuple[Output, Clips]:
    """Return what a model makes of a batch, and the batch; `seed` is the batch's."""
    audio = sound()
    if vae.config.model.decoder == "wavenet":
        audio = mu_law_decode(codes_of(audio))
    features, halves = vae.read(audio), audio.split(1)
    noise = normal("noise", 2, vae.config.model.latent_dim, SAMPLES // vae.config.latent_hop)
    rows = {domain: torch.tensor([row]) for row, domain in enumerate(DOMAINS)}
    output = vae.reconstruct(features, rows, noise)
    targets, row = dict(zip(DOMAINS, halves, strict=True)), torch.arange(2)
    return output, Clips(audio, row, rows, targets, noise, row, seed, tuple(range(2)))


def task_of(vae: AudioVAE, config: Config) -> Any:
    """Return what `VAETask.terms` needs of a task: no store, and no draws of a generator."""
    matching = Matching(vae, config, 10)
    fill(matching.critic, "critic")
    dims = config.model.latent_dim

    def drawn(numbers: Sequence[int], frames: int, step: int) -> Tensor:
        return normal("prior", len(numbers) * frames, dims).unflatten(0, (-1, frames))

    matching._drawn = drawn  # type: ignore[method-assign]
    voices = VoiceLoss(config.audio) if config.voiced else None
    likelihood = make_likelihood(config)
    return SimpleNamespace(
        config=config, model=vae, likelihood=likelihood, matching=matching, voices=voices
    )


def terms_of(config: Config) -> dict[str, Tensor]:
    """Return the terms of the objective as a training has them, weighted sum and raw ELBO too."""
    vae = model(config)
    output, clips = heard(vae, 5)
    terms, logged = VAETask.terms(task_of(vae, config), output, clips, 2)
    confusion = Confusion(vae, config, len(DOMAINS), 10)
    fill(confusion.critic, "domain critic")
    terms["confusion"] = confusion.term(output, clips.sources, clips.numbers)
    terms["agreement"] = objective.disagreement(output.posterior, torch.tensor([0, 0]))
    weights = objective.weights_at(config.objective, 5, 10, config.voiced)
    terms["total"] = objective.total(terms, weights | {"agreement": 1.0})
    terms["weights"] = torch.tensor(list(weights.values()))
    return terms | {"elbo": torch.tensor(logged["elbo"])}


OBJECTIVES: dict[str, dict[str, dict[str, object]]] = {
    "kl, laplace": {},
    "kl, gaussian": {"model": {"likelihood": "gaussian"}},
    "free bits": {"objective": {"free_bits": 1.0, "beta": 0.5}},
    "mixture": {"model": {"prior": "mixture"}},
    "vamp": {"model": {"prior": "vamp"}},
    "mmd": {"objective": {"match": "mmd", "confusion": "mmd"}},
    "adversarial": {"objective": {"match": "adversarial"}},
    "voices": {"audio": {"features": "waveform"}},
    "samples": {"model": {"decoder": "wavenet"}},
}


def of_objectives() -> dict[str, Figure]:
    """Every term, for every prior, matching, likelihood and confusion."""
    found = {}
    for name, changes in OBJECTIVES.items():
        with torch.enable_grad():  # The adversary of `match` learns.
            terms = terms_of(settings(**changes))
        units = {"weights": 1.0}
        found |= {f"{name}: {k}": Figure(value, units.get(k)) for k, value in terms.items()}
    return found


def of_training() -> dict[str, Figure]:
    """Gradients and steps: terms before each, and the weights and their average after them."""
    config = settings()
    vae = model(config)
    vae.vocoder = None
    optimiser = Optimiser([(list(vae.parameters()), 1e-3)], config.training, 20)
    average = Average(vae.parameters(), 0.9)
    found = {}
    with torch.enable_grad():
        for step in range(STEPS):
            output, clips = heard(vae, step)
            terms, _ = VAETask.terms(task_of(vae, config), output, clips, step)
            loss = objective.total(terms, {"reconstruction": 1.0, "kl": 0.5})
            (loss / 40).backward()
            found[f"terms {step}"] = torch.stack(list(terms.values()))
            found[f"norm {step}"] = torch.tensor(optimiser.apply(step, [loss.detach()]))
            average.update(step)
    found["weights"] = torch.cat([p.flatten() for p in vae.parameters()])
    found["average"] = torch.cat([p.flatten() for p in average.shadow])
    return {name: Figure(value) for name, value in found.items()}


def of_losses() -> dict[str, Figure]:
    """What vocoders are trained on and judged by, and terms of their own."""
    vae, audio = model(settings()), sound()
    links = LinkLoss(vae.config.audio)
    terms = links.terms(*vae.vocoder.describe(vae.features(audio)), links.heard(audio))
    terms |= objective.SpectralLoss(vae.config.audio, (256, 512))(audio.flip(0), audio)
    critic = critics.SpectrogramDiscriminator((256, 512), width=4)
    fill(critic, "discriminator")
    (true, wanted), (made, hidden) = critic(audio), critic(audio.flip(0) / 2)
    posterior = DiagonalGaussian(normal("mean", 2, 8, 5), draw("logvar", 2, 8, 5))
    density = log_normal(normal("z", 2, 8, 5), posterior.mean, posterior.logvar)
    return {name: Figure(value) for name, value in terms.items()} | {
        "divergence": nats(posterior.kl()),
        "normal density": nats(density),
        "active units": Figure(
            torch.tensor([objective.active_units(0.1 * k * normal("z", 50, 8)) for k in (1, 9)])
        ),
        "discriminator": Figure(critics.discriminator_loss(true, made)),
        "generator": Figure(critics.generator_loss(made)),
        "matching": Figure(critics.matching_loss(wanted, hidden)),
    }
