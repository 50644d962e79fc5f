"""Numbers, sounds and a tiny model from formulas: no generator of any library has a part in them.

What is made here is the same on every machine and with every version of PyTorch and NumPy. And how
what comes of it is told in a few numbers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

from audiovae.config import (
    AudioConfig,
    Config,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
    VocoderConfig,
)
from audiovae.config_model import WaveNetConfig
from audiovae.model.autoencoder import AudioVAE, Statistics
from audiovae.model.decoder import LogMelDecoder
from audiovae.model.vocoders import make_vocoder
from audiovae.tables import from_dict, to_dict

RATE = 16_000
SAMPLES = 128 * 128
"""Whole latent frames, about a second."""
DOMAINS = ("flute", "piano")
CENTRES = {"norm.weight": 1.0, ".scale": 0.5, "raw_scale": 0.3, "front.deviation": 2.0}
"""What vectors of a network are about, by the end of their name; all others about 0."""
SPREAD = 0.1
"""Most that a vector's entries are off that."""
FEW = 6
"""Entries up to which a tensor is told as it is."""
DIGITS = 9


def uniform(name: str, count: int) -> np.ndarray:
    """Return `(count,)` float64 in -1 to 1: counters mixed by SplitMix64, another for each name."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2**52 - 1.0


def draw(name: str, *shape: int) -> Tensor:
    """Return float32 of uniform numbers in -1 to 1."""
    return torch.from_numpy(uniform(name, int(np.prod(shape)))).float().view(shape)


def normal(name: str, *shape: int) -> Tensor:
    """Return float32 of normal numbers, by the inverse of their distribution."""
    chances = (uniform(name, int(np.prod(shape))) + 1) / 2
    numbers = [NormalDist().inv_cdf(min(max(p, 1e-9), 1 - 1e-9)) for p in chances]
    return torch.tensor(numbers).view(shape)


@torch.no_grad()
def fill(network: nn.Module, name: str = "") -> None:
    """Give every parameter values by its name: matrices of unit gain, vectors near `CENTRES`."""
    for own, parameter in network.named_parameters(prefix=name):
        values = torch.from_numpy(uniform(own, parameter.numel())).view(parameter.shape)
        if parameter.dim() > 1:
            values *= (3.0 * len(parameter) / parameter.numel()) ** 0.5
        else:
            centre = (at for end, at in CENTRES.items() if own.endswith(end))
            values = next(centre, 0.0) + SPREAD * values
        parameter.copy_(values)


def sound(samples: int = SAMPLES) -> Tensor:
    """Return `(2, samples)` float32: three partials that end in silence, and noise that swells."""
    time, hiss = np.arange(samples) / RATE, uniform("hiss", samples)
    partials = [np.sin(2 * np.pi * 277.0 * k * time) / k for k in (1, 2, 3)]
    # Noise under it: the phase of what is not there would be a matter of rounding.
    struck = 0.3 * sum(partials) * np.exp(-6 * time) + 1e-3 * hiss
    struck *= time < 0.7 * samples / RATE
    swelling = 0.2 * uniform("noise", samples) * (0.1 + time * RATE / samples)
    return torch.from_numpy(np.stack([struck, swelling])).float()


def settings(**sections: dict[str, object]) -> Config:
    """Return the settings of a model that runs in milliseconds, with changes by section."""
    config = Config(
        audio=AudioConfig(sample_rate=RATE, n_fft=512, hop_length=128, n_mels=40),
        model=ModelConfig(
            latent_dim=8, encoder_width=24, encoder_blocks=(1, 1), decoder_width=24,
            decoder_blocks=(1, 1), expansion=2, prior_components=3,
        ),
        vocoder=VocoderConfig("linked", width=24, blocks=2, expansion=2, iterations=1),
        wavenet=WaveNetConfig(residual=8, skip=8, layers=6, cycle=3),
        objective=ObjectiveConfig(beta_warmup=0.0, confusion_ramp=0.0),
        training=TrainingConfig(clip=1.0, rows=1, scored=0.1, precision="fp32"),
    )  # fmt: skip
    table = to_dict(config)
    for section, changes in sections.items():
        table[section] = table[section] | changes
    return from_dict(Config, table)


def model(config: Config) -> AudioVAE:
    """Return a tiny model with weights by formula."""
    with torch.random.fork_rng(devices=[]):
        made = AudioVAE(config, DOMAINS, Statistics.plain(config.audio.n_mels))
        if not config.speaks:
            made.vocoder = make_vocoder(config)
    fill(made)
    latent_dim = config.model.latent_dim
    with torch.no_grad():
        # Narrow posteriors, as trained ones are; steps of their rounding; ceilings that are met.
        made.encoder.head.bias[latent_dim:] -= 3.0
        made.hear_noise(0.2 + 0.1 * draw("noise of z", latent_dim))
        for decoder in (made.decoder(domain) for domain in DOMAINS):
            if isinstance(decoder, LogMelDecoder):
                decoder.ceiling.copy_(0.5 + draw("ceiling", config.audio.n_mels))
    return made.eval()


@dataclass(frozen=True)
class Figure:
    """A tensor that is told."""

    values: Tensor
    unit: float | None = None
    """What counts as much; its root mean square when left out."""

    def tell(self) -> list[float]:
        """Return its unit and its numbers."""
        x = self.values.detach().double().flatten()
        rms = float(x.square().mean().sqrt())
        numbers = x.tolist()
        if len(x) > FEW:
            ways = [float(x @ draw(f"way {n}", len(x)).double()) / len(x) ** 0.5 for n in (0, 1)]
            numbers = [float(x.mean()), rms, float(x.min()), float(x.max()), *ways]
        unit = self.unit or rms or 1.0
        return [float(f"{value:.{DIGITS}g}") for value in (unit, *numbers)]


def nats(x: Tensor) -> Figure:
    """A figure of logarithms: nats or decibels."""
    return Figure(x, 1.0)
