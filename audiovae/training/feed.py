"""What a training step sees: clips for the encoder, and who decodes them into what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiovae.audio.augment import Augment, mix_seed
from audiovae.config import Config
from audiovae.corpus.loader import Loader
from audiovae.model.autoencoder import AudioVAE

HEARINGS = 2
"""Domains that each moment of an aligned batch is encoded from."""


@dataclass(frozen=True)
class Clips:
    """A batch of clips.

    `inputs (row, sample)` are what the encoder reads and `sources (row,)` the numbers of their
    domains; `rows[domain]` are the rows of the latent that a domain decodes, and
    `targets[domain]` the sounds they are to become.
    """

    inputs: Tensor
    sources: Tensor
    rows: dict[str, Tensor]
    targets: dict[str, Tensor]
    noise: Tensor
    """Of the posterior, shaped like z."""
    moments: Tensor
    """`(row,)`: inputs of one number are one moment of one score."""
    seed: int
    """Of the batch, for what else is drawn."""
    number: int = 0
    """Of the batch, from 0 up since training began."""


class Feed:
    """Turns a loader's batches into clips; all draws are functions of (seed, step, row).

    Args:
        config: settings.
        loader: of the training split.
        targets: domains with a decoder to train.
        sources: domains the encoder hears, in aligned batches.
    """

    def __init__(
        self, config: Config, loader: Loader, targets: Sequence[str], sources: Sequence[str]
    ) -> None:
        self.config, self.loader = config, loader
        self.targets, self.sources = list(targets), list(sources)
        self.augment = Augment(config.augment, config.audio.sample_rate)

    def clips(self, step: int, own: float = 0.0) -> Clips:
        """Return the clips of a step; `own` is for aligned batches, see `_aligned`."""
        batch = self.loader.batch(step)
        seed = mix_seed(self.config.training.seed, step, 1)
        if self.config.training.pairing == "aligned":
            return replace(self._aligned(batch, seed, own), number=step)
        return replace(self._unpaired(batch, seed), number=step)

    def read(self, model: AudioVAE, clips: Clips) -> Tensor:
        """Return what the encoder reads of clips, `(row, n_features, frame)`.

        Log-mel frames get the envelopes that the augmentation draws.
        """
        audio = self.config.audio
        if self.config.augment.envelope_probability == 0:
            return model.read(clips.inputs)
        floor = math.log(audio.log_floor)
        heights = model.features(clips.inputs) - floor
        shaped = self.augment.reshape(heights, clips.seed, audio.frame_rate)
        return model.normalised(shaped + floor)

    def _unpaired(self, batch: dict[str, Tensor], seed: int) -> Clips:
        """Each domain decodes its own clips."""
        sizes = [len(batch[d]) for d in self.targets]
        audio = self.augment.share(torch.cat([batch[d] for d in self.targets]), seed)
        inputs = self.augment.spoil(audio, seed)
        index = torch.arange(len(inputs), device=audio.device).split(sizes)
        numbers = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        return Clips(
            inputs,
            numbers.to(audio.device),
            dict(zip(self.targets, index, strict=True)),
            dict(zip(self.targets, audio.split(sizes), strict=True)),
            self._noise(seed, len(inputs)),
            torch.arange(len(inputs), device=audio.device),
            seed,
        )

    def _aligned(self, batch: dict[str, Tensor], seed: int, own: float) -> Clips:
        """Every domain decodes every moment: from its own render, or from a hearing of others.

        Args:
            batch: domain to clips; row i is one moment in all of them.
            seed: of the step.
            own: chance that a domain decodes its own render. It is easier, so training begins
                there: what is played is learned in a tenth of the steps.
        """
        heard: dict[tuple[int, str], int] = {}
        rows, targets = {}, {}
        moments = range(len(batch[self.targets[0]]))
        for number, domain in enumerate(self.targets):
            chosen = []
            for i in moments:
                turn = (number + mix_seed(seed, i)) % HEARINGS
                source = self.sources[mix_seed(seed, i, turn) % len(self.sources)]
                if mix_seed(seed, i, number, 5) < own * 2**63:
                    source = domain
                chosen.append(heard.setdefault((i, source), len(heard)))
            rows[domain] = torch.tensor(chosen, device=self.loader.device)
            # One index a moment: source and target keep the same gain, sign and tuning.
            targets[domain] = self.augment.share(batch[domain], seed, moments)
        audio = torch.stack([batch[source][i] for i, source in heard])
        inputs = self.augment.share(audio, seed, [i for i, _ in heard])
        inputs = self.augment.spoil(inputs, seed)
        sources = torch.tensor([self.sources.index(source) for _, source in heard])
        sources = sources.to(self.loader.device)
        played = torch.tensor([i for i, _ in heard], device=self.loader.device)
        return Clips(inputs, sources, rows, targets, self._noise(seed, len(inputs)), played, seed)

    def _noise(self, seed: int, rows: int) -> Tensor:
        frames = self.config.clip_samples // self.config.latent_hop
        generator = torch.Generator()
        drawn = torch.empty(rows, self.config.model.latent_dim, frames)
        for row in range(rows):
            generator.manual_seed(mix_seed(seed, row, 3))
            drawn[row].normal_(generator=generator)
        return drawn.to(self.loader.device)
