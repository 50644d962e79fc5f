"""Autoencoders of frames: bounds against the exact density, and adversaries that match a prior."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from history import curved, history, seeded


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    with history("factors", "frame_vae") as modules:
        yield modules


def test_a_linear_vae_comes_near_ppca_from_below(parts: SimpleNamespace) -> None:
    frames = curved(1000, 0)
    best = float(parts.factors.fit_ppca(frames, 2).log_prob(frames).mean())
    vae = parts.frame_vae.FrameVAE(6, 2, (), seeded(), one_noise=True).double()
    parts.frame_vae.fit_vae(vae, frames, steps=500, rate=2e-2, generator=seeded(1))
    layer = vae.decoder[0]
    noise = vae.log_noise.exp().expand(6)
    # Its own density is a Gaussian's too: the bound is under it, and it under the best.
    model = parts.factors.FactorModel(layer.weight.detach(), layer.bias.detach(), noise.detach())
    own = float(model.log_prob(frames).mean())
    bound = float(vae.importance_bound(frames, 500, seeded(2)).mean())
    assert bound < own + 0.005 and own <= best
    assert best - 0.2 < bound <= best


def test_the_bound_rises_with_the_samples(parts: SimpleNamespace) -> None:
    frames = curved(1000, 0).float()
    vae = parts.frame_vae.FrameVAE(6, 3, (16,), seeded())
    parts.frame_vae.fit_vae(vae, frames, steps=150, rate=1e-2, generator=seeded(1))
    elbo = vae.elbo(frames, seeded(2)).detach().double().mean()
    bounds = [vae.importance_bound(frames, k, seeded(k)).mean() for k in (1, 5, 25, 125)]
    assert float(bounds[0]) == pytest.approx(float(elbo), abs=0.1)
    assert bounds == sorted(bounds) and float(bounds[-1] - bounds[0]) > 0.05
    # Steps of five times the samples gain less and less.
    assert bounds[3] - bounds[2] < bounds[1] - bounds[0]


def test_the_bound_is_that_of_its_parts(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = curved(30, 0)
    vae = parts.frame_vae.FrameVAE(6, 2, (8,), seeded()).double()
    whole = vae.importance_bound(frames, 4000, seeded(1))
    # In pieces: the same up to the luck of other draws.
    monkeypatch.setattr(parts.frame_vae, "ROWS", 40_000)
    torch.testing.assert_close(
        vae.importance_bound(frames, 4000, seeded(2)), whole, atol=0.05, rtol=0
    )
    # By hand, a grid over z: p(x) is the integral of p(x | z) p(z).
    line = torch.linspace(-6, 6, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    prior = torch.distributions.Normal(0, 1).log_prob(grid).sum(1)
    with torch.no_grad():
        logs = [vae.log_likelihood(row.expand(len(grid), -1), grid) + prior for row in frames[:5]]
    area = 2 * torch.log(line[1] - line[0])
    exact = torch.stack([log.logsumexp(0) for log in logs]) + area
    torch.testing.assert_close(whole[:5], exact, atol=0.05, rtol=0)


def test_the_weights_that_other_frames_like_best_are_kept(parts: SimpleNamespace) -> None:
    vae = parts.frame_vae.FrameVAE(6, 2, (), seeded())
    tuning = torch.zeros(3, 6)
    best = parts.frame_vae.Best(vae, lambda x, _: x[:, 0] - (vae.log_noise[0] - 5) ** 2, tuning, 40)
    for step in range(1, 41):
        with torch.no_grad():
            vae.log_noise.fill_(0.4 * step)
        best.look(step)
    best.restore()
    # It looks at every second step of 40: the twelfth is nearest.
    torch.testing.assert_close(vae.log_noise.detach(), torch.full((6,), 4.8))
    frames = curved(50, 0).float()
    parts.frame_vae.fit_vae(vae, frames, steps=4, generator=seeded(), tuning=frames)
    parts.frame_vae.fit_aae(vae, frames, steps=4, width=8, generator=seeded(), tuning=frames)


def test_a_bent_decoder_beats_a_linear_one(parts: SimpleNamespace) -> None:
    frames, held_out = curved(2000, 0).float(), curved(500, 1).float()
    linear = float(parts.factors.fit_ppca(frames, 1).log_prob(held_out).mean())
    vae = parts.frame_vae.FrameVAE(6, 1, (32,), seeded())
    parts.frame_vae.fit_vae(vae, frames, steps=250, rate=1e-2, generator=seeded(1))
    assert float(vae.importance_bound(held_out, 100, seeded(2)).mean()) > linear + 0.5
    assert vae.sample(7, seeded()).shape == (7, 6)


def test_an_adversary_brings_z_to_the_prior(parts: SimpleNamespace) -> None:
    frames = curved(2000, 0).float()
    model = parts.frame_vae.FrameVAE(6, 1, (32,), seeded())
    parts.frame_vae.fit_aae(model, frames, steps=250, rate=5e-3, width=32, generator=seeded(1))
    with torch.no_grad():
        z, _ = model.encode(frames)
        error = (model.decoder(z) - frames).square().mean()
    assert abs(float(z.mean())) < 0.3 and float(z.std()) == pytest.approx(1, abs=0.3)
    assert float(error) < 0.3 * float(frames.var(0).mean())
    # An encoder fitted afterwards knows the density that the decoder has.
    before = float(model.importance_bound(frames, 10, seeded(2)).mean())
    decoder = [p.clone() for p in (*model.decoder.parameters(), model.log_noise)]
    parts.frame_vae.fit_vae(model, frames, steps=100, encoder_alone=True, generator=seeded(3))
    assert float(model.importance_bound(frames, 10, seeded(2)).mean()) > before
    after = (*model.decoder.parameters(), model.log_noise)
    assert all(torch.equal(a, b) for a, b in zip(after, decoder, strict=True))
