"""The objective against independent references and small cases done by hand."""

import math

import pytest
import torch
from torch.distributions import Laplace, Normal, kl_divergence

from audiovae.config import AudioConfig, ObjectiveConfig
from audiovae.errors import ConfigError
from audiovae.model.critics import mmd
from audiovae.model.latent import DiagonalGaussian
from audiovae.training.objective import (
    SpectralLoss,
    active_units,
    confusion_bound,
    disagreement,
    kl_by_dimension,
    kl_term,
    negative_log_likelihood,
    total,
    weights_at,
)

RNG = torch.Generator().manual_seed(1)


def draw(*shape):
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


@pytest.mark.parametrize("likelihood, family", [("laplace", Laplace), ("gaussian", Normal)])
def test_likelihood_equals_torch_distributions(likelihood, family):
    target, location, scale = draw(2, 5, 7), draw(2, 5, 7), draw(5).exp()
    wanted = -family(location, scale[:, None]).log_prob(target).sum(1)
    mine = negative_log_likelihood(target, location, scale, likelihood)
    torch.testing.assert_close(mine, wanted)


def test_kl_equals_torch_distributions_and_is_counted_per_feature_frame():
    posterior = DiagonalGaussian(draw(3, 4, 6), draw(3, 4, 6))
    wanted = kl_divergence(
        Normal(posterior.mean, posterior.std), Normal(torch.zeros(1).double(), 1.0)
    )
    torch.testing.assert_close(posterior.kl(), wanted)
    by_dimension = kl_by_dimension([posterior])
    torch.testing.assert_close(by_dimension, wanted.mean(dim=(0, 2)))
    torch.testing.assert_close(kl_term(by_dimension, 0.0, 2), wanted.sum(1).mean() / 2)


def test_free_bits_leave_small_dimensions_without_a_gradient():
    mean = torch.full((1, 2, 1), 0.1)
    mean[0, 1] = 3.0
    mean.requires_grad_()
    posterior = DiagonalGaussian(mean, torch.zeros(1, 2, 1))
    kl_term(kl_by_dimension([posterior]), 0.5, 1).backward()
    assert mean.grad[0, 0, 0] == 0 and mean.grad[0, 1, 0] == 3.0


def test_the_sum_is_the_weighted_sum_and_refuses_odd_keys():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert total(terms, {"a": 0.5, "b": 2.0}) == 7.0
    with pytest.raises(ConfigError, match="c"):
        total(terms, {"a": 1.0, "b": 1.0, "c": 1.0})
    with pytest.raises(ConfigError, match="b"):
        total(terms, {"a": 1.0})


def test_weights_ramp():
    config = ObjectiveConfig(beta=2.0, beta_warmup=0.5, confusion_weight=10.0, confusion_ramp=0.1)
    assert weights_at(config, 0, 100, False) == {"reconstruction": 1, "kl": 0, "confusion": 0}
    assert weights_at(config, 25, 100, False)["kl"] == 1.0
    assert weights_at(config, 99, 100, False) == {"reconstruction": 1, "kl": 2, "confusion": 10}
    assert "links" in weights_at(config, 0, 100, True)


def test_confusion_is_bounded():
    labels = torch.tensor([[0], [1]])
    right, wrong = torch.tensor([[[9.0], [-9.0]], [[-9.0], [9.0]]]), None
    wrong = -right
    assert float(confusion_bound(right, labels)) == pytest.approx(math.log(2), abs=1e-4)
    assert float(confusion_bound(wrong, labels)) == 0.0
    assert float(confusion_bound(torch.zeros(2, 2, 1), labels)) == pytest.approx(0, abs=1e-6)


def test_disagreement_is_what_one_draw_tells_of_which_render_it_was():
    moments = torch.tensor([0, 1, 0, 1])
    mean, logvar = draw(4, 3, 5), 0.3 * draw(4, 3, 5)
    mean[2:], logvar[2:] = mean[:2], logvar[:2]
    equal = disagreement(DiagonalGaussian(mean, logvar), moments)
    assert float(equal) == pytest.approx(0, abs=1e-5)
    mean[2] += 2.0
    apart = DiagonalGaussian(mean, logvar)
    assert float(disagreement(apart, torch.arange(4))) == pytest.approx(0, abs=1e-5)
    # Two renders, one number: what a draw tells of them is known by sampling, and bounded.
    centres = torch.tensor([0.0, 1.5], dtype=torch.float64)
    x = centres[:, None] + draw(2, 200_000)
    logs = -0.5 * (x - centres[:, None, None]).square()
    told = (logs[[0, 1], [0, 1]] - torch.logsumexp(logs, 0) + math.log(2)).mean()
    pair = DiagonalGaussian(centres.view(2, 1, 1), torch.zeros(2, 1, 1))
    bound = disagreement(pair, torch.tensor([0, 0]))
    assert float(told) < float(bound) < 1.3 * float(told)


def test_mmd_tells_shifted_from_equal_samples():
    same = mmd([draw(200, 3), draw(200, 3)])
    apart = mmd([draw(200, 3), draw(200, 3) + 2])
    assert abs(float(same)) < 0.02 < 0.2 < float(apart)


def test_active_units_counts_what_varies():
    means = torch.zeros(100, 3)
    means[:, 1] = torch.linspace(-1, 1, 100)
    assert active_units(means) == 1


def test_spectral_loss_is_zero_for_equals_and_falls_towards_them():
    loss = SpectralLoss(AudioConfig())
    audio = torch.randn(1, 22_050, generator=torch.Generator().manual_seed(0)) * 0.1
    assert all(float(v) < 1e-6 for v in loss(audio, audio).values())
    near, far = loss(audio * 0.9, audio), loss(audio * 0.5, audio)
    assert all(near[k] < far[k] for k in near)
    # Away from the floor, half the amplitude is log 2 everywhere.
    assert float(far["mel"]) == pytest.approx(math.log(2), abs=0.02)
