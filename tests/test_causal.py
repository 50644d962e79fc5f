"""A causal model waits for a window and for nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, noise_samples, tiny_config

from audiovae.apps.transfer import TransferSettings, transfer_audio
from audiovae.audio.features import mel_filters
from audiovae.config import Config
from audiovae.config_files import load_config
from audiovae.errors import ConfigError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.eight_bits import hear_spans, hearing, in_eight_bits
from audiovae.model.precision import has_int8
from audiovae.model.vocoders import make_vocoder


def causal_config(stride: int) -> Config:
    config = tiny_config()
    return dataclasses.replace(
        config,
        audio=dataclasses.replace(config.audio, causal=True),
        model=dataclasses.replace(config.model, latent_stride=stride),
        vocoder=dataclasses.replace(config.vocoder, refinements=0),
    )


def causal_model(stride: int = 1) -> AudioVAE:
    config = causal_config(stride)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = AudioVAE(config, ["flute", "piano"])
        model.vocoder = make_vocoder(config)
        # Blocks begin almost as nothing: let them be heard.
        for name, parameter in model.named_parameters():
            if name.endswith(".scale"):
                torch.nn.init.constant_(parameter, 1.0)
    return model.eval()


def first_change(model: AudioVAE, at: int) -> int:
    """Return how long before a change of the input at sample `at` the output changes."""
    audio = torch.from_numpy(noise_samples(2.0)) * 0.2
    other = audio.clone()
    other[:, at:] = -0.7 * other[:, at:]
    one, two = (model.transfer(x, "flute")[0] for x in (audio, other))
    return at - int((one - two).abs().gt(1e-7).nonzero()[0])


@pytest.mark.parametrize("stride", [1, 2])
def test_latency_is_what_is_said(stride: int) -> None:
    model = causal_model(stride)
    audio = model.config.audio
    assert model.latency_samples == audio.n_fft + (stride - 1) * audio.hop_length
    waited = [first_change(model, at) for at in range(9_000, 9_000 + 2 * audio.hop_length, 37)]
    assert model.latency_samples - audio.hop_length < max(waited) <= model.latency_samples


@pytest.mark.skipif(not has_int8(torch.device("cpu")), reason="this processor multiplies no bytes")
def test_a_causal_model_in_8_bits_looks_no_further() -> None:
    model, audio = causal_model(), torch.from_numpy(noise_samples(1.0)) * 0.2
    hear_spans(model, audio, model.domains)
    assert model.vocoder is not None
    with hearing(model.vocoder), torch.no_grad():
        model.vocoder(model.features(audio))
    assert 0 < first_change(in_eight_bits(model), 9_001) <= model.latency_samples


@pytest.mark.parametrize("seconds", [0.2, 0.9])
def test_pieces_equal_the_whole(seconds: float) -> None:
    model, audio = causal_model(), noise_samples(2.0)[0] * 0.2
    audio[8_000:20_000] = 0
    whole, pieces = (
        transfer_audio(
            model, audio, TINY_RATE, "flute", TransferSettings(precision="fp32", piece_seconds=s)
        )
        for s in (None, seconds)
    )
    np.testing.assert_allclose(pieces, whole, atol=1e-4)
    assert np.abs(whole[18_000:19_900]).max() == 0 < np.abs(whole[20_500:]).max()


def test_the_preset() -> None:
    config = load_config("causal")
    model = AudioVAE(config, list("abcdefgh"))
    model.vocoder = make_vocoder(config)
    assert model.latency_samples / config.audio.sample_rate <= 0.025
    assert sum(p.numel() for p in model.parameters()) < 7.9e6  # 8 MB in 8 bits
    assert bool((mel_filters(config.audio).sum(dim=1) > 0).all())


def test_what_looks_ahead_is_refused() -> None:
    config = causal_config(1)
    for change in ({"refinements": 1}, {"vocoder": "griffin-lim"}):
        with pytest.raises(ConfigError, match=r"causal needs vocoder.refinements = 0"):
            dataclasses.replace(config, vocoder=dataclasses.replace(config.vocoder, **change))
