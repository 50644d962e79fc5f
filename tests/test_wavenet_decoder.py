"""WaveNet decoders in the model: what they are scored on, how they play, what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, make_model, noise_samples, tiny_config

from audiovae.apps.engine import Engine, Voice
from audiovae.apps.export import export_model
from audiovae.apps.generate import GenerateSettings, generate_audio
from audiovae.apps.models import find_model
from audiovae.apps.stream import Stream
from audiovae.apps.transfer import TransferSettings, transfer_audio
from audiovae.config import Config, TrainingConfig
from audiovae.config_model import WaveNetConfig
from audiovae.errors import ConfigError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.decoder import WaveNetHead
from audiovae.model.wavenet import (
    WaveNet,
    WaveNetShape,
    emphasise,
    mu_law_decode,
    mu_law_encode,
)
from audiovae.model.wavenet_sampler import Drawing, Sampler, places
from audiovae.training.likelihood import SampleLikelihood
from audiovae.training.start import start_model

EXACT = TransferSettings(precision="fp32")


@pytest.fixture(scope="module")
def model() -> AudioVAE:
    """A tiny model whose codes depend on each other and on z; tests must not change it."""
    made = make_model(decoder="wavenet")
    with torch.no_grad():
        for domain in made.domains:
            made.head(domain).wavenet.out.weight *= 8
    return made


def share(one: np.ndarray, other: np.ndarray) -> float:
    """Share of samples that are equal: a tie that rounding breaks may change what follows it."""
    assert one.shape == other.shape and one.std() > 1e-3
    return float(np.isclose(one, other, atol=1e-4).mean())


@torch.no_grad()
def test_the_score_is_the_likelihood_of_the_whole_where_it_looks(model: AudioVAE) -> None:
    likelihood, domain = SampleLikelihood(model.config), "piano"
    audio = torch.from_numpy(noise_samples(0.25, channels=3)[:, :3840])
    codes = likelihood.target(audio)
    assert torch.equal(codes, mu_law_encode(audio))
    located, _ = model.locate(model.encode(audio).mean, domain)
    head = model.head(domain)
    assert isinstance(head, WaveNetHead)
    whole = -head.wavenet.log_prob(codes, located).unflatten(1, (-1, 128)).sum(2).mean(0)
    before, scored = model.config.unscored_frames, model.config.scored_frames
    assert before * 128 >= head.wavenet.receptive_field and (before, scored) == (1, 12)
    windows = [whole[first : first + scored].mean() for first in range(before, 31 - scored)]
    seen = set()
    for seed in range(40):
        nats, error = likelihood.score(model, domain, located, codes, seed)
        torch.testing.assert_close(error * 128, nats)
        distances = torch.stack(windows).sub(nats).abs()
        assert float(distances.min()) < 1e-3
        seen.add(int(distances.argmin()))
    assert len(seen) > 10  # all places have their turn


@torch.no_grad()
def test_what_is_given_is_spoilt_in_training_alone(model: AudioVAE) -> None:
    training = dataclasses.replace(model.config.training, jitter=4.0, muted=0.5)
    likelihood = SampleLikelihood(dataclasses.replace(model.config, training=training))
    clean, domain = SampleLikelihood(model.config), "piano"
    codes = clean.target(torch.from_numpy(noise_samples(0.25, channels=3)[:, :3840]))
    located, _ = model.locate(model.encode(mu_law_decode(codes)).mean, domain)

    def nats(of: SampleLikelihood, seed: int) -> float:
        return float(of.score(model, domain, located, codes, seed)[1])

    assert nats(likelihood, 3) == nats(clean, 3)
    try:
        model.train()
        assert nats(likelihood, 3) == nats(likelihood, 3) != nats(clean, 3)
        shape = WaveNetShape(condition=8, hop=128, levels=256)
        many = codes.repeat(40, 1)
        spoilt, other = (likelihood._spoilt(many, shape, seed, 0) for seed in (3, 4))
        assert spoilt is not None and not torch.equal(spoilt, other)
        assert spoilt.min() >= 0 and spoilt.max() <= 255
        silent = (spoilt == shape.silence).long().cumprod(1).sum(1)
        assert 30 < int((silent > 10).sum()) < 90  # half of 120 rows
        assert 0.3 < float(silent[silent > 10].double().mean()) / codes.shape[1] < 0.7
        strength = (spoilt - many)[silent < 10].double().std(1)
        assert strength.min() < 1 < 3 < strength.max() < 4.5
    finally:
        model.eval()


def test_clips_shorter_than_what_a_sample_depends_on_are_refused() -> None:
    long = dataclasses.replace(WaveNetConfig(), layers=24, cycle=12)
    assert long.receptive_field == 2 * 4095 + 1
    with pytest.raises(ConfigError, match=r"clip of 0\.25 s is shorter than the 8191 samples"):
        dataclasses.replace(tiny_config(decoder="wavenet"), wavenet=long)
    dataclasses.replace(tiny_config(), wavenet=long)
    with pytest.raises(ConfigError, match=r"model\.decoder = convnext"):
        settings = TrainingConfig(translated_share=0.5, clip=0.25, scored=0.1)
        dataclasses.replace(tiny_config(decoder="wavenet"), training=settings)


def test_a_seed_says_what_is_drawn(model: AudioVAE) -> None:
    audio = noise_samples(0.5)[0]

    def played(seed: int) -> np.ndarray:
        settings = dataclasses.replace(EXACT, seed=seed)
        return transfer_audio(model, audio, TINY_RATE, "flute", settings)

    assert np.array_equal(played(0), played(0))
    assert share(played(0), played(1)) < 0.5
    drawn = generate_audio(model, "piano", GenerateSettings(seconds=0.3, precision="fp32"))
    assert drawn.shape == (4800,) and drawn.std() > 1e-3


@torch.no_grad()
def test_codes_are_of_emphasised_sound_and_what_is_drawn_is_not(model: AudioVAE) -> None:
    net = model.head("flute").wavenet
    audio = torch.from_numpy(noise_samples(0.25)[:, :3840])
    config = dataclasses.replace(model.config, wavenet=WaveNetConfig(emphasis=0.8))
    assert torch.equal(SampleLikelihood(config).target(audio), mu_law_encode(emphasise(audio, 0.8)))
    other = WaveNet(dataclasses.replace(net.shape, emphasis=0.8))
    other.load_state_dict(net.state_dict())
    condition = torch.randn(2, net.shape.condition, 4)
    played = Drawing([other] * 2, seed=3).push(condition)
    plain = Drawing([net] * 2, seed=3).push(condition)
    torch.testing.assert_close(emphasise(played, 0.8), plain)


def test_the_temperature_is_the_networks_own(model: AudioVAE) -> None:
    net = model.head("flute").wavenet
    cold = WaveNet(dataclasses.replace(net.shape, temperature=0.1))
    cold.load_state_dict(net.state_dict())
    condition, drawn = torch.randn(1, net.shape.condition, 4), places(3, 0, 512)[None]
    codes = Sampler([net]).draw(condition, drawn, temperature=0.1)
    made = Drawing([cold], seed=3).push(condition)
    assert torch.equal(mu_law_decode(codes), made)
    assert not torch.equal(Drawing([net], seed=3).push(condition), made)


def test_pieces_and_streams_equal_the_whole(model: AudioVAE) -> None:
    audio = noise_samples(1.3)[0, :-7]
    whole = transfer_audio(model, audio, TINY_RATE, "flute", EXACT)
    for seconds in (0.2, 0.5):
        pieces = dataclasses.replace(EXACT, piece_seconds=seconds)
        assert share(transfer_audio(model, audio, TINY_RATE, "flute", pieces), whole) > 0.98
    stream = Stream(model, "flute", precision="fp32")
    parts = [stream.push(part) for part in np.array_split(audio, 9)]
    made = np.concatenate([*parts, stream.finish()])[stream.latency_samples :]
    assert share(made, model.transfer(torch.from_numpy(audio[None]), "flute")[0].numpy()) > 0.98


def test_voices_and_channels_are_drawn_together_as_alone(model: AudioVAE) -> None:
    audio = noise_samples(0.6)
    stereo, voices = np.concatenate([audio, audio]), [Voice.of("flute"), Voice.of("piano")]
    together = list(Engine(model, precision="fp32").convert([stereo], voices))
    for number, voice in enumerate(voices):
        made = np.concatenate([sounds[number] for sounds in together], axis=1)
        assert np.array_equal(made[0], made[1])
        (alone,) = zip(*Engine(model, precision="fp32").convert([audio], [voice]), strict=True)
        assert share(made[:1], np.concatenate(alone, axis=1)) > 0.98


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_silence_stays_silent(model: AudioVAE, precision: str) -> None:
    settings = TransferSettings(precision=precision)
    silence = np.zeros(9_000, np.float32)
    assert not transfer_audio(model, silence, TINY_RATE, "flute", settings).any()


def test_what_wavenets_cannot_do_is_refused(model: AudioVAE, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"WaveNet decoders have no blend.*name one domain"):
        transfer_audio(model, np.zeros(99, np.float32), TINY_RATE, {"piano": 1, "flute": 1})
    with pytest.raises(UserError, match="needs a log-mel model with a vocoder"):
        export_model(model, tmp_path / "out")
    assert "its own decoders" in find_model(model.save_pretrained(tmp_path / "model")).note


def test_log_mels_are_a_start(tmp_path: Path) -> None:
    sketch = make_model()
    sketch.save_pretrained(tmp_path / "sketch")

    def started(config: Config) -> AudioVAE:
        return start_model(config, ["flute"], sketch.statistics, tmp_path / "sketch")

    model, old = started(tiny_config(decoder="wavenet")), sketch.decoder("flute").state_dict()
    assert torch.equal(model.encoder.head.weight, sketch.encoder.head.weight)
    kept = [name for name in model.decoder("flute").state_dict() if name in old]
    assert {"trunk.embed.weight", "head.up.split.weight", "head.norm.weight"} <= set(kept)
    assert all(torch.equal(model.decoder("flute").state_dict()[name], old[name]) for name in kept)
    model.save_pretrained(tmp_path / "model")
    thinner = dataclasses.replace(tiny_config(decoder="wavenet"), wavenet=WaveNetConfig(skip=4))
    with pytest.raises(ConfigError, match="other wavenet settings"):
        start_model(thinner, ["flute"], sketch.statistics, tmp_path / "model")
