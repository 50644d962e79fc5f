"""What a step of training encoder and decoders is."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.config import TrainingConfig
from audiovae.corpus.loader import Loader
from audiovae.corpus.store import FilesStore, Store
from audiovae.metrics.probe import STD_FLOOR
from audiovae.model.autoencoder import AudioVAE, Output
from audiovae.model.critics import DomainCritic, mmd
from audiovae.model.precision import autocast
from audiovae.training.feed import Clips, Feed
from audiovae.training.likelihood import make_likelihood
from audiovae.training.matching import Matching
from audiovae.training.objective import (
    confusion_bound,
    disagreement,
    ramp,
    total,
    weights_at,
)
from audiovae.training.optimise import Average, Optimiser
from audiovae.training.previews import PREVIEWS, draw_previews
from audiovae.training.start import fitting_vocoder, hear_clips
from audiovae.training.translate import translated
from audiovae.training.validate import Validation
from audiovae.training.vocoder_losses import VoiceLoss

CRITIC_STEPS = 4
"""Steps of the domain critic in each of the encoder's: one that lags is fooled, not matched."""


def own_chance(config: TrainingConfig, step: int, steps: int) -> float:
    """Chance that an aligned row is encoded from its own domain: from 1 down to `own_share`."""
    fallen = ramp(step, steps, config.own_ramp)
    return 1.0 - (1.0 - config.own_share) * fallen


def spread(sources: Tensor, z: Tensor) -> Tensor:
    """Return the domain's number of each row and frame of z: `(row, frame)`."""
    return sources[:, None].expand(-1, z.shape[2])


def standardised(mean: Tensor) -> Tensor:
    """Return posterior means `(row, latent, frame)`, each dimension over its own deviation.

    That is what a fresh probe gets to see. In samples the noise hides from a critic what a
    transfer, which takes the mean, would still hand on.
    """
    with torch.no_grad():
        centre = mean.mean(dim=(0, 2), keepdim=True)
        deviation = mean.std(dim=(0, 2), keepdim=True).clamp_min(STD_FLOOR)
    return (mean - centre) / deviation


