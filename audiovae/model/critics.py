"""Networks that exist only to train others: a domain critic on z, a discriminator on sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import magnitudes


class DomainCritic(nn.Module):
    """Guess the domain of each latent frame from it and its neighbours."""

    def __init__(self, latent_dim: int, domains: int, width: int = 192) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(latent_dim, width, 5, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, width, 5, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, domains, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map `(batch, latent, frame)` to logits `(batch, domain, frame)`."""
        return self.net(z)


class LatentCritic(nn.Module):
    """Tell frames of the posterior from frames of the prior: Makhzani et al. (2015)."""

    def __init__(self, latent_dim: int, width: int = 256) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map `(frame, latent)` to log odds of the prior, `(frame,)`."""
        return self.net(frames)[:, 0]


def mmd(groups: Sequence[Tensor], most: int = 256) -> Tensor:
    """Mean squared maximum mean discrepancy between each group of samples and all others.

    Inverse multiquadratic kernels of several widths (Gretton et al., 2012; Tolstikhin et al.,
    "Wasserstein Auto-Encoders", 2018).

    Args:
        groups: tensors `(sample, dimension)`; those with fewer than two samples are left out.
        most: samples of a group that are used.
    """
    parts = [g[:: max(1, len(g) // most)][:most] for g in groups if len(g) > 1]
    if len(parts) < 2:
        return groups[0].sum() * 0.0
    dim = parts[0].shape[1]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = torch.cdist(a, b).square()
        widths = (0.5 * dim, 2.0 * dim, 8.0 * dim)
        return torch.stack([w / (w + distance) for w in widths]).mean(0)

    def within(a: Tensor) -> Tensor:
        gram = kernel(a, a)
        return (gram.sum() - gram.diagonal().sum()) / (len(a) * (len(a) - 1))

    values = []
    for i, part in enumerate(parts):
        rest = torch.cat(parts[:i] + parts[i + 1 :])
        values.append(within(part) + within(rest) - 2 * kernel(part, rest).mean())
    return torch.stack(values).mean()


class SpectrogramDiscriminator(nn.Module):
    """Tell true from made spectrograms at several resolutions, patch by patch.

    A small form of the multi-resolution discriminator of Jang et al., "UnivNet" (2021).
    """

    def __init__(self, windows: Sequence[int] = (512, 1024, 2048), width: int = 16) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.nets = nn.ModuleList(self._net(width) for _ in self.windows)
        for n_fft in self.windows:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    @staticmethod
    def _net(width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(4):
            inputs = 1 if i == 0 else width
            layers.append(nn.Conv2d(inputs, width, (5, 3), stride=(3, 1), padding=(2, 1)))
            layers.append(nn.LeakyReLU(0.2))
        return nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map `(batch, sample)` to a score map and the hidden maps of each resolution."""
        scores, hidden = [], []
        for n_fft, net in zip(self.windows, self.nets, strict=True):
            bins = magnitudes(audio, getattr(self, f"window_{n_fft}"), n_fft // 4)
            x = (bins.clamp_min(1e-5).log() / 4.0 + 1.5)[:, None]
            for layer in net:  # type: ignore[attr-defined]
                x = layer(x)
                if isinstance(layer, nn.LeakyReLU):
                    hidden.append(x)
            scores.append(x)
        return scores, hidden


def discriminator_loss(true: list[Tensor], made: list[Tensor]) -> Tensor:
    """Hinge loss of a discriminator, averaged over its score maps."""
    pairs = zip(true, made, strict=True)
    return torch.stack([F.relu(1 - t).mean() + F.relu(1 + m).mean() for t, m in pairs]).mean()


def generator_loss(made: list[Tensor]) -> Tensor:
    """Hinge loss of what a discriminator judges, averaged over its score maps."""
    return torch.stack([-m.mean() for m in made]).mean()


def matching_loss(true: list[Tensor], made: list[Tensor]) -> Tensor:
    """Mean absolute difference of hidden maps, each relative to the true one's mean size."""
    pairs = zip(true, made, strict=True)
    return torch.stack(
        [(m - t).abs().mean() / t.abs().mean().clamp_min(1e-4) for t, m in pairs]
    ).mean()
