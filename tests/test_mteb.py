"""The model for MTEB: batches as its audio tasks give them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_RATE, noise_samples

from audiovae import mteb as ours
from audiovae.apps.embed import load_encoder
from audiovae.errors import AudioError, UserError


def batches() -> list[dict[str, list[dict[str, object]]]]:
    """Two batches of three sounds of two rates."""
    sounds = [noise_samples(0.3 + 0.1 * i)[0] for i in range(3)]
    rows = [
        {"array": s, "sampling_rate": r * TINY_RATE} for s, r in zip(sounds, (1, 2, 1), strict=True)
    ]
    return [{"audio": rows[:2]}, {"audio": rows[2:]}]


def test_batches_become_rows_in_order(tiny_checkpoint: Path) -> None:
    encoder = load_encoder(tiny_checkpoint, device="cpu", precision="fp32", kind="both")
    made = ours.embed_batches(encoder, batches())
    assert made.shape == (3, encoder.dimension) and made.dtype == np.float32
    last = encoder.embed(noise_samples(0.5)[0], TINY_RATE).embeddings
    assert made[2] == pytest.approx(last, abs=1e-5)
    assert ours.embed_batches(encoder, []).shape == (0, encoder.dimension)
    with pytest.raises(AudioError, match="expected audio"):
        ours.embed_batches(encoder, [{"text": []}])


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"audiovae\[mteb\]"):
        ours.make_encoder()


def test_the_real_interface(tiny_checkpoint: Path) -> None:
    protocols = pytest.importorskip("mteb.models.models_protocols")
    model = ours.make_encoder(tiny_checkpoint, kind="content", device="cpu")
    assert isinstance(model, protocols.EncoderProtocol)
    made = model.encode(batches(), task_metadata=None, hf_split="test", hf_subset="default")
    assert made.shape == (3, model.mteb_model_meta.embed_dim)
    assert model.similarity(made, made).shape == (3, 3)


def test_the_interface_as_it_was_read(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with the names and fields of mteb 2.26, where the package is not installed."""
    import importlib.machinery
    import types

    class ModelMeta:
        def __init__(self, **facts: object) -> None:
            self.__dict__ |= facts

    package, models, base = (
        types.ModuleType(n) for n in ("mteb", "mteb.models", "mteb.models.abs_encoder")
    )
    package.__spec__ = importlib.machinery.ModuleSpec("mteb", None)
    models.ModelMeta, base.AbsEncoder = ModelMeta, object  # type: ignore[attr-defined]
    for module in (package, models, base):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    model = ours.make_encoder(tiny_checkpoint, kind="timbre", device="cpu")
    made = model.encode(batches(), task_metadata=None, hf_split="test", hf_subset="default")
    assert made.shape == (3, model.mteb_model_meta.embed_dim)
    assert model.mteb_model_meta.modalities == ["audio"]
