"""What every registered part of a model must do, found by its registry."""

import math

import pytest
import torch

from audiovae.config import AudioConfig, Config, ModelConfig, VocoderConfig
from audiovae.config_files import load_config, preset_names
from audiovae.config_model import WaveNetConfig
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.decoder import DECODERS
from audiovae.model.encoder import ENCODERS
from audiovae.model.vocoders import VOCODERS, make_vocoder
from audiovae.tables import from_dict, to_dict
from audiovae.training.likelihood import make_likelihood

AUDIO = AudioConfig(sample_rate=16_000, n_fft=512, hop_length=128, n_mels=40)
WAVENET = WaveNetConfig(residual=8, skip=8, layers=4, cycle=2)
SMALL = dict(encoder_width=24, encoder_blocks=(1, 1), decoder_width=16, decoder_blocks=(1, 1))
VARIANTS = [
    (features, share, encoder, decoder)
    for encoder in ENCODERS
    for decoder in DECODERS
    for share in ("none", "trunk", "film")
    for features in ("logmel", "waveform")
]


def build(features="logmel", share="none", encoder="convnext", decoder="convnext"):
    audio = from_dict(AudioConfig, to_dict(AUDIO) | {"features": features})
    model = ModelConfig(encoder=encoder, decoder=decoder, share=share, latent_dim=6, **SMALL)
    vocoder = VocoderConfig(width=16, blocks=1)
    config = Config(audio=audio, model=model, vocoder=vocoder, wavenet=WAVENET)
    torch.manual_seed(0)
    return AudioVAE(config, ["a", "b.c"])


@pytest.fixture(params=VARIANTS, ids="-".join)
def model(request):
    return build(*request.param)


def test_any_length_keeps_its_length(model):
    model.eval()
    for samples in (1, 127, 128, 2_000, 5_001):
        audio = torch.randn(2, samples) * 0.1
        assert model.transfer(audio, "a").shape == audio.shape
        frames = math.ceil(math.ceil(samples / 128) / 2)
        assert model.encode(audio).mean.shape == (2, 6, frames)


def test_gradients_reach_every_parameter(model):
    audio = torch.randn(2, 8_192) * 0.1
    output = model({"a": audio, "b.c": audio})
    likelihood = make_likelihood(model.config)
    target, made = likelihood.target(audio), output.reconstruction
    loss = sum(likelihood.score(model, d, made[d], target, 0)[0] for d in model.domains)
    loss = loss + output.posterior.kl().mean()
    if model.config.voiced:
        told = [model.tell(output.hidden[d], output.reconstruction[d], d) for d in model.domains]
        loss = loss + sum(part.square().mean() for parts in told for part in parts)
    loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_rows_may_be_zero(model):
    output = model({"a": torch.randn(2, 2_048), "b.c": torch.zeros(0, 2_048)})
    assert len(output.z) == 2 and output.reconstruction["b.c"].shape[0] == 0


def test_a_row_of_a_batch_equals_a_batch_of_one(model):
    model.eval()
    audio = torch.randn(3, 4_000) * 0.1
    with torch.no_grad():
        together = model.decode(model.encode(audio).mean, "b.c")
        alone = torch.cat([model.decode(model.encode(row[None]).mean, "b.c") for row in audio])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_save_and_load_are_equal(model, tmp_path):
    model.eval()
    audio = torch.randn(1, 3_000) * 0.1
    back = AudioVAE.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert back.domains == model.domains and back.config == model.config
    torch.testing.assert_close(back.transfer(audio, "b.c"), model.transfer(audio, "b.c"))


def test_seeded_models_are_equal():
    one, two = build().state_dict(), build().state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", VOCODERS)
def test_vocoders_keep_frames_and_silence(name):
    config = build().config
    vocoder = VOCODERS[name](config).eval()
    with torch.no_grad():
        for frames in (4, 33):
            logmel = torch.full((2, 40, frames), math.log(config.audio.log_floor))
            sound = vocoder(logmel)
            assert sound.shape == (2, frames * 128)
            assert sound.abs().max() < 1e-3


def test_chunks_of_a_long_input_equal_the_whole():
    model = build()
    model.vocoder = make_vocoder(model.config)
    model.eval()
    halo, unit = model.context_samples, model.config.latent_hop
    audio = torch.randn(1, 4 * halo + 40 * unit) * 0.1
    whole = model.transfer(audio, "a")
    start, end = 2 * halo, 2 * halo + 20 * unit
    part = model.transfer(audio[:, start - halo : end + halo], "a")[:, halo : halo + end - start]
    torch.testing.assert_close(part, whole[:, start:end], atol=1e-5, rtol=1e-5)


def test_context_is_no_larger_than_needed_by_a_magnitude():
    model = build()
    model.vocoder = make_vocoder(model.config)
    model.eval()
    halo, unit = model.context_samples, model.config.latent_hop
    audio = torch.randn(1, 2 * halo + 2 * unit) * 0.1
    changed = audio.clone()
    changed[:, halo] += 0.5
    difference = (model.transfer(changed, "a") - model.transfer(audio, "a")).abs()[0]
    reached = difference.nonzero().squeeze(1)
    assert halo - reached.min() <= halo and reached.max() - halo <= halo
    assert reached.max() - reached.min() > unit


@pytest.mark.parametrize("storage, error", [("bfloat16", 0.02), ("int8", 0.05)])
def test_small_storage_stays_close(storage, error, tmp_path, monkeypatch):
    monkeypatch.setattr("audiovae.model.weights.QUANTISE_FROM", 1)
    model = build().eval()
    audio = torch.randn(1, 4_000) * 0.1
    back = AudioVAE.from_pretrained(model.save_pretrained(tmp_path / "m", storage=storage))
    z, y = model.encode(audio).mean.detach(), back.encode(audio).mean.detach()
    assert 0 < float((z - y).norm() / z.norm()) < error


def test_an_unknown_domain_names_those_there_are():
    with pytest.raises(UserError, match=r"'x'.*a, b\.c"):
        build().decode(torch.zeros(1, 6, 4), "x")


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_survive_json(name):
    config = load_config(name)
    assert from_dict(Config, to_dict(config)) == config
