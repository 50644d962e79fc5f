"""Priors: densities, draws, divergences; and what holds z to them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from conftest import make_model, tiny_config
from test_training import config as training_config
from test_training import store, write_music  # noqa: F401  (a fixture)
from torch import Tensor

from audiovae.apps.generate import GenerateSettings, generate_audio
from audiovae.config import Config
from audiovae.errors import ConfigError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.priors import PRIORS, MixturePrior, StandardPrior, divergence, log_normal
from audiovae.training.trainer import train

MIXED = [name for name, kind in PRIORS.items() if not kind.exact]


def with_prior(name: str, components: int = 3) -> Config:
    config = tiny_config()
    model = dataclasses.replace(config.model, prior=name, prior_components=components)  # type: ignore[arg-type]
    return dataclasses.replace(config, model=model)


def model_of(name: str, components: int = 3) -> AudioVAE:
    torch.manual_seed(0)
    return AudioVAE(with_prior(name, components), ["flute", "piano"]).eval()


def posterior(frames: int = 4000) -> DiagonalGaussian:
    draw = torch.Generator().manual_seed(1)
    mean = torch.randn(1, with_prior("standard").model.latent_dim, frames, generator=draw)
    return DiagonalGaussian(mean, torch.full_like(mean, -1.0))


@torch.no_grad()
@pytest.mark.parametrize("name", PRIORS)
def test_draws_have_the_density_that_is_told(name: str) -> None:
    model = model_of(name)
    size, many = model.config.model.latent_dim, 20_000
    model.encoder.head.bias[size:] = 0.0  # Posteriors begin narrow: too narrow to be covered.
    draw = torch.Generator().manual_seed(2)
    noise, chance = torch.randn(many, size, generator=draw), torch.rand(many, generator=draw)
    z = model.prior.sample(noise, chance, model.encoder)
    # A density over another that covers it, on draws of that one, is 1 on average.
    wide = 1.5 * z.std(0)
    other = z.mean(0) + wide * torch.randn(many, size, generator=draw)
    cover = log_normal(other, z.mean(0), 2 * wide.log()).sum(1)
    told = model.prior.log_prob(other.T[None], model.encoder)[0]
    assert float((told - cover).exp().mean()) == pytest.approx(1.0, abs=0.1)
    # And its mean logarithm on its own draws is no less than that of the best single Gaussian.
    alone = log_normal(z, z.mean(0), z.var(0).log()).sum(1).mean()
    assert float(model.prior.log_prob(z.T[None], model.encoder).mean() - alone) > -0.05


@torch.no_grad()
def test_a_mixture_of_one_standard_component_is_the_standard_prior() -> None:
    model = model_of("mixture", 1)
    assert isinstance(model.prior, MixturePrior)
    model.prior.means.zero_()
    told, z = posterior(), None
    z = told.sample(torch.randn(told.mean.shape, generator=torch.Generator().manual_seed(3)))
    standard = StandardPrior(model.config)
    expected = model.prior.log_prob(z, model.encoder)
    torch.testing.assert_close(standard.log_prob(z, model.encoder), expected, atol=1e-3, rtol=0)
    exact = divergence(standard, told, z, model.encoder).mean()
    sampled = divergence(model.prior, told, z, model.encoder).mean()
    # The closed form is the average of what samples say.
    assert float(sampled) == pytest.approx(float(exact), abs=0.05)


@torch.no_grad()
def test_a_vamp_prior_is_the_mean_of_posteriors() -> None:
    model = model_of("vamp", 4)
    weights, means, logvars = model.prior.parts(model.encoder)  # type: ignore[union-attr]
    z = means[2][None, :, None] + 0.1
    parts: list[Tensor] = [
        weight + log_normal(z[0, :, 0], mean, logvar).sum()
        for weight, mean, logvar in zip(weights, means, logvars, strict=True)
    ]
    wanted = torch.stack(parts).logsumexp(0)
    found = model.prior.log_prob(z, model.encoder)[0, 0]
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", MIXED)
def test_a_prior_learns_and_is_saved(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = model_of(name)
    told = DiagonalGaussian(2 + posterior(50).mean, posterior(50).logvar)
    optimiser = torch.optim.Adam(model.prior.parameters(), 0.05)
    lost = []
    for _ in range(40):
        loss = divergence(model.prior, told, told.mean, model.encoder).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        lost.append(float(loss.detach()))
    assert lost[-1] < lost[0] - 1
    back = AudioVAE.from_pretrained(model.save_pretrained(tmp_path / "model"))
    with torch.no_grad():
        one, other = (m.prior.log_prob(told.mean, m.encoder) for m in (model, back))
    torch.testing.assert_close(one, other)


def test_components_sound_different_and_are_bounded() -> None:
    model = model_of("mixture")
    model.vocoder = make_model().vocoder
    settings = [GenerateSettings(0.3, seed=1, precision="fp32", component=k) for k in (0, 1)]
    one, other = (generate_audio(model, "flute", s) for s in settings)
    assert one.shape == other.shape and np.abs(one - other).max() > 1e-3
    with pytest.raises(
        UserError, match=r"component is 3; this model's prior has components 0 to 2"
    ):
        generate_audio(model, "flute", GenerateSettings(0.3, component=3))
    with pytest.raises(UserError, match=r"component is 1; .* has component 0 alone"):
        generate_audio(make_model(), "flute", GenerateSettings(0.3, component=1))


@pytest.mark.parametrize(
    ("match", "prior", "kind"),
    [
        ("adversarial", "standard", "deterministic"),
        ("adversarial", "mixture", "gaussian"),
        ("mmd", "vamp", "gaussian"),
        ("kl", "mixture", "gaussian"),
        ("kl", "vamp", "gaussian"),
    ],
)
def test_each_kind_trains_and_resumes(match, prior, kind, store, tmp_path) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    settings = training_config(
        model={"prior": prior, "prior_components": 3, "posterior": kind},
        objective={"match": match, "beta_warmup": 0.0},
    )
    train(store, tmp_path / "run", settings, domains=["one", "two"], steps=3, progress=False)
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert f'"{match}": ' in text and '"elbo": ' in text
    assert ('"match_accuracy": ' in text) == (match == "adversarial")
    model = AudioVAE.from_pretrained(tmp_path / "run" / "checkpoint")
    assert model.config.model.prior == prior
    if kind == "deterministic":
        told = model.encode(torch.randn(1, 4000))
        assert float(told.std.max()) == pytest.approx(math.exp(-6.0))


def test_a_certain_posterior_has_no_divergence() -> None:
    with pytest.raises(ConfigError, match="a deterministic posterior has no KL divergence"):
        training_config(model={"posterior": "deterministic"})
