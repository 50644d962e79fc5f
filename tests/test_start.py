"""A training that starts from other weights takes over what fits, and says what doesn't."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest
import torch
from conftest import make_model

from audiovae.errors import ConfigError
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.start import start_model


def sharing(model: AudioVAE, share: Literal["none", "trunk", "film"]) -> AudioVAE:
    settings = dataclasses.replace(model.config.model, share=share)
    config = dataclasses.replace(model.config, model=settings)
    return AudioVAE(config, model.domains, model.statistics).eval()


@pytest.mark.parametrize("share", ["none", "trunk", "film"])
def test_decoders_start_from_the_only_one_whatever_they_share(
    share: Literal["none", "trunk", "film"], tmp_path: Path
) -> None:
    pooled = AudioVAE(make_model().config, ["all"]).eval()
    pooled.save_pretrained(tmp_path / "pooled")
    config = sharing(pooled, share).config
    started = start_model(config, ["a", "b"], pooled.statistics, tmp_path / "pooled").eval()
    z = torch.randn(1, config.model.latent_dim, 6)
    for domain in "ab":
        torch.testing.assert_close(started.decode(z, domain), pooled.decode(z, "all"))
    audio = 0.1 * torch.randn(1, 8192)
    assert torch.equal(started.encode(audio).mean, pooled.encode(audio).mean)


def test_what_is_shared_cannot_start_decoders_of_their_own(tmp_path: Path) -> None:
    model = sharing(make_model(vocoder=False), "film")
    model.save_pretrained(tmp_path / "shared")
    config = sharing(model, "none").config
    with pytest.raises(ConfigError, match="other model settings"):
        start_model(config, model.domains, model.statistics, tmp_path / "shared")


def test_a_prior_goes_on_or_begins_anew(tmp_path: Path) -> None:
    plain = make_model(vocoder=False).config
    mixture = dataclasses.replace(
        plain, model=dataclasses.replace(plain.model, prior="mixture", prior_components=3)
    )
    old = AudioVAE(mixture, ["flute"]).eval()
    with torch.no_grad():
        for parameter in old.prior.parameters():
            parameter.normal_()
    old.save_pretrained(tmp_path / "old")
    audio = 0.1 * torch.randn(1, 8192)
    heard = old.encode(audio).mean
    for changes, same in (
        ({}, True),
        ({"prior_components": 4}, False),
        ({"prior": "vamp"}, False),
        ({"prior": "standard"}, False),
    ):
        config = dataclasses.replace(mixture, model=dataclasses.replace(mixture.model, **changes))
        started = start_model(config, ["flute"], old.statistics, tmp_path / "old").eval()
        assert torch.equal(started.encode(audio).mean, heard)
        theirs, own = old.prior.state_dict(), started.prior.state_dict()
        kept = list(own) == list(theirs) and all(torch.equal(own[n], theirs[n]) for n in own)
        assert kept == same, changes
