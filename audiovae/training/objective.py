"""The negative ELBO in nats a feature frame, and the one sum of weighted terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import magnitudes
from audiovae.audio.mel import mel_triangles
from audiovae.config import AudioConfig, ObjectiveConfig
from audiovae.errors import ConfigError
from audiovae.model.latent import DiagonalGaussian
from audiovae.training.ranks import mean_over_ranks


def total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return `sum(weight[k] * term[k])`. Raises `ConfigError` unless both have the same keys."""
    if terms.keys() != weights.keys():
        odd = sorted(terms.keys() ^ weights.keys())
        raise ConfigError(f"terms and weights differ in {', '.join(odd)}")
    return torch.stack([weights[k] * terms[k] for k in sorted(terms)]).sum()


def negative_log_likelihood(
    target: Tensor, location: Tensor, scale: Tensor, likelihood: str
) -> Tensor:
    """Return -log p(target | z), summed over bands: nats for each row and frame.

    Args:
        target: `(batch, band, frame)`.
        location: of the distribution, shaped like the target.
        scale: `(band,)`, the Laplace distribution's b or the Gaussian's sigma.
        likelihood: `laplace` or `gaussian`.

    Returns:
        `(batch, frame)`.
    """
    scale = scale[:, None]
    error = (target - location).abs() / scale
    if likelihood == "laplace":
        nats = error + torch.log(2 * scale)
    else:
        nats = 0.5 * error.square() + torch.log(scale) + 0.5 * math.log(2 * math.pi)
    return nats.sum(dim=1)


def kl_by_dimension(posteriors: Sequence[DiagonalGaussian]) -> Tensor:
    """Mean KL divergence to the standard normal: `(latent,)` nats a latent frame."""
    return torch.cat([p.kl() for p in posteriors if len(p.mean)]).mean(dim=(0, 2))


def kl_term(by_dimension: Tensor, free_bits: float, stride: int) -> Tensor:
    """Sum over dimensions, each counted from `free_bits` up: nats a *feature* frame."""
    return by_dimension.clamp_min(free_bits).sum() / stride


def active_units(means: Tensor, threshold: float = 0.01) -> int:
    """Count latent dimensions whose posterior mean varies (Burda et al., "IWAE", 2016).

    Args:
        means: posterior means `(frame, latent)`.
        threshold: least variance over the data.
    """
    return int((means.var(dim=0) > threshold).sum())


def confusion_bound(logits: Tensor, labels: Tensor) -> Tensor:
    """Nats of the domain that a critic reads from z: `log K - cross-entropy`, at least 0.

    The encoder lowers it. It ends where the critic does no better than chance, so the encoder
    gains nothing by making the critic confidently wrong.
    """
    entropy = mean_over_ranks(F.cross_entropy(logits, labels, reduction="none")).mean()
    return (math.log(logits.shape[1]) - entropy).clamp_min(0.0)


def disagreement(posterior: DiagonalGaussian, moments: Tensor) -> Tensor:
    """Nats a latent frame that z tells of its source to who knows what is played.

    Renders of one moment should be one posterior. The mean divergence of each from the Gaussian
    with the mean and variance of their mixture bounds the information that z has of which of them
    it was, and is 0 where all are equal. With the critic's lower bound it closes in from above.

    Args:
        posterior: rows of `(row, latent, frame)`.
        moments: `(row,)` numbers from 0 up; rows of one number are one moment.
    """
    count = int(moments.max()) + 1
    rows = torch.bincount(moments, minlength=count).clamp_min(1).float()[:, None, None]

    def mean(x: Tensor) -> Tensor:
        return x.new_zeros(count, *x.shape[1:]).index_add(0, moments, x) / rows

    centre = mean(posterior.mean)
    offset = posterior.mean - centre[moments]
    variance = mean(posterior.logvar.exp() + offset.square())
    nats = 0.5 * (variance[moments].log() - posterior.logvar)
    return mean_over_ranks(nats.sum(dim=1)).mean()


def ramp(step: int, steps: int, share: float) -> float:
    """Rise from 0 to 1 over the first `share` of the steps."""
    return 1.0 if share == 0 else min(1.0, step / max(1.0, share * steps))


def weights_at(config: ObjectiveConfig, step: int, steps: int, voiced: bool) -> dict[str, float]:
    """Return the weight of each term at a step."""
    held = config.beta if config.match == "kl" else config.match_weight
    weights = {
        "reconstruction": 1.0,
        config.match: held * ramp(step, steps, config.beta_warmup),
    }
    if config.confusion != "none":
        weights["confusion"] = config.confusion_weight * ramp(step, steps, config.confusion_ramp)
    if config.agreement_weight:
        # It comes with the confusion, whose other half it is.
        weights["agreement"] = config.agreement_weight * ramp(step, steps, config.confusion_ramp)
    if voiced:
        weights["links"] = config.stft_weight
    return weights


class SpectralLoss(nn.Module):
    """Log-mel, log-STFT and relative STFT differences at several windows.

    For each window, on magnitudes over the window's sum: mean absolute difference of log mel
    bands, of log bins, and the Frobenius norm of the difference over the target's (spectral
    convergence, Arik et al., 2018). Hops are a quarter of the window.
    """

    def __init__(
        self, audio: AudioConfig, windows: Sequence[int] = (512, 1024, 2048, 4096)
    ) -> None:
        super().__init__()
        self.windows = tuple(windows)
        for n_fft in self.windows:
            bands = min(128, n_fft // 16)
            filters = mel_triangles(audio.sample_rate, n_fft, bands)
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", filters, persistent=False)

    def spectra(self, audio: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return magnitudes `(batch, bin, frame)` and mel bands at each window."""
        result = []
        for n_fft in self.windows:
            bins = magnitudes(audio, getattr(self, f"window_{n_fft}"), n_fft // 4)
            result.append((bins, torch.matmul(getattr(self, f"filters_{n_fft}"), bins)))
        return result

    def forward(self, made: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare `(batch, sample)` sounds: `mel` and `stft` in nats, `convergence` a ratio."""
        with torch.no_grad():
            wanted = self.spectra(target)
        mel, stft, convergence = [], [], []
        for (bins, bands), (true_bins, true_bands) in zip(self.spectra(made), wanted, strict=True):
            mel.append((log(bands, 1e-5) - log(true_bands, 1e-5)).abs().mean())
            stft.append((log(bins, 1e-5) - log(true_bins, 1e-5)).abs().mean())
            convergence.append((bins - true_bins).norm() / true_bins.norm().clamp_min(1e-3))
        return {
            "mel": torch.stack(mel).mean(),
            "stft": torch.stack(stft).mean(),
            "convergence": torch.stack(convergence).mean(),
        }


def log(x: Tensor, floor: float) -> Tensor:
    """Natural logarithm that flattens out below `floor`."""
    return torch.log(x + floor)
