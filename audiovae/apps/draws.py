"""What is drawn in use: the posterior's noise and paths of the prior, functions of their frames."""

from __future__ import annotations

import torch
from torch import Tensor

from audiovae.audio.augment import mix_seed
from audiovae.model.sequence import SequencePrior
from audiovae.model.sequence_sampler import SequenceSampler

NOISE_FRAMES = 512
"""Latent frames that one seed draws."""


def latent_noise(seed: int, row: int, dimensions: int, start: int, frames: int) -> Tensor:
    """Return standard normal noise `(dimensions, frames)` from latent frame `start` on.

    A function of the seed, the row and the absolute frame: how a stream is cut changes nothing.
    """
    generator = torch.Generator()
    first, last = start // NOISE_FRAMES, (start + max(frames, 1) - 1) // NOISE_FRAMES
    drawn = []
    for number in range(first, last + 1):
        generator.manual_seed(mix_seed(seed, row, number))
        drawn.append(torch.randn(dimensions, NOISE_FRAMES, generator=generator))
    offset = start - first * NOISE_FRAMES
    return torch.cat(drawn, dim=1)[:, offset : offset + frames]


def prior_path(seed: int, dimensions: int, start: int, frames: int, smooth: float) -> Tensor:
    """Return frames of the prior of unit variance `(dimensions, frames)`, smoothed along time."""
    radius = round(3 * smooth)
    noise = latent_noise(seed, 0, dimensions, start, frames + 2 * radius)
    if radius == 0:
        return noise
    window = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / smooth).square())
    window = window / window.square().sum().sqrt()
    return torch.nn.functional.conv1d(noise[:, None], window[None, None])[:, 0]


class SequencePath:
    """A path of the prior over time: frame after frame, each given those before it.

    Args:
        prior: to draw from.
        seed: of the draw.
        temperature: see `SequenceSampler`.
        device: of what is given.
    """

    def __init__(
        self, prior: SequencePrior, seed: int, temperature: float, device: torch.device
    ) -> None:
        self.prior, self.seed, self.device = prior, seed, device
        self.sampler = SequenceSampler(prior, temperature)
        self.first = 0
        self.levels = torch.zeros(0, prior.shape.latent_dim, dtype=torch.uint8)
        """Of the frames from `first` on."""

    def __call__(self, start: int, frames: int) -> Tensor:
        """Return z `(1, latent, frame)` of frames from `start` on; no start before the last one."""
        ready = self.first + len(self.levels)
        if start + frames > ready:
            size = self.prior.shape.latent_dim
            noise = latent_noise(self.seed, 0, size, ready, start + frames - ready)
            drawn = self.sampler.draw(torch.special.ndtr(noise.double()).T)
            self.levels = torch.cat([self.levels, drawn])
        self.levels, self.first = self.levels[start - self.first :], start
        return self.prior.shape.to_z(self.levels[:frames]).T[None].to(self.device)
