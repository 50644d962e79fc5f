"""The timbre classifier's network: what it hears, its layers, and its training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.mel import mel_triangles

FORMAT = 1
"""Raised when the network or its training changes in what no other constant here tells."""
RATE = 16_000
N_FFT, HOP, BANDS = 1024, 256, 64
F_MIN = 40.0
RANGE_DB = 80.0
"""Nothing is heard further below the loudest band of a clip."""
WINDOW = 64
"""Frames of a window (1.02 s)."""
WIDTHS = (16, 32, 64, 64)
EMBEDDING = 64
DROPOUT = 0.2

STEPS, BATCH = 600, 64
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
GAIN_DB = 8.0
EQ_DB, EQ_KNOTS = 5.0, 6
"""Standard deviation of a random gain at so many points along the bands."""
NOISE_DB = (-90.0, -45.0)
"""Level in each band of an added noise floor."""
LOUD_DB = 30.0
"""Windows further below a file's loudest do not train."""
NEPER_DB = 10.0 / math.log(10.0)
"""Decibels in a factor e of power."""


def decibels(clips: Tensor) -> Tensor:
    """Map `clips (batch, sample)` at 16 kHz, unit RMS, to `(batch, BANDS, frame)` in decibels."""
    window = torch.hann_window(N_FFT)
    spectra = torch.stft(
        clips, N_FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = (spectra.abs() / window.sum()).square()
    filters = mel_triangles(RATE, N_FFT, BANDS, F_MIN)
    shown = 10.0 * (filters @ power).clamp_min(1e-12).log10()
    return torch.maximum(shown, shown.amax((1, 2), keepdim=True) - RANGE_DB)


class TimbreNet(nn.Module):
    """Windows `(n, BANDS, WINDOW)` in decibels to features and scores."""

    def __init__(self, domains: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.neck = nn.Linear(2 * WIDTHS[-1] * (BANDS >> len(WIDTHS)), EMBEDDING)
        self.head = nn.Linear(EMBEDDING, domains)

    def features(self, windows: Tensor) -> Tensor:
        """Return `(n, EMBEDDING)`, each row of mean 0 and variance 1."""
        x = self.body((windows[:, None] + 40.0) / 20.0)
        pooled = torch.cat([x.mean(3), x.amax(3)], 1).flatten(1)
        return F.layer_norm(self.neck(pooled), (EMBEDDING,))

    def forward(self, windows: Tensor) -> Tensor:
        """Return scores `(n, domain)`."""
        return self.head(F.dropout(self.features(windows), DROPOUT, self.training))


def settings() -> list[Any]:
    """Return all that a trained network depends on beside its files, as JSON values."""
    hearing = [RATE, N_FFT, HOP, BANDS, F_MIN, RANGE_DB, WINDOW]
    training = [STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY, LOUD_DB]
    changes = [GAIN_DB, EQ_DB, EQ_KNOTS, *NOISE_DB]
    return [FORMAT, *hearing, *WIDTHS, EMBEDDING, DROPOUT, *training, *changes]


@torch.inference_mode(False)  # switches gradients on, whatever the caller switched off
def fit(sounds: Sequence[Sequence[Tensor]], seed: int) -> TimbreNet:
    """Train a network on spectrograms `(BANDS, frame)`, a sequence of them for each domain.

    Each step draws domains evenly, and from one a window by its share of the sound.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        places = [_places(group) for group in sounds]
        net = TimbreNet(len(sounds)).train()
        adam = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        rate = torch.optim.lr_scheduler.OneCycleLR(adam, LEARNING_RATE, total_steps=STEPS)
        for _ in range(STEPS):
            labels = torch.randint(len(sounds), (BATCH,))
            rows = []
            for label in labels.tolist():
                chosen = places[label][int(torch.randint(len(places[label]), ()))]
                rows.append(sounds[label][chosen[0]][:, chosen[1] : chosen[1] + WINDOW])
            loss = F.cross_entropy(net(augment(torch.stack(rows))), labels)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            rate.step()
    return net


def augment(windows: Tensor) -> Tensor:
    """Return `windows (n, BANDS, frame)` at another level, with some EQ and a noise floor.

    Without, a network may know an instrument by its loudness, or by one resonance.
    """
    n = len(windows)
    gain = (2 * torch.rand(n, 1, 1) - 1) * GAIN_DB
    knots = EQ_DB * torch.randn(n, 1, EQ_KNOTS)
    tilt = F.interpolate(knots, BANDS, mode="linear", align_corners=True).transpose(1, 2)
    low, high = NOISE_DB
    noise = low + (high - low) * torch.rand(n, 1, 1)
    return torch.logaddexp((windows + tilt) / NEPER_DB, noise / NEPER_DB) * NEPER_DB + gain


def _places(group: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return (sound, first frame) of every window that is loud enough, quarter by quarter."""
    places = []
    for number, shown in enumerate(group):
        levels = shown.unfold(1, WINDOW, WINDOW // 4).mean(2).amax(0)
        loud = levels > levels.max() - LOUD_DB
        places += [(number, i * (WINDOW // 4)) for i in loud.nonzero()[:, 0].tolist()]
    return places
