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
