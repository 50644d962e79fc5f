"""What a training step sees: clips for the encoder, and who decodes them into what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiovae.audio.augment import Augment, mix_seed
from audiovae.config import Config, TrainingConfig
from audiovae.corpus.crops import Turns
from audiovae.corpus.kinds import AnyLoader
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.objective import ramp

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
    numbers: tuple[int, ...]
    """Of each row of `inputs`, the same wherever it is computed: what is drawn for it follows."""
    first: int = 0
    """Number of the first row of each domain among those of all processes."""
    number: int = 0
    """Of the batch, from 0 up since training began."""


@dataclass(frozen=True)
class Hearings:
    """Which domains an aligned batch needs: those that decode, and those that are heard."""

    turns: Turns
    sources: tuple[str, ...]
    rows: range
    """Numbers of the moments."""
    seed: int
    """Of the training."""

    def source(self, seed: int, row: int, number: int) -> str:
        """Return whom the domain of a number hears in a moment, given the seed of a batch."""
        turn = (number + mix_seed(seed, row)) % HEARINGS
        return self.sources[mix_seed(seed, row, turn) % len(self.sources)]

    def __call__(self, step: int) -> list[str]:
        """Return the domains of a batch."""
        seed = mix_seed(self.seed, step, 1)
        heard = {self.source(seed, row, turn) for row in self.rows for turn in range(HEARINGS)}
        return [*self.turns(step), *heard]


def own_chance(config: TrainingConfig, step: int, steps: int) -> float:
    """Chance that an aligned row is encoded from its own domain: from 1 down to `own_share`."""
    fallen = ramp(step, steps, config.own_ramp)
    return 1.0 - (1.0 - config.own_share) * fallen


class Feed:
    """Turns a loader's batches into clips; all draws are functions of (seed, step, row).

    Args:
        config: settings.
        loader: of the training split; whose turn it is in a step it has from here.
        targets: domains with a decoder to train.
        sources: domains the encoder hears, in aligned batches.
    """

    def __init__(
        self, config: Config, loader: AnyLoader, targets: Sequence[str], sources: Sequence[str]
    ) -> None:
        self.config, self.loader, settings = config, loader, config.training
        self.sources = list(sources)
        self.augment = Augment(config.augment, config.audio.sample_rate)
        self.rows = range(loader.row_offset, loader.row_offset + settings.rows)
        self.turns = Turns(tuple(targets), settings.domains_a_step, settings.seed)
        self.hearings = Hearings(self.turns, tuple(sources), self.rows, settings.seed)
        self.aligned = settings.pairing == "aligned"
        loader.turns = self.hearings if self.aligned else self.turns

    def clips(self, step: int, own: float = 0.0) -> Clips:
        """Return the clips of a step; `own` is for aligned batches, see `_aligned`."""
        batch, targets = self.loader.batch(step), self.turns(step)
        seed = mix_seed(self.config.training.seed, step, 1)
        made = (
            self._aligned(batch, targets, seed, own)
            if self.aligned
            else self._unpaired(batch, targets, seed)
        )
        return replace(made, first=self.rows.start, number=step)

    def read(self, model: AudioVAE, clips: Clips) -> Tensor:
        """Return what the encoder reads of clips, `(row, n_features, frame)`.

        Log-mel frames get the envelopes that the augmentation draws.
        """
        audio = self.config.audio
        if self.config.augment.envelope_probability == 0:
            return model.read(clips.inputs)
        floor = math.log(audio.log_floor)
        heights = model.features(clips.inputs) - floor
        shaped = self.augment.reshape(heights, clips.seed, audio.frame_rate, clips.numbers)
        return model.normalised(shaped + floor)

    def _unpaired(self, batch: dict[str, Tensor], targets: list[str], seed: int) -> Clips:
        """Each domain decodes its own clips."""
        sizes = [len(batch[d]) for d in targets]
        stride = self.loader.rows * self.loader.processes
        rows = [place * stride + row for place in range(len(targets)) for row in self.rows]
        audio = self.augment.share(torch.cat([batch[d] for d in targets]), seed, rows)
        inputs = self.augment.spoil(audio, seed, rows)
        index = torch.arange(len(inputs), device=audio.device).split(sizes)
        played = torch.tensor([self.sources.index(d) for d in targets])
        return Clips(
            inputs,
            played.repeat_interleave(torch.tensor(sizes)).to(audio.device),
            dict(zip(targets, index, strict=True)),
            dict(zip(targets, audio.split(sizes), strict=True)),
            self._noise(seed, rows),
            torch.arange(len(inputs), device=audio.device),
            seed,
            tuple(rows),
        )

    def _aligned(
        self, batch: dict[str, Tensor], targets: list[str], seed: int, own: float
    ) -> Clips:
        """Every domain decodes every moment: from its own render, or from a hearing of others.

        Args:
            batch: domain to clips; row i is one moment in all of them.
            targets: domains that decode.
            seed: of the step.
            own: chance that a domain decodes its own render. It is easier, so training begins
                there: what is played is learned in a tenth of the steps.
        """
        heard: dict[tuple[int, str], int] = {}
        rows, wanted = {}, {}
        for number, domain in enumerate(targets):
            chosen = []
            for i in self.rows:
                source = self.hearings.source(seed, i, number)
                if mix_seed(seed, i, number, 5) < own * 2**63:
                    source = domain
                chosen.append(heard.setdefault((i, source), len(heard)))
            rows[domain] = torch.tensor(chosen, device=self.loader.device)
            # One index a moment: source and target keep the same gain, sign and tuning.
            wanted[domain] = self.augment.share(batch[domain], seed, self.rows)
        sources = [self.sources.index(source) for _, source in heard]
        moments = [i for i, _ in heard]
        numbers = [len(self.sources) * i + n for i, n in zip(moments, sources, strict=True)]
        audio = torch.stack([batch[source][i - self.rows.start] for i, source in heard])
        inputs = self.augment.share(audio, seed, moments)
        return Clips(
            self.augment.spoil(inputs, seed, numbers),
            torch.tensor(sources, device=self.loader.device),
            rows,
            wanted,
            self._noise(seed, numbers),
            torch.tensor(moments, device=self.loader.device) - self.rows.start,
            seed,
            tuple(numbers),
        )

    def _noise(self, seed: int, rows: Sequence[int]) -> Tensor:
        frames = self.config.clip_samples // self.config.latent_hop
        generator = torch.Generator()
        drawn = torch.empty(len(rows), self.config.model.latent_dim, frames)
        for noise, row in zip(drawn, rows, strict=True):
            noise.normal_(generator=generator.manual_seed(mix_seed(seed, row, 3)))
        return drawn.to(self.loader.device)
