"""What z is before anything is heard: the standard normal, a mixture, or a mixture of posteriors.

A prior says how likely a latent frame is, each for itself, and draws one from noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audiovae.config import Config
from audiovae.model.encoder import ConvNeXtEncoder
from audiovae.model.latent import DiagonalGaussian

PSEUDO_FRAMES = 16
"""Feature frames of a pseudo-input; its posterior is that of the latent frame in the middle."""


def log_normal(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """Return log N(z; mean, exp(logvar)) in nats, shaped like what the three broadcast to."""
    square = (z - mean).square() * (-logvar).exp()
    return -0.5 * (math.log(2 * math.pi) + logvar + square)


class StandardPrior(nn.Module):
    """N(0, 1) in each dimension: the KL divergence has a closed form."""

    exact, components = True, 1

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.latent_dim = config.model.latent_dim

    def log_prob(self, z: Tensor, encoder: ConvNeXtEncoder) -> Tensor:
        """Map `z (batch, latent, frame)` to nats `(batch, frame)`."""
        return log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)

    def sample(self, noise: Tensor, chance: Tensor, encoder: ConvNeXtEncoder) -> Tensor:
        """Map standard normal `noise (frame, latent)` to frames of the prior, shaped like it."""
        return noise

    def place(self, noise: Tensor, component: int, encoder: ConvNeXtEncoder) -> Tensor:
        """Map standard normal `noise (latent, frame)` to frames of one component: the only one."""
        return noise


class MixturePrior(nn.Module):
    """A mixture of diagonal Gaussians with learned weights, means and variances.

    Dilokthanakul et al., "Deep unsupervised clustering with Gaussian mixture VAEs" (2016), has
    such a prior; here its components are marginalised and need no inference of their own.
    """

    exact = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.components = model.prior_components
        self.logits = nn.Parameter(torch.zeros(self.components))
        self.means = nn.Parameter(torch.randn(self.components, model.latent_dim))
        self.logvars = nn.Parameter(torch.zeros(self.components, model.latent_dim))

    def parts(self, encoder: ConvNeXtEncoder) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights `(component,)`, means and log-variances `(component, latent)`."""
        return self.logits.log_softmax(0), self.means, self.logvars

    def log_prob(self, z: Tensor, encoder: ConvNeXtEncoder) -> Tensor:
        """Map `z (batch, latent, frame)` to nats `(batch, frame)`."""
        weights, means, logvars = self.parts(encoder)
        # The square written out: no tensor of every frame, dimension and component at once.
        inverse = (-logvars).exp()
        frames = z.float().transpose(1, 2)
        square = frames.square() @ inverse.T - 2 * frames @ (means * inverse).T
        constant = (means.square() * inverse + logvars).sum(1) + means.shape[1] * math.log(
            2 * math.pi
        )
        return (weights - 0.5 * (square + constant)).logsumexp(dim=2)

    def sample(self, noise: Tensor, chance: Tensor, encoder: ConvNeXtEncoder) -> Tensor:
        """Map noise to frames of the prior.

        Args:
            noise: standard normal, `(frame, latent)`.
            chance: uniform in 0 to 1, `(frame,)`: chooses the component of each.
            encoder: of the model.
        """
        weights, means, logvars = self.parts(encoder)
        chosen = torch.searchsorted(weights.exp().cumsum(0), chance).clamp_max(len(weights) - 1)
        return means[chosen] + (0.5 * logvars[chosen]).exp() * noise

    def place(self, noise: Tensor, component: int, encoder: ConvNeXtEncoder) -> Tensor:
        """Map standard normal `noise (latent, frame)` to frames of one component."""
        _, means, logvars = self.parts(encoder)
        return means[component][:, None] + (0.5 * logvars[component]).exp()[:, None] * noise


class VampPrior(MixturePrior):
    """A mixture of the encoder's posteriors of learned pseudo-inputs.

    Tomczak and Welling, "VAE with a VampPrior" (2018): the prior that is best for an encoder is the
    mean of its posteriors, and some inputs stand for all.
    """

    def __init__(self, config: Config) -> None:
        nn.Module.__init__(self)
        model = config.model
        self.components = model.prior_components
        self.logits = nn.Parameter(torch.zeros(self.components))
        shape = (self.components, config.audio.n_features, PSEUDO_FRAMES)
        self.inputs = nn.Parameter(torch.randn(shape))
        self.middle = PSEUDO_FRAMES // model.latent_stride // 2

    def parts(self, encoder: ConvNeXtEncoder) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights `(component,)`, means and log-variances `(component, latent)`."""
        posterior = encoder(self.inputs)
        means, logvars = (x[:, :, self.middle] for x in (posterior.mean, posterior.logvar))
        return self.logits.log_softmax(0), means, logvars


Prior = StandardPrior | MixturePrior
PRIORS: dict[str, type[StandardPrior] | type[MixturePrior]] = {
    "standard": StandardPrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
}


def divergence(
    prior: Prior, posterior: DiagonalGaussian, z: Tensor, encoder: ConvNeXtEncoder
) -> Tensor:
    """Return KL(q(z | x) || p(z)) in nats for each latent frame, `(batch, frame)`.

    In closed form for the standard prior; for others from the one sample `z` of the posterior,
    which is right on average.
    """
    if prior.exact:
        return posterior.kl().sum(dim=1)
    said = log_normal(z.float(), posterior.mean, posterior.logvar).sum(dim=1)
    return said - prior.log_prob(z, encoder)
