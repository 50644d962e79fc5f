"""Factor analysis and probabilistic PCA: linear-Gaussian models with an exact likelihood.

x = W z + mu + noise with z ~ N(0, I) and noise ~ N(0, diag(psi)), so x ~ N(mu, W W' + diag(psi)).
Probabilistic PCA has one psi for all dimensions and a closed form (Tipping and Bishop,
"Probabilistic principal component analysis", 1999); factor analysis has one for each and is fitted
by EM (Rubin and Thayer, "EM algorithms for ML factor analysis", 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sampling import LOG_TWO_PI
from torch import Generator, Tensor

LEAST_NOISE = 1e-6
"""Variance below which no dimension's noise falls."""


@dataclass(frozen=True)
class FactorModel:
    """A Gaussian with a covariance of low rank plus a diagonal, in double precision.

    Attributes:
        loadings: W, `(dimension, factor)`.
        mean: mu, `(dimension,)`.
        noise: psi, variances `(dimension,)`.
    """

    loadings: Tensor
    mean: Tensor
    noise: Tensor

    @property
    def precision(self) -> Tensor:
        """Of z given x, `(factor, factor)`: I + W' diag(psi)^-1 W."""
        scaled = self.loadings / self.noise[:, None]
        return torch.eye(self.loadings.shape[1], dtype=scaled.dtype) + self.loadings.T @ scaled

    def log_prob(self, frames: Tensor) -> Tensor:
        """Return the exact log-density of `(frame, dimension)` in nats, `(frame,)`.

        By the matrix inversion lemma, in the number of factors instead of dimensions.
        """
        offset = frames.double() - self.mean
        projected = offset / self.noise @ self.loadings
        factor = torch.linalg.cholesky(self.precision)
        explained = torch.linalg.solve_triangular(factor, projected.T, upper=False).square().sum(0)
        squares = (offset.square() / self.noise).sum(1) - explained
        log_det = self.noise.log().sum() + 2 * factor.diagonal().log().sum()
        return -0.5 * (squares + log_det + frames.shape[1] * LOG_TWO_PI)

    def posterior_mean(self, frames: Tensor) -> Tensor:
        """Return E[z | x] of `(frame, dimension)`, `(frame, factor)`."""
        projected = (frames.double() - self.mean) / self.noise @ self.loadings
        return torch.linalg.solve(self.precision, projected.T).T

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw `(count, dimension)`."""
        dimension, factors = self.loadings.shape
        draw = torch.randn(count, factors + dimension, generator=generator, dtype=torch.float64)
        hidden, noise = draw.split([factors, dimension], 1)
        return self.mean + hidden @ self.loadings.T + self.noise.sqrt() * noise


def fit_ppca(frames: Tensor, factors: int) -> FactorModel:
    """Fit probabilistic PCA to `(frame, dimension)`: the maximum of the likelihood, at once.

    Raises:
        ValueError: unless there are fewer factors than dimensions, and at least one.
    """
    mean, covariance = _moments(frames, factors)
    values, vectors = torch.linalg.eigh(covariance)
    kept, lost = values[-factors:], values[:-factors]
    # The variance left out is spread evenly: equation 8 of the paper.
    noise = lost.mean().clamp_min(LEAST_NOISE)
    loadings = vectors[:, -factors:] * (kept - noise).clamp_min(0).sqrt()
    return FactorModel(loadings.flip(1), mean, noise.expand(len(mean)).clone())


def fit_factor_analysis(
    frames: Tensor, factors: int, *, iterations: int = 1000, tolerance: float = 1e-5
) -> FactorModel:
    """Fit factor analysis to `(frame, dimension)` by EM on the covariance, from PPCA's solution.

    Args:
        frames: `(frame, dimension)`.
        factors: of the model.
        iterations: most of them.
        tolerance: nats a frame; EM ends where ten iterations gain less.

    Raises:
        ValueError: unless there are fewer factors than dimensions, and at least one.
    """
    _, covariance = _moments(frames, factors)
    model = fit_ppca(frames, factors)
    last = -float("inf")
    for iteration in range(iterations):
        if iteration % 10 == 0:
            score = mean_log_prob(model, covariance)
            if score - last < tolerance:
                break
            last = score
        model = _improve(model, covariance)
    return model


def _improve(model: FactorModel, covariance: Tensor) -> FactorModel:
    """Return the model after one iteration of EM on the frames' `covariance`."""
    # E[z | x] = B (x - mu), and E[z z'] over all frames follows from their covariance alone.
    read = torch.linalg.solve(model.precision, (model.loadings / model.noise[:, None]).T)
    crossed = covariance @ read.T
    second = torch.linalg.inv(model.precision) + read @ crossed
    loadings = torch.linalg.solve(second, crossed.T).T
    noise = covariance.diagonal() - (loadings * crossed).sum(1)
    return FactorModel(loadings, model.mean, noise.clamp_min(LEAST_NOISE))


def mean_log_prob(model: FactorModel, covariance: Tensor) -> float:
    """Return the log-density a frame of frames with the model's mean and this `covariance`."""
    full = model.loadings @ model.loadings.T + model.noise.diag()
    factor = torch.linalg.cholesky(full)
    trace = torch.cholesky_solve(covariance, factor).diagonal().sum()
    log_det = 2 * factor.diagonal().log().sum()
    return float(-0.5 * (trace + log_det + len(full) * LOG_TWO_PI))


def _moments(frames: Tensor, factors: int) -> tuple[Tensor, Tensor]:
    """Return the mean `(dimension,)` and the covariance of the frames, or raise `ValueError`."""
    if not 1 <= factors < frames.shape[1]:
        raise ValueError(f"{factors} factors of {frames.shape[1]} dimensions; expected 1 to fewer")
    frames = frames.double()
    mean = frames.mean(0)
    return mean, (frames - mean).T @ (frames - mean) / len(frames)
