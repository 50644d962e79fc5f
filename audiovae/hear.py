"""The interface of HEAR 2021: `load_model`, `get_timestamp_embeddings`, `get_scene_embeddings`.

    hear-validator audiovae.hear
    python -m heareval.embeddings.runner audiovae.hear --tasks-dir tasks

Turian et al., "HEAR: Holistic Evaluation of Audio Representations", 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audiovae.apps.embed_module import AudioEncoder
from audiovae.errors import AudioError

__all__ = ["AudioEncoder", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

ROWS = 4
"""Sounds computed at once: memory grows with them."""


def load_model(model_file_path: str = "") -> AudioEncoder:
    """Load a model: a run folder, a checkpoint folder or a hub id; the shipped one when empty."""
    return AudioEncoder(model_file_path or None).eval()


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: AudioEncoder) -> tuple[Tensor, Tensor]:
    """Return embeddings at regular intervals, and the middle of each frame.

    Args:
        audio: `(sound, sample)` in plus or minus 1, at the model's `sample_rate`.
        model: what `load_model` returned.

    Returns:
        `(sound, frame, timestamp_embedding_size)` float32, and `(sound, frame)` milliseconds.
    """
    embeddings = torch.cat([model(rows) for rows in _checked(audio).split(ROWS)])
    frames = torch.arange(embeddings.shape[1], device=embeddings.device)
    times = (frames + 0.5) * model.hop_size_in_ms
    return embeddings, times.expand(len(embeddings), -1)


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: AudioEncoder) -> Tensor:
    """Return one embedding a sound, `(sound, scene_embedding_size)` float32.

    The mean of what is played, and the timbre that it is played in.
    """
    return torch.cat([model.scene(rows) for rows in _checked(audio).split(ROWS)])


def _checked(audio: Tensor) -> Tensor:
    if audio.ndim != 2 or not len(audio):
        raise AudioError(f"audio has shape {tuple(audio.shape)}; expected (sound, sample)")
    return audio
