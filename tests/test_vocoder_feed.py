"""What the vocoder hears in training: true frames, and those that a model's decoders say."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, make_model, tiny_config

from audiovae.audio.features import LogMel
from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import Store
from audiovae.errors import ConfigError
from audiovae.training.vocoder import train_vocoder
from audiovae.training.vocoder_feed import VocoderFeed

DOMAINS = ("flute", "oboe", "piano")
"""The tiny model has decoders for the first and the last, and one more."""


def settings(pairing: str = "none", rows: int = 6):
    config = tiny_config()
    training = dataclasses.replace(config.training, rows=rows, pairing=pairing, precision="fp32")
    return dataclasses.replace(config, training=training)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Three domains that play the same pitches with other harmonics."""
    root = tmp_path_factory.mktemp("heard")
    time = np.arange(TINY_RATE) / TINY_RATE
    groups = {}
    for d, domain in enumerate(DOMAINS):
        (root / "music" / domain).mkdir(parents=True)
        for i in range(6):
            pitch = 220 * 2 ** (i / 3)
            tone = sum(np.sin(2 * np.pi * pitch * k * time) / k ** (1 + d) for k in (1, 2, 3))
            soundfile.write(root / "music" / domain / f"{i}.wav", 0.2 * tone, TINY_RATE)
            groups[f"{domain}/{i}.wav"] = f"piece {i}"
    (root / "music" / "groups.json").write_text(json.dumps(groups))
    prepare(root / "music", root / "store", sample_rate=TINY_RATE, valid=0.3, workers=1,
            progress=False)  # fmt: skip
    return Store.open(root / "store")


class Parrot:
    """Decodes what it encoded, whatever the domain, and notes which was asked for."""

    def __init__(self, config, domains) -> None:
        self.domains, self.logmel, self.asked = list(domains), LogMel(config.audio), []

    def encode(self, audio):
        return SimpleNamespace(mean=audio)

    def decode(self, z, domain):
        self.asked.append(domain)
        return self.logmel(z)

    def playable(self, features):
        return features


def feed(store, config, model=None) -> VocoderFeed:
    return VocoderFeed(store, config, "train", LogMel(config.audio), model)


def test_without_a_model_frames_are_those_of_the_sounds(store):
    made = feed(store, settings())
    frames, sounds = made.clips(3, augmented=True)
    assert torch.equal(frames, made.logmel(sounds))
    assert [made._turn(n, n) for n in range(4)] == ["flute", "oboe", "piano", "flute"]


@pytest.mark.parametrize("augmented", [False, True])
def test_a_clip_of_its_own_domain_is_decoded_as_it_is_augmented(store, augmented):
    config = settings()
    parrot = Parrot(config, ["flute", "piano", "trumpet"])
    made = feed(store, config, parrot)
    for step in range(4):
        frames, sounds = made.clips(step, augmented)
        assert torch.allclose(frames, made.logmel(sounds), atol=1e-4)
    assert parrot.asked == ["flute", "piano"] * 6, "every other clip, of the domains in the store"


def test_aligned_clips_are_decoded_from_another_domain_at_the_same_moment(store):
    config = settings("aligned", rows=8)
    made = feed(store, config, Parrot(config, ["piano"]))
    differ = 0
    for step in range(3):
        frames, sounds = made.clips(step, augmented=True)
        true = made.logmel(sounds)
        assert torch.equal(frames[::2], true[::2])
        heard, meant = frames[1::2], true[1::2]
        differ += int(((heard - meant).abs().mean(dim=(1, 2)) > 0.05).sum())
        assert torch.equal(heard.mean(2).argmax(1), meant.mean(2).argmax(1)), "the same pitch"
    assert differ >= 4


def test_a_model_without_a_domain_of_the_store_is_refused(store):
    config = settings()
    for domains in (["gong"], []):
        with pytest.raises(ConfigError, match="a domain of the store"):
            feed(store, config, Parrot(config, domains))


def test_a_vocoder_is_trained_on_a_models_frames(store, tmp_path):
    model = make_model()
    folder = model.save_pretrained(tmp_path / "model")
    before = (folder / "encoder.safetensors").read_bytes()
    config = settings("aligned")
    summary = train_vocoder(store.path, tmp_path / "run", config, steps=4, model=folder,
                            progress=False)  # fmt: skip
    assert summary["steps"] == 4
    assert (folder / "encoder.safetensors").read_bytes() == before
    other = dataclasses.replace(config, audio=dataclasses.replace(config.audio, log_floor=1e-4))
    with pytest.raises(ConfigError, match="other audio settings"):
        train_vocoder(store.path, tmp_path / "x", other, steps=4, model=folder, progress=False)
