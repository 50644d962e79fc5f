"""Variational and adversarial autoencoders of frames, and the importance-weighted bound.

Kingma and Welling, "Auto-encoding variational Bayes", 2014: p(x | z) = N(decoder(z), diag(s^2)),
q(z | x) = N(mean(x), diag), and the bound log p(x) >= E_q log p(x | z) - KL(q || p). With K samples
of q, Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016, have a bound that
rises with K to log p(x).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from sampling import gaussian_log_prob, log_mean_exp, minibatches, normal
from torch import Generator, Tensor, nn

ROWS = 65_536
"""Frames times samples that are decoded at once."""
LOOKS = 20
"""How often a training looks whether it still gets better."""
NOISE_RATE = 5.0
"""Learning rate of the noise over that of the networks: its logarithm has several units to go."""


def perceptron(sizes: list[int], generator: Generator) -> nn.Sequential:
    """Return linear layers from size to size with GELU between them; two sizes are one layer."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes)):
        layer = nn.utils.skip_init(nn.Linear, before, after)
        reach = before**-0.5
        with torch.no_grad():
            layer.weight.uniform_(-reach, reach, generator=generator)
            layer.bias.zero_()
        layers += [nn.GELU(), layer] if number else [layer]
    return nn.Sequential(*layers)


class FrameVAE(nn.Module):
    """An encoder, a decoder and a noise variance for each dimension (or one for all).

    Args:
        dimension: of a frame.
        latent: dimensions of z.
        hidden: widths of the decoder's hidden layers from z up, the encoder's backwards. None: both
            are linear, and with `one_noise` the model is probabilistic PCA.
        one_noise: whether all dimensions share one variance.
        generator: draws the first weights.
    """

    def __init__(
        self,
        dimension: int,
        latent: int,
        hidden: tuple[int, ...],
        generator: Generator,
        *,
        one_noise: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = perceptron([dimension, *reversed(hidden), 2 * latent], generator)
        self.decoder = perceptron([latent, *hidden, dimension], generator)
        self.log_noise = nn.Parameter(torch.zeros(1 if one_noise else dimension))

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z | x), `(row, latent)` each."""
        mean, log_variance = self.encoder(frames).chunk(2, 1)
        # Far-off frames of a young encoder must not overflow.
        return mean, log_variance.clamp(-12, 6)

    def log_likelihood(self, frames: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z) in nats of `(…, row, dimension)` and `(…, row, latent)`."""
        noise = self.log_noise.expand(frames.shape[-1])
        return gaussian_log_prob(frames, self.decoder(z), noise)

    def elbo(self, frames: Tensor, generator: Generator) -> Tensor:
        """Return the bound of `(row, dimension)` with one sample and the exact KL, `(row,)`."""
        mean, log_variance = self.encode(frames)
        z = mean + (0.5 * log_variance).exp() * normal(mean, generator)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return self.log_likelihood(frames, z) - kl

    @torch.no_grad()
    def importance_bound(self, frames: Tensor, samples: int, generator: Generator) -> Tensor:
        """Return the IWAE bound of `(row, dimension)` with `samples` of q a frame: `(row,)`."""
        return torch.cat(
            [
                self._importance_bound(part, samples, generator)
                for part in frames.split(max(ROWS // samples, 1))
            ]
        )

    def _importance_bound(self, frames: Tensor, samples: int, generator: Generator) -> Tensor:
        mean, log_variance = (part.expand(samples, -1, -1) for part in self.encode(frames))
        z = mean + (0.5 * log_variance).exp() * normal(mean, generator)
        prior = gaussian_log_prob(z, torch.zeros_like(z), torch.zeros_like(z))
        posterior = gaussian_log_prob(z, mean, log_variance)
        weights = self.log_likelihood(frames.expand(samples, -1, -1), z) + prior - posterior
        return log_mean_exp(weights.double())

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return what Adam is to train, and at which rate."""
        networks = [*self.encoder.parameters(), *self.decoder.parameters()]
        noise = {"params": [self.log_noise], "lr": NOISE_RATE * rate}
        return [{"params": networks, "lr": rate}, noise]

    @torch.no_grad()
    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw `(count, dimension)`: z from the prior, then x with its noise."""
        first = self.decoder[0]
        z = torch.randn(count, first.in_features, generator=generator, dtype=first.weight.dtype)
        mean = self.decoder(z)
        return mean + (0.5 * self.log_noise).exp() * normal(mean, generator)


class Best:
    """The best weights so far of a model, by frames that it does not learn from.

    Args:
        model: whose weights are kept and given back.
        score: what is to be high, of `tuning (frame, dimension)` and a generator, `(frame,)`.
        tuning: frames; None keeps no weights and leaves the last.
        steps: of the training.
    """

    def __init__(
        self,
        model: FrameVAE,
        score: Callable[[Tensor, Generator], Tensor],
        tuning: Tensor | None,
        steps: int,
    ) -> None:
        self.model, self.score, self.tuning = model, score, tuning
        self.every = max(1, steps // LOOKS)
        self.best, self.weights = -float("inf"), model.state_dict()

    @torch.no_grad()
    def look(self, step: int) -> None:
        """Keep the weights after `step` steps if that is a step to look at, and they are best."""
        if self.tuning is None or step % self.every:
            return
        # The same draws each time: chance favours no step.
        score = float(self.score(self.tuning, Generator().manual_seed(0)).mean())
        if score > self.best:
            state = self.model.state_dict()
            self.best, self.weights = score, {name: w.clone() for name, w in state.items()}

    def restore(self) -> None:
        """Give the model its best weights."""
        self.model.load_state_dict(self.weights)


def fit_vae(
    model: FrameVAE,
    frames: Tensor,
    *,
    steps: int,
    generator: Generator,
    batch: int = 256,
    rate: float = 2e-3,
    encoder_alone: bool = False,
    tuning: Tensor | None = None,
) -> None:
    """Raise the evidence lower bound of `frames (frame, dimension)`.

    Args:
        model: changed in place.
        frames: to learn from.
        steps: of Adam; the rate falls to 0 along half a cosine.
        generator: of minibatches and z.
        batch: frames in a step.
        rate: first learning rate.
        encoder_alone: leave the decoder and its noise: q becomes the best for the density there is.
        tuning: frames `(frame, dimension)` of other pieces, by whose bound the best weights are
            kept; without them the last ones are.
    """
    best = Best(model, model.elbo, tuning, steps)
    parts = model.encoder.parameters() if encoder_alone else model.groups(rate)
    adam = torch.optim.Adam(parts, rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    for step, data in enumerate(minibatches(frames, batch, steps, generator), 1):
        loss = -model.elbo(data, generator).mean() / data.shape[1]
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        fall.step()
        best.look(step)
    best.restore()


def fit_aae(
    model: FrameVAE,
    frames: Tensor,
    *,
    steps: int,
    generator: Generator,
    batch: int = 256,
    rate: float = 1e-3,
    width: int = 256,
    tuning: Tensor | None = None,
) -> nn.Sequential:
    """Train as an adversarial autoencoder with the same networks, and return the discriminator.

    Makhzani, Shlens, Jaitly, Goodfellow and Frey, "Adversarial autoencoders", 2016. In each step a
    reconstruction phase raises log p(x | z), and a regularisation phase has a discriminator tell z
    of frames from z of the prior N(0, I), and the encoder deceive it. There is no KL: nothing that
    is trained is a bound, so the density is implicit until an encoder is fitted for it
    (`fit_vae(…, encoder_alone=True)`). With `tuning` the weights that reconstruct it best are kept.
    """
    latent = model.decoder[0].in_features
    critic = perceptron([latent, width, width, 1], generator)
    critic.to(model.log_noise.dtype)
    adams = [
        torch.optim.Adam(model.groups(rate)),
        torch.optim.Adam(critic.parameters(), rate, betas=(0.5, 0.9)),
        torch.optim.Adam(model.encoder.parameters(), rate / 2, betas=(0.5, 0.9)),
    ]
    falls = [torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1)) for adam in adams]

    def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    def draw(data: Tensor, generator: Generator = generator) -> Tensor:
        mean, log_variance = model.encode(data)
        return mean + (0.5 * log_variance).exp() * normal(mean, generator)

    def rebuild(data: Tensor, generator: Generator) -> Tensor:
        return model.log_likelihood(data, draw(data, generator))

    best = Best(model, rebuild, tuning, steps)
    softplus = nn.functional.softplus
    for step, data in enumerate(minibatches(frames, batch, steps, generator), 1):
        descend(adams[0], -rebuild(data, generator).mean() / data.shape[1])
        false = draw(data).detach()
        true = normal(false, generator)
        descend(adams[1], (softplus(-critic(true)) + softplus(critic(false))).mean())
        descend(adams[2], softplus(-critic(draw(data))).mean())
        for fall in falls:
            fall.step()
        best.look(step)
    best.restore()
    return critic
