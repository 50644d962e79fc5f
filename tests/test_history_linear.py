"""Mixtures and factor models: their densities by other means, and EM that climbs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from history import curved, history, seeded
from torch import Tensor
from torch.distributions import MultivariateNormal


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    with history("mixtures", "factors") as modules:
        yield modules


def blobs(count: int, seed: int) -> Tensor:
    """Three correlated clouds in three dimensions."""
    generator = seeded(seed)
    centres = torch.tensor([[0.0, 0, 0], [4, 1, 0], [-2, 3, 1]], dtype=torch.float64)
    shapes = torch.randn(3, 3, 3, generator=seeded(1), dtype=torch.float64)
    which = torch.randint(3, (count,), generator=generator)
    noise = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return centres[which] + 0.5 * torch.einsum("nij,nj->ni", shapes[which], noise)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_a_mixture_scores_and_learns_as_scikit_learns(parts: SimpleNamespace, kind: str) -> None:
    reference = pytest.importorskip("sklearn.mixture")
    frames, held_out = blobs(600, 0), blobs(200, 5)
    mixture = parts.mixtures.fit_mixture(
        frames, 3, kind, tolerance=1e-7, iterations=300, generator=seeded()
    )
    theirs = reference.GaussianMixture(
        3, covariance_type="diag" if kind == "diagonal" else "full", n_init=4, random_state=0
    )
    theirs.fit(frames.numpy())
    learned = float(mixture.log_prob(frames).mean())
    assert learned > theirs.score(frames.numpy()) - 1e-3
    # The same parameters give the same density, frame by frame.
    theirs.weights_, theirs.means_ = mixture.weights.numpy(), mixture.means.numpy()
    if kind == "diagonal":
        theirs.precisions_cholesky_ = mixture.factors.reciprocal().numpy()
    else:
        theirs.precisions_cholesky_ = torch.linalg.inv(mixture.factors).mT.numpy()
    expected = torch.from_numpy(theirs.score_samples(held_out.numpy()))
    torch.testing.assert_close(mixture.log_prob(held_out), expected)
    shares = torch.from_numpy(theirs.predict_proba(held_out.numpy()))
    torch.testing.assert_close(mixture.responsibilities(held_out), shares)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_one_step_of_em_is_scikit_learns(parts: SimpleNamespace, kind: str) -> None:
    reference = pytest.importorskip("sklearn.mixture")
    frames = blobs(300, 2)
    means = frames[:3]
    start = parts.mixtures.GaussianMixture(
        torch.full((3,), 1 / 3, dtype=torch.float64),
        means,
        torch.ones(3, 3, dtype=torch.float64)
        if kind == "diagonal"
        else torch.eye(3, dtype=torch.float64).repeat(3, 1, 1),
    )
    ours = parts.mixtures.maximise(frames, start.responsibilities(frames), kind, 1e-6)
    theirs = reference.GaussianMixture(
        3,
        covariance_type="diag" if kind == "diagonal" else "full",
        max_iter=1,
        means_init=means.numpy(),
        weights_init=[1 / 3] * 3,
        precisions_init=(torch.ones(3, 3) if kind == "diagonal" else torch.eye(3).repeat(3, 1, 1))
        .double()
        .numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one step is not enough, it says
        theirs.fit(frames.numpy())
    torch.testing.assert_close(ours.means, torch.from_numpy(theirs.means_))
    covariances = ours.factors.square() if kind == "diagonal" else ours.factors @ ours.factors.mT
    torch.testing.assert_close(covariances, torch.from_numpy(theirs.covariances_))


def test_em_climbs_and_a_seed_fixes_it(parts: SimpleNamespace) -> None:
    frames = blobs(300, 3)

    def fit(iterations: int) -> Tensor:
        return parts.mixtures.fit_mixture(
            frames, 4, "full", iterations=iterations, tolerance=0, generator=seeded(4)
        ).log_prob(frames)

    scores = [float(fit(n).mean()) for n in (0, 1, 2, 5, 20)]
    assert scores == sorted(scores) and scores[-1] > scores[0] + 0.01
    assert torch.equal(fit(5), fit(5))


def test_samples_of_a_mixture_have_its_moments(parts: SimpleNamespace) -> None:
    for kind in ("diagonal", "full"):
        frames = blobs(500, 6)
        mixture = parts.mixtures.fit_mixture(frames, 3, kind, generator=seeded())
        drawn = mixture.sample(20_000, seeded(7))
        torch.testing.assert_close(drawn.mean(0), frames.mean(0), atol=0.1, rtol=0)
        torch.testing.assert_close(drawn.std(0), frames.std(0), atol=0.1, rtol=0.05)


def test_a_mixture_refuses_what_it_cannot_fit(parts: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="5 components of 3 frames"):
        parts.mixtures.fit_mixture(torch.zeros(3, 2), 5, generator=seeded())
    with pytest.raises(ValueError, match="finite"):
        parts.mixtures.fit_mixture(torch.full((3, 2), torch.nan), 1, generator=seeded())
    # Frames all alike leave components without any.
    alike = parts.mixtures.fit_mixture(torch.ones(8, 2), 3, generator=seeded())
    assert alike.log_prob(torch.ones(1, 2)).isfinite().all()


def test_factor_models_are_the_gaussians_they_say(parts: SimpleNamespace) -> None:
    frames = curved(300, 0)
    for model in (
        parts.factors.fit_ppca(frames, 2),
        parts.factors.fit_factor_analysis(frames, 2),
    ):
        covariance = model.loadings @ model.loadings.T + model.noise.diag()
        expected = MultivariateNormal(model.mean, covariance).log_prob(frames)
        torch.testing.assert_close(model.log_prob(frames), expected)
        # E[z | x] by conditioning the joint Gaussian of z and x.
        read = model.loadings.T @ torch.linalg.inv(covariance)
        torch.testing.assert_close(model.posterior_mean(frames), (frames - model.mean) @ read.T)
        drawn = model.sample(20_000, seeded(1))
        torch.testing.assert_close(drawn.T.cov(), covariance, atol=0.03, rtol=0.05)


def test_ppca_is_the_maximum_that_scikit_learn_knows(parts: SimpleNamespace) -> None:
    reference = pytest.importorskip("sklearn.decomposition")
    frames = curved(300, 0)
    ours = parts.factors.fit_ppca(frames, 2)
    theirs = reference.PCA(2).fit(frames.numpy())
    # They divide by n - 1.
    assert float(ours.log_prob(frames).mean()) == pytest.approx(
        theirs.score(frames.numpy()), abs=1e-4
    )
    assert float(ours.log_prob(frames).mean()) >= theirs.score(frames.numpy())


def test_factor_analysis_climbs_as_high_as_scikit_learn(parts: SimpleNamespace) -> None:
    reference = pytest.importorskip("sklearn.decomposition")
    frames = curved(300, 0) * torch.tensor([1, 2, 0.5, 1, 3, 1])
    model = parts.factors.fit_factor_analysis(frames, 2, tolerance=1e-9, iterations=5000)
    score = float(model.log_prob(frames).mean())
    theirs = reference.FactorAnalysis(2, tol=1e-8, max_iter=5000).fit(frames.numpy())
    assert score > theirs.score(frames.numpy()) - 1e-4
    ppca = float(parts.factors.fit_ppca(frames, 2).log_prob(frames).mean())
    assert score > ppca
    covariance = frames.T.cov(correction=0)
    assert parts.factors.mean_log_prob(model, covariance) == pytest.approx(score)
    scores = [
        float(parts.factors.fit_factor_analysis(frames, 2, iterations=n).log_prob(frames).mean())
        for n in (0, 1, 2, 5, 20)
    ]
    assert scores == sorted(scores)


@pytest.mark.parametrize("factors", [0, 6])
def test_factor_models_need_fewer_factors_than_dimensions(
    parts: SimpleNamespace, factors: int
) -> None:
    with pytest.raises(ValueError, match=f"{factors} factors of 6 dimensions"):
        parts.factors.fit_ppca(curved(20, 0), factors)
