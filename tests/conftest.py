"""What several tests share: a tiny model of random weights, and files of tones."""

from __future__ import annotations

# ruff: noqa: E402
import os

# Processes of tests share the cores, and so does what they start: threads would only wait. NumPy
# and torch read this once, when they are imported. The process that starts the others sets nothing:
# they would inherit it.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // int(processes))))

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from takes import FORMATS, RATE, sound

from audiovae.config import AudioConfig, Config, ModelConfig, TrainingConfig, VocoderConfig
from audiovae.config_model import WaveNetConfig
from audiovae.model.autoencoder import AudioVAE, Statistics
from audiovae.model.vocoders import make_vocoder

if limit := os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(limit))
TINY_RATE = 16_000
LONG = {
    "test_export", "test_kills", "test_ranks", "test_ranks_runs", "test_readme", "test_recipes",
    "test_slow", "test_training", "test_web_browser",
}  # fmt: skip
"""Files that a process is busy with for long: they come first, or the others would wait for one."""
DOMAINS = ("flute", "piano", "trumpet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring long files to the front."""
    items.sort(key=lambda item: item.path.stem not in LONG)


def tiny_config(features: str = "logmel", decoder: str = "convnext") -> Config:
    """Settings of a model that runs in milliseconds."""
    return Config(
        audio=AudioConfig(
            sample_rate=TINY_RATE,
            features=features,  # type: ignore[arg-type]
            n_fft=512,
            hop_length=128,
            n_mels=40,
        ),
        model=ModelConfig(
            decoder=decoder,  # type: ignore[arg-type]
            latent_dim=8,
            encoder_width=24,
            encoder_blocks=(1, 1),
            decoder_width=24,
            decoder_blocks=(1, 1),
            expansion=2,
        ),
        vocoder=VocoderConfig(
            "linked", width=24, blocks=2, expansion=2, iterations=8, refinements=1
        ),
        wavenet=WaveNetConfig(residual=8, skip=8, layers=6, cycle=3),
        training=TrainingConfig(clip=0.25, rows=2, scored=0.1),
    )


def make_model(
    features: str = "logmel", vocoder: bool = True, decoder: str = "convnext"
) -> AudioVAE:
    """Build a tiny model of seeded random weights."""
    config = tiny_config(features, decoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = AudioVAE(config, DOMAINS, Statistics.plain(config.audio.n_mels))
        if vocoder and not config.speaks:
            model.vocoder = make_vocoder(config)
    model.provenance = {"ranges": {"flute": [60.0, 96.0], "piano": [21.0, 108.0]}}
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model() -> AudioVAE:
    """A tiny model with a neural vocoder; tests must not change it."""
    return make_model()


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_model: AudioVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a checkpoint folder; tests must not change it."""
    return tiny_model.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


def tone_samples(
    seconds: float = 1.0, rate: int = TINY_RATE, channels: int = 1, hertz: float = 440.0
) -> np.ndarray:
    """Return tones of quarter scale `(channel, sample)`, another pitch for each channel."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [0.25 * np.sin(2 * np.pi * hertz * (1 + c / 2) * time) for c in range(channels)]
    return np.stack(tones).astype(np.float32)


def noise_samples(seconds: float = 3.0, channels: int = 1, rate: int = TINY_RATE) -> np.ndarray:
    """Return noise whose level rises `(channel, sample)`."""
    count = round(seconds * rate)
    samples = np.random.default_rng(0).standard_normal((channels, count))
    return (0.1 * samples * np.linspace(0.2, 1, count)).astype(np.float32)


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a tone and returns its path."""

    def make(
        name: str = "take.wav",
        seconds: float = 1.0,
        rate: int = TINY_RATE,
        channels: int = 1,
        hertz: float = 440.0,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone_samples(seconds, rate, channels, hertz).T, rate)
        return path

    return make


@pytest.fixture(scope="session")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one take in each format that libsndfile writes; tests must not change it."""
    folder = tmp_path_factory.mktemp("takes")
    for name, options in FORMATS.items():
        soundfile.write(folder / name, sound().T, RATE, **options)
    return folder
