"""Gaussian mixtures with diagonal or full covariances, fitted by expectation-maximisation.

Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm", 1977. An
explicit, tractable density: log p(x) = log sum_k pi_k N(x; mu_k, S_k) is one sum over components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from sampling import LOG_TWO_PI
from torch import Generator, Tensor

Kind = Literal["diagonal", "full"]

CHUNK = 4096
"""Frames worked on at once: their distances to all components have to fit in memory."""
LLOYD_STEPS = 5
"""Rounds of k-means that place the components before EM."""


@dataclass(frozen=True)
class GaussianMixture:
    """Weights, means and covariances in double precision.

    Attributes:
        weights: `(component,)`, summing to 1.
        means: `(component, dimension)`.
        factors: lower Cholesky factors `(component, dimension, dimension)` of full covariances, or
            standard deviations `(component, dimension)` of diagonal ones.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    @property
    def kind(self) -> Kind:
        """Which covariances these are."""
        return "full" if self.factors.dim() == 3 else "diagonal"

    def log_joint(self, frames: Tensor) -> Tensor:
        """Return log pi_k + log N(x; mu_k, S_k) of `(frame, dimension)`: `(frame, component)`."""
        return torch.cat([self._log_joint(part) for part in frames.double().split(CHUNK)])

    def _log_joint(self, frames: Tensor) -> Tensor:
        if self.kind == "diagonal":
            scale = self.factors.reciprocal()
            # (x - m)² / s² by two products instead of a cube of differences.
            squares = (
                frames.square() @ scale.square().T
                - 2 * frames @ (self.means * scale.square()).T
                + (self.means * scale).square().sum(1)
            )
            log_det = self.factors.log().sum(1)
        else:
            whitened = [
                torch.linalg.solve_triangular(factor, (frames - mean).T, upper=False)
                for mean, factor in zip(self.means, self.factors, strict=True)
            ]
            squares = torch.stack([w.square().sum(0) for w in whitened], 1)
            log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self.weights.log() - log_det - 0.5 * frames.shape[1] * LOG_TWO_PI
        return constant - 0.5 * squares

    def log_prob(self, frames: Tensor) -> Tensor:
        """Return the exact log-density of `(frame, dimension)` in nats, `(frame,)`."""
        return self.log_joint(frames).logsumexp(1)

    def responsibilities(self, frames: Tensor) -> Tensor:
        """Return p(component | frame), `(frame, component)`."""
        return self.log_joint(frames).softmax(1)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw `(count, dimension)`."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        if self.kind == "diagonal":
            return self.means[chosen] + self.factors[chosen] * noise
        return self.means[chosen] + torch.einsum("nij,nj->ni", self.factors[chosen], noise)


def fit_mixture(
    frames: Tensor,
    components: int,
    kind: Kind = "full",
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
    floor: float = 1e-6,
    generator: Generator,
) -> GaussianMixture:
    """Fit by EM from a few rounds of k-means.

    Args:
        frames: `(frame, dimension)`.
        components: of the mixture.
        kind: of the covariances.
        iterations: most of them.
        tolerance: nats a frame; EM ends where an iteration gains less.
        floor: added to the variances, so that no component falls onto one frame.
        generator: draws the first means.

    Raises:
        ValueError: on fewer frames than components, or frames that are not finite.
    """
    if not 1 <= components <= len(frames):
        raise ValueError(f"{components} components of {len(frames)} frames; expected fewer, not 0")
    if not frames.isfinite().all():
        raise ValueError("frames must be finite to fit a mixture")
    frames = frames.double()
    nearest = _cluster(frames, components, generator)
    shares = torch.nn.functional.one_hot(nearest, components).double()
    mixture = maximise(frames, shares, kind, floor)
    last = -float("inf")
    for _ in range(iterations):
        joint = mixture.log_joint(frames)
        score = float(joint.logsumexp(1).mean())
        if score - last < tolerance:
            break
        last = score
        mixture = maximise(frames, joint.softmax(1), kind, floor)
    return mixture


def maximise(frames: Tensor, shares: Tensor, kind: Kind, floor: float) -> GaussianMixture:
    """Return the mixture most likely for `shares (frame, component)` of each frame: an M-step."""
    counts = shares.sum(0) + 1e-10
    means = shares.T @ frames / counts[:, None]
    if kind == "diagonal":
        squares = shares.T @ frames.square() / counts[:, None]
        factors = ((squares - means.square()).clamp_min(0) + floor).sqrt()
    else:
        spread = floor * torch.eye(frames.shape[1], dtype=frames.dtype)
        covariances = [
            ((frames - mean) * share[:, None]).T @ (frames - mean) / count + spread
            for mean, share, count in zip(means, shares.T, counts, strict=True)
        ]
        factors = torch.stack([torch.linalg.cholesky(c) for c in covariances])
    return GaussianMixture(counts / counts.sum(), means, factors)


def _cluster(frames: Tensor, components: int, generator: Generator) -> Tensor:
    """Return the cluster `(frame,)` of each frame by k-means.

    The first means are drawn far from one another (Arthur and Vassilvitskii, "k-means++", 2007).
    """
    first = int(torch.randint(len(frames), (1,), generator=generator))
    means = frames[first : first + 1]
    distances = (frames - means).square().sum(1)
    while len(means) < components:
        # All frames may lie on the means that are there: then any does.
        chances = distances if distances.sum() > 0 else torch.ones_like(distances)
        chosen = int(torch.multinomial(chances, 1, generator=generator))
        means = torch.cat([means, frames[chosen : chosen + 1]])
        distances = distances.minimum((frames - frames[chosen]).square().sum(1))
    nearest = torch.cdist(frames, means).argmin(1)
    for _ in range(LLOYD_STEPS):
        counts = torch.bincount(nearest, minlength=components).clamp_min(1)
        sums = torch.zeros_like(means).index_add_(0, nearest, frames)
        means = torch.where(
            torch.bincount(nearest, minlength=components)[:, None] > 0,
            sums / counts[:, None],
            means,
        )
        nearest = torch.cdist(frames, means).argmin(1)
    return nearest
