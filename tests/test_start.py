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


@pytest.mark.parametrize("kind", ["convnext", "wavenet"])
@pytest.mark.parametrize("share", ["trunk", "film"])
def test_what_is_shared_parts_into_decoders_that_are_the_same(
    share: Literal["trunk", "film"], kind: str, tmp_path: Path
) -> None:
    model = sharing(make_model(vocoder=False, decoder=kind), share)
    with torch.no_grad():
        for domain in model.domains:
            film = model.decoder(domain).film
            if film is not None:
                film += 0.5 * torch.randn_like(film)
    model.save_pretrained(tmp_path / "shared")
    config = sharing(model, "none").config
    started = start_model(config, [*model.domains, "new"], model.statistics, tmp_path / "shared")
    assert started.shared is None
    z = torch.randn(1, config.model.latent_dim, 6)
    made = {domain: started.eval().locate(z, domain)[0] for domain in started.domains}
    for domain in model.domains:
        torch.testing.assert_close(made[domain], model.locate(z, domain)[0])
    assert torch.equal(made["new"], made[model.domains[0]])
    assert share == "trunk" or not torch.allclose(made["flute"], made["piano"])
    if kind == "wavenet":
        theirs, own = model.head("piano").wavenet, started.head("piano").wavenet
        assert own is not started.head("flute").wavenet
        assert all(map(torch.equal, own.state_dict().values(), theirs.state_dict().values()))


def test_decoders_of_their_own_part_no_further(tmp_path: Path) -> None:
    model = sharing(make_model(vocoder=False), "film")
    model.save_pretrained(tmp_path / "shared")
    config = sharing(model, "trunk").config
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
