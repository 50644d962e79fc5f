"""The posterior: a diagonal Gaussian for each latent frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOGVAR_RANGE = (-12.0, 4.0)
"""Log-variances are bounded: outside, the exponential or its gradient is of no use."""


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z | x) = N(mean, diag(exp(logvar))), both `(batch, latent, frame)`."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor) -> DiagonalGaussian:
        """Split `(batch, 2 * latent, frame)` into mean and log-variance."""
        mean, logvar = parameters.float().chunk(2, dim=1)
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

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) in nats for each latent dimension and frame, shaped like the mean.

        Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), appendix B.
        """
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar)
