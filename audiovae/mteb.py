"""Embeddings for MTEB, whose audio tasks are MAEB.

import mteb
from audiovae.mteb import make_encoder

mteb.evaluate(make_encoder(), mteb.get_tasks(tasks=["NSynth"]))
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import audiovae
from audiovae.apps.embed import Encoder, Kind, load_encoder
from audiovae.errors import AudioError, UserError


def make_encoder(
    model: str | Path | None = None, *, kind: Kind = "both", device: str = "auto"
) -> Any:
    """Return a model that `mteb.evaluate` takes.

    Args:
        model: a run folder, a checkpoint folder or a hub id; the shipped model when left out.
        kind: `content`, `timbre` or `both`.
        device: `auto`, `cpu`, `cuda`, `mps`.

    Raises:
        UserError: where mteb is not installed.
    """
    if importlib.util.find_spec("mteb") is None:
        raise UserError("no package mteb: install audiovae[mteb]")
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder

    encoder = load_encoder(model, device=device, kind=kind)

    class AudioVAEEncoder(AbsEncoder):  # type: ignore[misc]
        """The encoder, as MTEB calls it."""

        mteb_model_meta = ModelMeta(**_facts(encoder))

        def encode(self, inputs: Iterable[Mapping[str, Any]], **_: Any) -> np.ndarray:
            """Return an embedding for each sound of some batches, `(sound, dimension)`."""
            return embed_batches(encoder, inputs)

    return AudioVAEEncoder()


def embed_batches(encoder: Encoder, batches: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Embed batches of MTEB: each has under `audio` rows of an `array` and a `sampling_rate`.

    Raises `AudioError` on a batch without sound.
    """
    made = []
    for batch in batches:
        if "audio" not in batch:
            raise AudioError(f"a batch has {', '.join(batch)}; expected audio")
        for row in batch["audio"]:
            samples = np.asarray(row["array"], np.float32)
            found = encoder.embed(samples, int(row["sampling_rate"]), "mean")
            made.append(found.embeddings)
    return np.stack(made) if made else np.zeros((0, encoder.dimension), np.float32)


def _facts(encoder: Encoder) -> dict[str, Any]:
    parameters = sum(p.numel() for p in encoder.model.encoder.parameters())
    return {
        "loader": None,
        "name": f"audiovae/{encoder.kind}-{encoder.fingerprint}",
        "revision": audiovae.__version__,
        "release_date": None,
        "languages": None,
        "n_parameters": parameters,
        "memory_usage_mb": round(4 * parameters / 2**20),
        "max_tokens": None,
        "embed_dim": encoder.dimension,
        "license": "mit",
        "open_weights": True,
        "public_training_code": None,
        "public_training_data": None,
        "framework": ["PyTorch"],
        "similarity_fn_name": "cosine",
        "use_instructions": False,
        "training_datasets": set(),
        "modalities": ["audio"],
    }
