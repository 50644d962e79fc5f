"""The encoder as a module, and as HEAR and X-ARES ask for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, noise_samples

from audiovae import hear
from audiovae.apps.embed import Encoder
from audiovae.apps.embed_module import AudioEncoder
from audiovae.errors import AudioError
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def module(tiny_checkpoint: Path) -> AudioEncoder:
    return hear.load_model(str(tiny_checkpoint))


def batch(rows: int = 3, seconds: float = 0.5) -> torch.Tensor:
    return torch.from_numpy(noise_samples(seconds, rows))


def test_it_says_what_embed_says(module: AudioEncoder) -> None:
    encoder = Encoder(module.model, precision="fp32")
    with torch.no_grad():
        told = module(batch())
    for row, sound in zip(told, batch(), strict=True):
        assert np.abs(row.numpy() - encoder.embed(sound.numpy(), TINY_RATE).embeddings).max() < 1e-4


def test_gradients_reach_the_sound_and_the_encoder(tiny_checkpoint: Path) -> None:
    module = AudioEncoder(tiny_checkpoint, device="cpu")
    audio = batch().requires_grad_()
    module(audio).square().sum().backward()
    assert audio.grad is not None and audio.grad.abs().max() > 0
    assert all(p.grad is not None for p in module.model.encoder.parameters() if p.requires_grad)


def test_timestamps_are_milliseconds_at_the_middle_of_frames(module: AudioEncoder) -> None:
    embeddings, times = hear.get_timestamp_embeddings(batch(6), module)
    assert embeddings.shape[:2] == times.shape and embeddings.dtype == torch.float32
    assert embeddings.shape[2] == module.timestamp_embedding_size
    assert times[5, 0] == pytest.approx(module.hop_size_in_ms / 2)
    assert torch.allclose(times.diff(), torch.tensor(module.hop_size_in_ms), atol=1e-3)
    seconds = Encoder(module.model).embed(batch()[0].numpy(), TINY_RATE).timestamps
    assert times[0].numpy() / 1000 == pytest.approx(seconds)


def test_a_scene_is_what_is_played_and_on_what(module: AudioEncoder) -> None:
    scenes = hear.get_scene_embeddings(batch(6), module)
    assert scenes.shape == (6, module.scene_embedding_size) and scenes.dtype == torch.float32
    both = Encoder(module.model, precision="fp32", kind="both")
    assert both.dimension == module.scene_embedding_size
    expected = both.embed(batch()[1].numpy(), TINY_RATE).embeddings
    assert scenes[1].numpy() == pytest.approx(expected, abs=1e-3)


def test_what_is_no_batch(module: AudioEncoder) -> None:
    with pytest.raises(AudioError, match=r"\(sound, sample\)"):
        hear.get_scene_embeddings(torch.zeros(100), module)


def test_the_checker_of_x_ares(module: AudioEncoder) -> None:
    checker = pytest.importorskip("xares.audio_encoder_checker")
    assert checker.check_audio_encoder(module)


def test_a_model_is_shared_not_copied(tiny_model: AudioVAE) -> None:
    assert AudioEncoder(tiny_model).model is tiny_model
