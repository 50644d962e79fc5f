"""The model that is timed."""

from __future__ import annotations

from pathlib import Path

from audiovae.config import Config
from audiovae.config_files import load_config
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.vocoders import make_vocoder
from audiovae.training.start import shipped_weights

DOMAINS = [f"domain {i}" for i in range(8)]


def base() -> Config:
    """Return the preset that is timed."""
    return load_config("base")


def shipped_or_random(config: Config, folder: Path | None = None) -> AudioVAE:
    """Return a shipped model, or one of its size: the weights don't change the speed."""
    folder = folder or shipped_weights()
    if (folder / "config.json").is_file():
        return AudioVAE.from_pretrained(folder)
    model = AudioVAE(config, DOMAINS).eval()
    model.vocoder = make_vocoder(config).eval()
    return model


def has_weights() -> bool:
    """Whether the package holds a trained model."""
    return (shipped_weights() / "config.json").is_file()