class VAETask:
    """One encoder and its decoders, trained on batches of all domains.

    Args:
        model: to train; domains of the store without a decoder are read as sources alone, which
            needs `pairing: aligned`.
        store: the corpus.
        frozen: leave the encoder as it is.
    """

    kind = "autoencoder"

    def __init__(
        self,
        model: AudioVAE,
        store: Store | FilesStore,
        *,
        targets: list[str] | None = None,
        sources: list[str] | None = None,
        frozen: bool = False,
    ) -> None:
        self.model, self.store, self.config = model, store, model.config
        settings = self.config.training
        self.device = model.device
        self.targets = targets or model.domains
        self.aligned, self.frozen = settings.pairing == "aligned", frozen
        self.sources = (sources or self.targets) if self.aligned else self.targets
        # Whose transfers may be heard: where nothing but new decoders trains, the old ones' too.
        self.players = model.domains if frozen else self.targets
        self.likelihood = make_likelihood(self.config).to(self.device)
        voiced = self.config.voiced
        self.voices = VoiceLoss(self.config.audio).to(self.device) if voiced else None
        self.loader = self._loader("train", self.targets)
        self.feed = Feed(self.config, self.loader, self.targets, self.sources)
        heard = [d for d in self.targets if store.entries(d, "valid")]
        self.validation = None
        if heard:
            valid = self._loader("valid", heard)
            self.validation = Validation(model, self.likelihood, valid, heard)
        self.audio_a_step = settings.accumulate * len(self.targets) * settings.rows * self.clip
        if frozen:
            model.encoder.requires_grad_(False)
        self.remember()

    def remember(self) -> None:
        """Take the weights at hand for the start of training."""
        self.start = copy.deepcopy(self.model.state_dict())

    @property
    def clip(self) -> float:
        """Seconds in a clip."""
        return self.config.clip_samples / self.config.audio.sample_rate

    def _loader(self, split: str, domains: list[str]) -> Loader:
        settings = self.config.training
        if self.aligned:
            domains = sorted({*domains, *self.sources})
        loader = Loader(
            self.store,
            domains=domains,
            split=split,
            rows=settings.rows,
            clip_samples=self.config.clip_samples,
            seed=settings.seed,
            pairing=settings.pairing,
            reader=settings.reader,
            device=self.device,
        )
        loader.check()
        return loader

    def begin(self, steps: int) -> None:
        """Put weights back to their start and build optimisers for `steps`."""
        settings, model = self.config.training, self.model
        model.load_state_dict(self.start)
        self.steps = steps
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        scales = [p for n, p in trained.items() if n.endswith("raw_scale")]
        others = [p for n, p in trained.items() if not n.endswith("raw_scale")]
        groups = [(others, settings.learning_rate), (scales, settings.scale_learning_rate)]
        self.optimiser = Optimiser(groups, settings, steps)
        self.average = Average(trained.values(), settings.ema)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            critic = DomainCritic(self.config.model.latent_dim, max(2, len(self.sources)))
        self.critic = critic.to(self.device)
        self.matching = Matching(model, self.config, steps)
        critic_rate = settings.critic_learning_rate
        critic_group = [(list(critic.parameters()), critic_rate)]
        self.critic_optimiser = Optimiser(critic_group, settings, steps, betas=(0.5, 0.99))

    def terms(
        self, output: Output, targets: Mapping[str, Tensor], step: int, seed: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the terms of the objective, and the figures to log."""
        config, model, likelihood = self.config, self.model, self.likelihood
        nats, errors = [], []
        whole = likelihood.target(torch.cat(list(targets.values())))
        sizes = [len(audio) for audio in targets.values()]
        for domain, wanted in zip(targets, whole.split(sizes), strict=True):
            made = output.reconstruction[domain]
            surprise, error = likelihood.score(model, domain, made, wanted, seed)
            nats.append(surprise)
            errors.append(error)
        terms = {"reconstruction": torch.stack(nats).mean()}
        terms[config.objective.match], told = self.matching.term(output, step)
        if self.voices is not None:
            links = self.voices(model, output.hidden, targets, seed)
            terms["links"] = links * config.audio.n_mels
        with torch.no_grad():
            raw = terms["reconstruction"] + self.matching.divergence(output)
        told |= {"elbo": -float(raw), likelihood.error: float(torch.stack(errors).mean())}
        return terms, told

    def confusion(self, output: Output, sources: Tensor) -> Tensor:
        """Return the confusion term: what z still says of the domains `sources (row,)`."""
        if self.config.objective.confusion == "mmd":
            frames = output.z.transpose(1, 2).float()
            return mmd([frames[sources == n].flatten(0, 1) for n in sources.unique()])
        seen = standardised(output.posterior.mean)
        return confusion_bound(self.critic(seen), spread(sources, seen))

    def heard(self, clips: Clips, step: int) -> tuple[Tensor, Tensor]:
        """Return what the encoder reads, and the domains' numbers that it sounds like."""
        settings, features = self.config.training, self.feed.read(self.model, clips)
        share = settings.translated_share * ramp(step, self.steps, settings.translated_ramp)
        if share == 0 or len(self.players) < 2:
            return features, clips.sources
        return translated(self.model, features, clips, share, self.players)

    def step(self, step: int) -> dict[str, float]:
        """Take one training step and return its figures."""
        config = self.config
        heat = 0.0 if config.training.settle else 1.0
        self.model.train()
        weights = weights_at(config.objective, step, self.steps, config.voiced)
        figures: dict[str, float] = {}
        losses = []
        for part in range(config.training.accumulate):
            position = step * config.training.accumulate + part
            clips = self.feed.clips(position, own_chance(config.training, step, self.steps))
            with autocast(self.device, config.training.precision):
                features, sources = self.heard(clips, step)
                output = self.model.reconstruct(features, clips.rows, clips.noise, temperature=heat)
                if config.objective.confusion == "adversarial":
                    seen = standardised(output.posterior.mean.detach())
                    figures["critic_accuracy"] = self._train_critic(step, seen, sources)
                terms, logged = self.terms(output, clips.targets, position, clips.seed)
                if config.objective.confusion != "none":
                    terms["confusion"] = self.confusion(output, sources)
                if config.objective.agreement_weight:
                    told = disagreement(output.posterior, clips.moments)
                    terms["agreement"] = told / config.model.latent_stride
            loss = total(terms, weights)
            losses.append(loss.detach())
            # Over the numbers of a frame, so that one clipping norm serves any of them.
            (loss / self.likelihood.numbers / config.training.accumulate).backward()
            figures |= {k: float(v.detach()) for k, v in terms.items()} | logged
            figures["loss"] = float(loss.detach())
        self.critic.zero_grad(set_to_none=True)
        self.matching.clear()
        figures["norm"] = self.optimiser.apply(step, losses)
        figures["dropped_steps"] = self.optimiser.bad_steps
        self.average.update(step)
        return figures

    def _train_critic(self, step: int, seen: Tensor, sources: Tensor) -> float:
        labels = spread(sources, seen)
        for _ in range(CRITIC_STEPS):
            logits = self.critic(seen)
            loss = F.cross_entropy(logits.float(), labels)
            loss.backward()
            self.critic_optimiser.apply(step, [loss])
        return float((logits.argmax(1) == labels).float().mean())

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averaged weights, as they are used: nothing trains meanwhile."""
        self.model.eval()
        self.average.swap()
        try:
            batch = self.loader.batch(0)
            clips = torch.cat([batch[d] for d in self.targets])
            hear_clips(self.model, clips, self.targets, frozen=self.frozen)
            yield
        finally:
            self.average.swap()

    def validate(self, step: int) -> dict[str, Any]:
        """Return figures of the averaged weights on held-out recordings.

        Where each domain is one recording there are none: the score then says that all is well.
        """
        if self.validation is None:
            return {"score": float(-step)}
        with self.averaged():
            return self.validation.measure()

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        """Write the checkpoint folder with the averaged weights, and previews."""
        with self.averaged():
            self.model.provenance = {**self.facts, "steps": step, "valid": metrics}
            self.model.save_pretrained(self.run / "checkpoint")
            if self.validation is not None:
                shown = self.validation
                folder = self.run / PREVIEWS
                draw_previews(self.model, shown.loader, shown.targets, folder, self.vocoder)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.shadow,
            "optimiser": self.optimiser.state_dict(),
            "critic": self.critic.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "matching": self.matching.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        for shadow, saved in zip(self.average.shadow, state["average"], strict=True):
            shadow.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        self.critic.load_state_dict(state["critic"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        self.matching.load_state_dict(state["matching"])

    def describe(self, run: Path, **facts: Any) -> None:
        """Set where checkpoints go and what they say of their origin."""
        self.run, self.facts = run, facts
        vocoder = fitting_vocoder(self.config)
        self.vocoder = None if vocoder is None else vocoder.to(self.device)
