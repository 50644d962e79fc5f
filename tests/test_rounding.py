"""Means are handed on in steps that decoders were trained to tell apart."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, make_model, tone_samples
from hypothesis import given
from hypothesis import strategies as st

from audiovae.errors import CheckpointError, ConfigError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import GRAIN, SHARPNESS, soft_round
from audiovae.training.start import hear_clips, hear_noise
from audiovae.training.trainer import train


@given(st.floats(-50, 50), st.floats(0.05, 5))
def test_rounding_rises_and_is_never_half_a_step_away(value: float, step: float) -> None:
    steps = torch.tensor(step, dtype=torch.float64)
    x = torch.tensor([value, value + 1e-6 * step], dtype=torch.float64)
    low, high = soft_round(x, steps)
    assert abs(low - value) <= step / 2 + 1e-9
    assert -1e-9 <= high - low <= 1e-6 * step * (SHARPNESS / 2 + 0.01) + 1e-9


def test_what_lies_far_from_the_middle_of_two_steps_is_rounded() -> None:
    steps = torch.tensor(0.5, dtype=torch.float64)
    whole = torch.arange(-20, 20, dtype=torch.float64)
    for beside in (-0.3, -0.1, 0.0, 0.1, 0.3):
        near = soft_round((whole + beside) * 0.5, steps)
        torch.testing.assert_close(near, whole * 0.5, atol=2e-3, rtol=0)


@pytest.fixture
def tiny() -> AudioVAE:
    """A tiny model to change."""
    return make_model()


@torch.no_grad()
def test_encode_rounds_by_the_measured_noise(tiny: AudioVAE, tmp_path: Path) -> None:
    audio = torch.randn(3, 8192, generator=torch.Generator().manual_seed(0)) * 0.1
    free = tiny.encode(audio)
    assert tiny.statistics.noise == () and torch.equal(
        free.mean, tiny.encoder(tiny.read(audio)).mean
    )
    hear_noise(tiny, audio)
    wanted = free.std.square().mean(dim=(0, 2)).sqrt()
    np.testing.assert_allclose(tiny.statistics.noise, wanted.detach(), atol=1e-4)
    held = tiny.encode(audio)
    assert torch.equal(held.logvar, free.logvar)
    step = GRAIN * torch.tensor(tiny.statistics.noise)[:, None]
    torch.testing.assert_close(held.mean, soft_round(free.mean, step))
    # Training sees means as they are.
    output = tiny({tiny.domains[0]: audio})
    torch.testing.assert_close(output.posterior.mean, free.mean)
    again = AudioVAE.from_pretrained(tiny.save_pretrained(tmp_path / "model"))
    torch.testing.assert_close(again.encode(audio).mean, held.mean)


@pytest.mark.parametrize("noise", [[0.1], "x", [0.0] * 8, [float("nan")] * 8, None])
def test_a_checkpoint_with_wrong_noise_is_refused(
    tiny: AudioVAE, tmp_path: Path, noise: object
) -> None:
    folder = tiny.save_pretrained(tmp_path / "model")
    header = json.loads((folder / "config.json").read_text())
    header["statistics"]["noise"] = noise
    (folder / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="statistics must hold"):
        AudioVAE.from_pretrained(folder)


def test_decoders_settle_on_rounded_means_and_the_encoder_stays(tmp_path: Path) -> None:
    rate, model = TINY_RATE, make_model()
    for domain in model.domains:
        (tmp_path / domain).mkdir()
        noise = 0.1 * np.random.default_rng(list(domain.encode())).standard_normal(4 * rate)
        soundfile.write(tmp_path / domain / "noise.wav", noise, rate)
    settings = dataclasses.replace(model.config.training, settle=True, reader="files")
    config = dataclasses.replace(
        model.config,
        training=settings,
        objective=dataclasses.replace(model.config.objective, confusion="none"),
    )
    with pytest.raises(ConfigError, match="settle leaves the encoder"):
        dataclasses.replace(config, objective=model.config.objective)
    start = model.save_pretrained(tmp_path / "start")
    arguments = {"steps": 2, "init": start, "progress": False}
    with pytest.raises(ConfigError, match="goes on from a trained model"):
        train(tmp_path, tmp_path / "run", config, domains=model.domains, **arguments)
    hear_clips(model, torch.from_numpy(tone_samples()), model.domains, frozen=False)
    model.save_pretrained(start)
    train(tmp_path, tmp_path / "run", config, domains=model.domains, **arguments)
    after = AudioVAE.from_pretrained(tmp_path / "run" / "checkpoint")
    assert after.statistics.noise == model.statistics.noise
    for name, value in after.encoder.state_dict().items():
        assert torch.equal(value, model.encoder.state_dict()[name])
    domain = model.domains[0]
    old, new = (m.decoder(domain).state_dict() for m in (model, after))
    assert any(not torch.equal(old[name], new[name]) for name in old if "ceiling" not in name)
    features = model.read(torch.from_numpy(tone_samples()))
    output = after.reconstruct(features, {domain: torch.tensor([0])}, temperature=0)
    torch.testing.assert_close(output.z, model.encode(torch.from_numpy(tone_samples())).mean)


def test_a_checkpoint_from_before_noise_was_measured_loads(tiny: AudioVAE, tmp_path: Path) -> None:
    folder = tiny.save_pretrained(tmp_path / "model")
    header = json.loads((folder / "config.json").read_text())
    del header["statistics"]["noise"]
    (folder / "config.json").write_text(json.dumps(header))
    assert AudioVAE.from_pretrained(folder).latent_noise is None
