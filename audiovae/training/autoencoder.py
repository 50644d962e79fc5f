"""What a step of training encoder and decoders is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.audio.augment import Augment, mix_seed
from audiovae.audio.features import LogMel
from audiovae.corpus.loader import Loader
from audiovae.corpus.store import FilesStore, Store
from audiovae.model.autoencoder import AudioVAE, Output
from audiovae.model.critics import DomainCritic, mmd
from audiovae.training.objective import (
    SpectralLoss,
    confusion_bound,
    kl_by_dimension,
    kl_term,
    negative_log_likelihood,
    total,
    weights_at,
)
from audiovae.training.optimise import Average, Optimiser, autocast
from audiovae.training.previews import draw_previews
from audiovae.training.start import fitting_vocoder
from audiovae.training.validate import Validation


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
        self.aligned = settings.pairing == "aligned"
        self.sources = (sources or self.targets) if self.aligned else self.targets
        self.augment = Augment(self.config.augment, self.config.audio.sample_rate)
        # The target is always a log-mel, whatever the encoder reads.
        self.logmel = LogMel(self.config.audio).to(self.device)
        self.spectral = SpectralLoss(self.config.audio).to(self.device) if model.waveform else None
        self.loader = self._loader("train", self.targets)
        heard = [d for d in self.targets if store.entries(d, "valid")]
        self.validation = Validation(model, self._loader("valid", heard), heard) if heard else None
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
            critic = DomainCritic(self.config.model.latent_dim, max(2, len(self.targets)))
        self.critic = critic.to(self.device)
        critic_rate = settings.critic_learning_rate
        critic_group = [(list(critic.parameters()), critic_rate)]
        self.critic_optimiser = Optimiser(critic_group, settings, steps, betas=(0.5, 0.99))

    def clips(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what the encoder reads and what each domain's decoder is to give, by target."""
        batch = self.loader.batch(step)
        seed = mix_seed(self.config.training.seed, step, 1)
        rows = self.config.training.rows
        index = list(range(rows * len(self.targets)))
        targets = self.augment.share(torch.cat([batch[d] for d in self.targets]), seed, index)
        inputs = targets
        if self.aligned:
            # Row i of each domain is one moment: encode it from any domain.
            drawn = [self.sources[mix_seed(seed, i, 2) % len(self.sources)] for i in index]
            chosen = [batch[domain][i % rows] for i, domain in enumerate(drawn)]
            inputs = self.augment.share(torch.stack(chosen), seed, index)
        inputs = self.augment.spoil(inputs, seed, index)
        split = zip(self.targets, inputs.split(rows), targets.split(rows), strict=True)
        pairs = {domain: (i, t) for domain, i, t in split}
        return {d: p[0] for d, p in pairs.items()}, {d: p[1] for d, p in pairs.items()}

    def noise(self, step: int) -> dict[str, Tensor]:
        """Return posterior noise, a function of (seed, step, global row)."""
        config = self.config
        frames = config.clip_samples // config.latent_hop
        rows = range(config.training.rows * len(self.targets))
        generator = torch.Generator()
        drawn = torch.empty(len(rows), config.model.latent_dim, frames)
        for row in rows:
            generator.manual_seed(mix_seed(config.training.seed, step, 3, row))
            drawn[row].normal_(generator=generator)
        parts = drawn.to(self.device).split(config.training.rows)
        return dict(zip(self.targets, parts, strict=True))

    def terms(
        self, output: Output, targets: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the terms of the objective, and the figures to log."""
        config, model = self.config, self.model
        nats, errors, spectral = [], [], []
        whole = self.logmel(torch.cat(list(targets.values())))
        for domain, wanted in zip(targets, whole.split(config.training.rows), strict=True):
            made = output.reconstruction[domain]
            if self.spectral is not None:
                compared = self.spectral(made, targets[domain])
                spectral.append(compared["stft"] + compared["convergence"])
                made = self.logmel(made)
            scale, kind = model.decoder(domain).scale, config.model.likelihood
            nats.append(negative_log_likelihood(wanted, made, scale, kind).mean())
            errors.append((wanted - made).detach().abs().mean())
        by_dimension = kl_by_dimension(list(output.posterior.values()))
        stride = config.model.latent_stride
        terms = {
            "reconstruction": torch.stack(nats).mean(),
            "kl": kl_term(by_dimension, config.objective.free_bits, stride),
        }
        if spectral:
            terms["stft"] = torch.stack(spectral).mean() * config.audio.n_mels
        with torch.no_grad():
            raw = terms["reconstruction"] + by_dimension.sum() / stride
        return terms, {"elbo": -float(raw), "mel_error": float(torch.stack(errors).mean())}

    def confusion(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the confusion term: what z still says of the domain."""
        if self.config.objective.confusion == "mmd":
            return mmd([part.transpose(1, 2).flatten(0, 1).float() for part in z.values()])
        logits = self.critic(torch.cat(list(z.values())))
        return confusion_bound(logits, self._labels(z))

    def _labels(self, z: Mapping[str, Tensor]) -> Tensor:
        parts = [torch.full((len(p), p.shape[2]), i) for i, p in enumerate(z.values())]
        return torch.cat(parts).to(self.device)

    def step(self, step: int) -> dict[str, float]:
        """Take one training step and return its figures."""
        config = self.config
        self.model.train()
        weights = weights_at(config.objective, step, self.steps, self.model.waveform)
        figures: dict[str, float] = {}
        losses = []
        for part in range(config.training.accumulate):
            position = step * config.training.accumulate + part
            inputs, targets = self.clips(position)
            with autocast(self.device, config.training.precision):
                output = self.model(inputs, self.noise(position))
                if config.objective.confusion == "adversarial":
                    figures["critic_accuracy"] = self._train_critic(step, output.z)
                terms, logged = self.terms(output, targets)
                if config.objective.confusion != "none":
                    terms["confusion"] = self.confusion(output.z)
            loss = total(terms, weights)
            losses.append(loss.detach())
            # Over the bands, so that one clipping norm serves any number of them.
            (loss / config.audio.n_mels / config.training.accumulate).backward()
            figures |= {k: float(v.detach()) for k, v in terms.items()} | logged
            figures["loss"] = float(loss.detach())
        self.critic.zero_grad(set_to_none=True)
        figures["norm"] = self.optimiser.apply(step, losses)
        figures["dropped_steps"] = self.optimiser.bad_steps
        self.average.update(step)
        return figures

    def _train_critic(self, step: int, z: Mapping[str, Tensor]) -> float:
        labels = self._labels(z)
        logits = self.critic(torch.cat([p.detach() for p in z.values()]))
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        self.critic_optimiser.apply(step, [loss])
        return float((logits.argmax(1) == labels).float().mean())

    def validate(self, step: int) -> dict[str, Any]:
        """Return figures of the averaged weights on held-out recordings.

        Where each domain is one recording there are none: the score then says that all is well.
        """
        if self.validation is None:
            return {"score": float(-step)}
        self.model.eval()
        self.average.swap()
        try:
            return self.validation.measure(self.logmel)
        finally:
            self.average.swap()

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        """Write the checkpoint folder with the averaged weights, and previews."""
        self.model.eval()
        self.average.swap()
        try:
            self.model.provenance = {**self.facts, "steps": step, "valid": metrics}
            self.model.save_pretrained(self.run / "checkpoint")
            if self.validation is not None:
                shown = self.validation
                folder = self.run / "previews"
                draw_previews(self.model, shown.loader, shown.targets, folder, self.vocoder)
        finally:
            self.average.swap()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.shadow,
            "optimiser": self.optimiser.state_dict(),
            "critic": self.critic.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        for shadow, saved in zip(self.average.shadow, state["average"], strict=True):
            shadow.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        self.critic.load_state_dict(state["critic"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])

    def describe(self, run: Path, **facts: Any) -> None:
        """Set where checkpoints go and what they say of their origin."""
        self.run, self.facts = run, facts
        vocoder = fitting_vocoder(self.config)
        self.vocoder = None if vocoder is None else vocoder.to(self.device)
