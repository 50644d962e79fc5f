"""Train the vocoder on a corpus: its own loss, then a small discriminator where asked for."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiovae.audio.features import LogMel
from audiovae.config import Config
from audiovae.corpus.kinds import Corpus, open_corpus
from audiovae.errors import ConfigError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.critics import (
    SpectrogramDiscriminator,
    discriminator_loss,
    generator_loss,
    matching_loss,
)
from audiovae.model.eight_bits import hearing
from audiovae.model.precision import autocast
from audiovae.model.vocoder import LinkedVocoder
from audiovae.model.vocoders import make_vocoder
from audiovae.model.weights import load_model
from audiovae.training.checkpoint import holding_run
from audiovae.training.loop import Budget, run_task
from audiovae.training.objective import SpectralLoss, total
from audiovae.training.optimise import Average, Optimiser, pick_device
from audiovae.training.start import (
    checkpoint_folder,
    history,
    load_vocoder,
    machine,
    measure,
)
from audiovae.training.vocoder_feed import VocoderFeed
from audiovae.training.vocoder_losses import LinkLoss

ADVERSARIAL_WEIGHTS = {"adversarial": 0.05, "matching": 0.1}
VALIDATION_STEPS = 3


class VocoderTask:
    """A vocoder, trained on single clips of all domains in turn; see `VocoderFeed`."""

    kind = "vocoder"

    def __init__(
        self,
        vocoder: LinkedVocoder,
        store: Corpus,
        config: Config,
        model: AudioVAE | None = None,
    ) -> None:
        settings = config.training
        self.vocoder, self.config, self.store = vocoder, config, store
        self.device = next(vocoder.parameters()).device
        self.logmel = LogMel(config.audio).to(self.device)
        self.loss = LinkLoss(config.audio).to(self.device)
        self.distance = SpectralLoss(config.audio).to(self.device)
        self.feeds = {
            split: VocoderFeed(store, config, split, self.logmel, model)
            for split in ("train", "valid")
        }
        self.audio_a_step = settings.rows * config.clip_samples / config.audio.sample_rate
        self.start = copy.deepcopy(vocoder.state_dict())
        self.statistics = measure(store, config, store.domains)

    def describe(self, run: Path, **facts: Any) -> None:
        """Set where checkpoints go and what they say of their origin."""
        self.run, self.facts = run, facts

    def close(self) -> None:
        """Let go of the files and threads that clips are read by."""
        for feed in self.feeds.values():
            feed.loader.close()

    def begin(self, steps: int) -> None:
        """Put weights back to their start and build optimisers for `steps`."""
        settings = self.config.training
        self.steps = steps
        self.vocoder.load_state_dict(self.start)
        groups = [(list(self.vocoder.parameters()), settings.learning_rate)]
        self.optimiser = Optimiser(groups, settings, steps)
        self.average = Average(self.vocoder.parameters(), settings.ema)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.critic = SpectrogramDiscriminator().to(self.device)
        critic_groups = [(list(self.critic.parameters()), settings.critic_learning_rate)]
        self.critic_optimiser = Optimiser(critic_groups, settings, steps, betas=(0.5, 0.9))

    def step(self, step: int) -> dict[str, float]:
        """Take one training step and return its figures."""
        settings = self.config.training
        self.vocoder.train()
        logmel, audio = self.feeds["train"].clips(step, augmented=True)
        judged = step >= self.steps * (1 - settings.adversarial_share)
        with autocast(self.device, settings.precision):
            terms, made = self.loss(self.vocoder, logmel, audio, heard=judged)
        weights = dict(self.loss.weights)
        if judged:
            terms |= self._judge(step, made, audio)
            weights |= ADVERSARIAL_WEIGHTS
        loss = total(terms, weights)
        loss.backward()
        self.critic.zero_grad(set_to_none=True)
        norm = self.optimiser.apply(step, [loss.detach()])
        self.average.update(step)
        figures = {k: float(v.detach()) for k, v in terms.items()}
        return figures | {
            "loss": float(loss.detach()),
            "norm": norm,
            "dropped_steps": self.optimiser.bad_steps,
        }

    def _judge(self, step: int, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Train the discriminator on a step's sounds, and return the generator's terms."""
        true, _ = self.critic(audio)
        fake, _ = self.critic(made.detach())
        loss = discriminator_loss(true, fake)
        loss.backward()
        self.critic_optimiser.apply(step, [loss.detach()])
        with torch.no_grad():
            _, wanted = self.critic(audio)
        fake, hidden = self.critic(made)
        return {"adversarial": generator_loss(fake), "matching": matching_loss(wanted, hidden)}

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, Any]:
        """Return loss and spectral distances on held-out clips, with the averaged weights."""
        self.vocoder.eval()
        self.average.swap()
        try:
            sums: dict[str, float] = {}
            for i in range(VALIDATION_STEPS):
                logmel, audio = self.feeds["valid"].clips(i, augmented=False)
                terms, made = self.loss(self.vocoder, logmel, audio, heard=True)
                for name, value in {**self.distance(made, audio), **terms}.items():
                    sums[name] = sums.get(name, 0.0) + float(value) / VALIDATION_STEPS
        finally:
            self.average.swap()
        return sums | {"score": sum(w * sums[k] for k, w in self.loss.weights.items())}

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        """Write a checkpoint folder of no domains that holds the averaged vocoder."""
        self.average.swap()
        try:
            logmel, _ = self.feeds["train"].clips(0, augmented=False)
            with hearing(self.vocoder), torch.no_grad():
                self.vocoder(logmel)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.config.training.seed)
                holder = AudioVAE(self.config, [], self.statistics)
            holder.vocoder = self.vocoder
            holder.provenance = {**self.facts, "steps": step, "valid": metrics}
            holder.save_pretrained(self.run / "checkpoint")
        finally:
            self.average.swap()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "vocoder": self.vocoder.state_dict(),
            "average": self.average.shadow,
            "optimiser": self.optimiser.state_dict(),
            "critic": self.critic.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.vocoder.load_state_dict(state["vocoder"])
        for shadow, saved in zip(self.average.shadow, state["average"], strict=True):
            shadow.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        self.critic.load_state_dict(state["critic"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])


