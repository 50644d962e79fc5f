"""The posterior: a diagonal Gaussian for each latent frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOGVAR_RANGE = (-12.0, 4.0)
"""Log-variances are bounded: outside, the exponential or its gradient is of no use."""
GRAIN = 2.5
"""Step of rounded means, in standard deviations of the posterior."""
SHARPNESS = 16.0
"""Of the rounding: half of it is the steepest slope between two steps."""


def soft_round(x: Tensor, step: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Round `x` to whole steps, but for a steep slope half-way between two of them.

    Agustsson and Theis, "Universally quantized neural compression" (2020). Unlike true rounding
    it is continuous, so that the arithmetic's last digits never make a whole step.
    """
    whole = (x / step).floor()
    beyond = x / step - whole - 0.5
    return step * (whole + 0.5 + 0.5 * torch.tanh(sharpness * beyond) / math.tanh(sharpness / 2))


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z | x) = N(mean, diag(exp(logvar))), both `(batch, latent, frame)`."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor, certain: bool = False) -> DiagonalGaussian:
        """Split `(batch, 2 * latent, frame)` into mean and log-variance.

        Where it is `certain`, the log-variance is the least there is: a sample is the mean but for
        a quarter of a hundredth.
        """
        mean, logvar = parameters.float().chunk(2, dim=1)
        if certain:
            return cls(mean, torch.full_like(mean, LOGVAR_RANGE[0]))
        return cls(mean, logvar.clamp(*LOGVAR_RANGE))

    @property
    def std(self) -> Tensor:
        """Standard deviation, `(batch, latent, frame)`."""
        return (0.5 * self.logvar).exp()

    def sample(self, noise: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw z = mean + temperature * std * noise, differentiable in mean and logvar.

        Args:
            noise: standard normal, shaped like the mean; drawn here when left out.
            temperature: 0 gives the mean.
        """
        if temperature == 0:
            return self.mean
        if noise is None:
            noise = torch.randn_like(self.mean)
        return self.mean + temperature * self.std * noise

    def rounded(self, noise: Tensor) -> DiagonalGaussian:
        """Return the posterior with its mean rounded to steps of `GRAIN` times `noise (latent,)`.

        A decoder that was trained on samples can't tell what lies below their noise, but others
        can: there the mean still says which instrument was heard. Noise in training and rounding
        afterwards are one trade of rate and distortion (Ballé et al., "End-to-end optimized image
        compression", 2017).
        """
        return DiagonalGaussian(soft_round(self.mean, GRAIN * noise[:, None]), self.logvar)

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) in nats for each latent dimension and frame, shaped like the mean.

        Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), appendix B.
        """
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar)
