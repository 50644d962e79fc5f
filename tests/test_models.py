"""Which model is meant, and what makes its sound."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import make_model

import audiovae
from audiovae.apps.models import find_model
from audiovae.errors import CheckpointError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.vocoder import LinkedVocoder


def ship(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have `folder` be what comes with the package."""
    for place in ("apps.models", "training.start"):
        monkeypatch.setattr(f"audiovae.{place}.shipped_weights", lambda name="default": folder)


def test_a_model_says_what_makes_its_sound(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "its own vocoder" in find_model(tiny_checkpoint).note
    bare = make_model(vocoder=False).save_pretrained(tmp_path / "run" / "checkpoint").parent
    ship(monkeypatch, tmp_path / "none")
    found = find_model(bare)
    assert "Griffin-Lim" in found.note and found.model.vocoder is None
    ship(monkeypatch, tiny_checkpoint)
    found = find_model(bare)
    assert "the shipped vocoder" in found.note
    assert isinstance(found.model.vocoder, LinkedVocoder)
    assert find_model().source == "the shipped model"
    assert find_model("causal").source == "the shipped causal model"
    assert (
        "its own decoders"
        in find_model(make_model("waveform").save_pretrained(tmp_path / "wave")).note
    )
    chosen = find_model(bare, vocoder=tiny_checkpoint)
    assert str(tiny_checkpoint) in chosen.note
    # Saved again, it loads with the vocoder that it was given.
    again = chosen.model.save_pretrained(tmp_path / "again")
    assert "its own vocoder" in find_model(again).note


def test_only_the_decoders_that_are_asked_for_are_loaded(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    whole = find_model(tiny_checkpoint).model
    first = whole.domains[0]
    part = find_model(tiny_checkpoint, domains=[first]).model
    assert part.domains == [first] and part.vocoder is not None
    z = torch.randn(1, whole.config.model.latent_dim, 4)
    assert torch.equal(part.decode(z, first), whole.decode(z, first))
    # The whole refuses an unknown one, with the names of all.
    assert find_model(tiny_checkpoint, domains=[first, "no such"]).model.domains == whole.domains
    encoder = audiovae.load_encoder(tiny_checkpoint).model
    assert encoder.domains == [] and encoder.vocoder is None
    empty = AudioVAE(whole.config, []).save_pretrained(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="no domains"):
        audiovae.load_encoder(empty)


def test_another_audio_contract_keeps_griffin_lim(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(vocoder=False)
    config = dataclasses.replace(
        model.config, audio=dataclasses.replace(model.config.audio, log_floor=1e-3)
    )
    other = AudioVAE(config, model.domains, model.statistics)
    other.save_pretrained(tmp_path / "other")
    ship(monkeypatch, tiny_checkpoint)
    assert "other audio settings" in find_model(tmp_path / "other").note