def heard_model(folder: Path, config: Config) -> AudioVAE:
    """Load a model whose frames a vocoder is to hear. Raises `ConfigError` on other features."""
    model = load_model(folder)
    if model.config.audio != config.audio:
        raise ConfigError(f"{folder} has other audio settings than the vocoder: use its own")
    return model.requires_grad_(False)


def train_vocoder(
    store: str | Path,
    run: str | Path,
    config: Config,
    *,
    minutes: float | None = None,
    audio_hours: float | None = None,
    steps: int | None = None,
    init: str | Path | None = None,
    model: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    track: str = "auto",
) -> dict[str, Any]:
    """Train a vocoder on all domains of a store; repeat the call to resume.

    `training.rows` is the number of clips in a step here. `init` is a checkpoint or run with a
    vocoder to go on from, `model` one whose decoders it is to play: half of the clips are then
    heard as they decode them, from another domain's render with `training.pairing: aligned`. The
    audio settings of both must be the config's. For the other arguments and the return value see
    `audiovae.train`.
    """
    if config.speaks:
        kind = "WaveNet" if config.model.decoder == "wavenet" else "waveform"
        raise ConfigError(f"{kind} decoders give sound themselves: they need no vocoder")
    budget = Budget(minutes, audio_hours, steps)
    place, run = pick_device(device), Path(run)
    with holding_run(run, "train-vocoder"):
        corpus = open_corpus(store, config.audio.sample_rate)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            vocoder = make_vocoder(config)
        if init is not None:
            vocoder = load_vocoder(checkpoint_folder(init), config)
            config = dataclasses.replace(config, vocoder=vocoder.config.vocoder)
        heard = None if model is None else heard_model(checkpoint_folder(model), config).to(place)
        task = VocoderTask(vocoder.to(place), corpus, config, heard)
        task.describe(
            run,
            recipe="train-vocoder",
            seed=config.training.seed,
            machine=machine(place),
            data=corpus.fingerprint,
            hours={d: round(corpus.hours(d), 2) for d in corpus.domains},
            **history(init),
        )
        with contextlib.closing(task):
            return run_task(
                task,
                run,
                config,
                budget=budget,
                fingerprint=corpus.fingerprint,
                domains=corpus.domains,
                device=place,
                progress=progress,
                track=track,
            )
