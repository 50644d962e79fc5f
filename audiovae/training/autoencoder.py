"""What a step of training encoder and decoders is."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiovae.corpus.kinds import AnyLoader, Corpus, make_loader
from audiovae.model.autoencoder import AudioVAE, Output
from audiovae.model.precision import autocast
from audiovae.training.confusion import Confusion
from audiovae.training.feed import Clips, Feed, own_chance
from audiovae.training.likelihood import make_likelihood
from audiovae.training.matching import Matching
from audiovae.training.objective import disagreement, ramp, total, weights_at
from audiovae.training.optimise import Average, Optimiser, rates
from audiovae.training.previews import PREVIEWS, draw_previews
from audiovae.training.ranks import rank, ranks, same_start
from audiovae.training.start import fitting_vocoder, hear_clips
from audiovae.training.translate import translated
from audiovae.training.validate import Validation
from audiovae.training.vocoder_losses import VoiceLoss

if TYPE_CHECKING:
    from audiovae.training.sharding import Shards


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
        store: Corpus,
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
        heard = [d for d in self.targets if store.hours(d, "valid")]
        self.validation = None
        if heard:
            valid = self._loader("valid", heard)
            self.validation = Validation(model, self.likelihood, valid, heard)
        turns = min(settings.domains_a_step or len(self.targets), len(self.targets))
        self.audio_a_step = ranks() * settings.accumulate * turns * settings.rows * self.clip
        if frozen:
            model.encoder.requires_grad_(False)
        self.shards: Shards | None = None
        self.remember()

    def shard(self) -> None:
        """Share the model's blocks out to the processes there are: see `sharding`."""
        from audiovae.training.sharding import Shards

        self.shards = Shards(self.model)
        self.remember()

    def remember(self) -> None:
        """Take the weights at hand for the start of training."""
        self.start = copy.deepcopy(self.model.state_dict())

    @property
    def clip(self) -> float:
        """Seconds in a clip."""
        return self.config.clip_samples / self.config.audio.sample_rate

    def _loader(self, split: str, domains: list[str]) -> AnyLoader:
        settings = self.config.training
        if self.aligned:
            domains = sorted({*domains, *self.sources})
        # All processes hear the same held-out clips.
        shared = split == "train"
        return make_loader(
            self.store,
            domains=domains,
            split=split,
            rows=settings.rows,
            clip_samples=self.config.clip_samples,
            seed=settings.seed,
            pairing=settings.pairing,
            reader=settings.reader,
            device=self.device,
            rank=rank() if shared else 0,
            world=ranks() if shared else 1,
            streams=settings.streams if shared else 1,
            shuffle=settings.shuffle,
        )

    def close(self) -> None:
        """Let go of the files and threads that clips are read by; a batch takes them anew."""
        self.loader.close()
        if self.validation is not None:
            self.validation.loader.close()

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return what trains, with peak learning rates: scales of the likelihood have their own."""
        return rates(self.model, self.config.training)

    def begin(self, steps: int) -> None:
        """Put weights back to their start and build optimisers for `steps`."""
        settings, model = self.config.training, self.model
        model.load_state_dict(self.start)
        self.steps = steps
        self.optimiser = Optimiser(self.groups(), settings, steps)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.average = Average(trained, settings.ema)
        self.confusion = Confusion(model, self.config, len(self.sources), steps)
        self.matching = Matching(model, self.config, steps)

    def terms(
        self, output: Output, clips: Clips, step: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the terms of the objective, and the figures to log."""
        targets, seed, first = clips.targets, clips.seed, clips.first
        config, model, likelihood = self.config, self.model, self.likelihood
        nats, errors = [], []
        whole = likelihood.target(torch.cat(list(targets.values())))
        sizes = [len(audio) for audio in targets.values()]
        for domain, wanted in zip(targets, whole.split(sizes), strict=True):
            made = output.reconstruction[domain]
            surprise, error = likelihood.score(model, domain, made, wanted, seed, first)
            nats.append(surprise)
            errors.append(error)
        terms = {"reconstruction": torch.stack(nats).mean()}
        terms[config.objective.match], told = self.matching.term(output, clips.numbers, step)
        if self.voices is not None:
            links = self.voices(model, output.hidden, targets, seed)
            terms["links"] = links * config.audio.n_mels
        with torch.no_grad():
            raw = terms["reconstruction"] + self.matching.divergence(output)
        told |= {"elbo": -float(raw), likelihood.error: float(torch.stack(errors).mean())}
        return terms, told

    def heard(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Return what the encoder reads, and the domains' numbers that it sounds like."""
        settings, features = self.config.training, self.feed.read(self.model, clips)
        risen = ramp(self.step_of(clips.number), self.steps, settings.translated_ramp)
        share = settings.translated_share * risen
        if share == 0 or len(self.players) < 2:
            return features, clips.sources
        return translated(self.model, features, clips, share, self.players)

    def step_of(self, number: int) -> int:
        """Return the step that a batch belongs to: with `accumulate` a step has several."""
        return number // self.config.training.accumulate

    def batch(self, number: int) -> Clips:
        """Return the batch of a number from 0 up, on the model's device.

        It follows from the number and the seed alone, so a loop that is resumed needs to know no
        more than how far it was. Step `s` has the batches `accumulate * s` and up.
        """
        chance = own_chance(self.config.training, self.step_of(number), self.steps)
        return self.feed.clips(number, chance)

    def training_step(self, clips: Clips) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of a batch, and what is logged of it; the optimiser is the caller's.

        `begin` comes first: weights, learning rates and shares follow a schedule whose length it
        sets. Gradients are the model's alone. What it is trained against (the critic of domains,
        the discriminator of `match: adversarial`) learns in here, by optimisers of its own.

        Args:
            clips: a batch as `batch` returns it.

        Returns:
            The loss to differentiate, a scalar in nats for each number of a frame, so that one
            clipping norm serves any of them; and figures by name: `loss`, in nats a frame, the
            terms that it is the weighted sum of, the raw `elbo`, an error in the likelihood's
            own unit, and how often critics are right.
        """
        config, step = self.config, self.step_of(clips.number)
        heat = 0.0 if config.training.settle else 1.0
        if not self.model.training:  # It tells every module, of all domains.
            self.model.train()
        weights = weights_at(config.objective, step, self.steps, config.voiced)
        with autocast(self.device, config.training.precision):
            features, sources = self.heard(clips)
            output = self.model.reconstruct(features, clips.rows, clips.noise, temperature=heat)
            figures = self.confusion.train(output, sources, step)
            terms, logged = self.terms(output, clips, clips.number)
            if config.objective.confusion != "none":
                terms["confusion"] = self.confusion.term(output, sources, clips.numbers)
            if config.objective.agreement_weight:
                told = disagreement(output.posterior, clips.moments)
                terms["agreement"] = told / config.model.latent_stride
        loss = total(terms, weights)
        figures |= {name: float(term.detach()) for name, term in terms.items()} | logged
        figures["loss"] = float(loss.detach())
        return loss / self.likelihood.numbers, figures

    def step(self, step: int) -> dict[str, float]:
        """Take one training step and return its figures."""
        parts = self.config.training.accumulate
        figures: dict[str, float] = {}
        losses = []
        for part in range(parts):
            if self.shards is not None:
                self.shards.reduce(self.model, part == parts - 1)
            loss, told = self.training_step(self.batch(step * parts + part))
            (loss / parts).backward()
            losses.append(loss.detach())
            figures |= told
        figures["norm"] = self.optimiser.apply(step, losses)
        figures["dropped_steps"] = self.optimiser.bad_steps
        self.average.update(step, self.optimiser.moved)
        return figures

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averaged weights, as they are used: nothing trains meanwhile."""
        self.model.eval()
        self.average.swap()
        try:
            batch = self.loader.batch(0, self.targets)
            clips = torch.cat([batch[d] for d in self.targets])
            hear_clips(self.model, clips, self.targets, frozen=self.frozen)
            same_start(self.model)
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
            model = self.model if self.shards is None else self.shards.gathered(self.model)
            if rank() > 0 or model is None:
                return
            model.provenance = {**self.facts, "steps": step, "valid": metrics}
            model.save_pretrained(self.run / "checkpoint")
            if self.validation is not None:
                shown = self.validation
                folder = self.run / PREVIEWS
                draw_previews(model, shown.loader, shown.targets, folder, self.vocoder)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state(),
            "optimiser": self.optimiser.state_dict(),
            "critic": self.confusion.critic.state_dict(),
            "critic_optimiser": self.confusion.optimiser.state_dict(),
            "matching": self.matching.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.confusion.critic.load_state_dict(state["critic"])
        self.confusion.optimiser.load_state_dict(state["critic_optimiser"])
        self.matching.load_state_dict(state["matching"])

    def describe(self, run: Path, **facts: Any) -> None:
        """Set where checkpoints go and what they say of their origin."""
        self.run, self.facts = run, facts
        vocoder = fitting_vocoder(self.config)
        self.vocoder = None if vocoder is None else vocoder.to(self.device)
