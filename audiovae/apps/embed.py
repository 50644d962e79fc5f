"""Embeddings of sound: the posterior's mean, with time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
from torch import Tensor, from_numpy

from audiovae.apps.engine import Engine
from audiovae.apps.models import find_model, fingerprint
from audiovae.apps.pieces import Level
from audiovae.apps.sources import FileSource, MonoSource, Source, check_audio, level_of
from audiovae.audio.files import probe
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE

Pool = Literal["none", "mean"]
POOLS = ("none", "mean")
Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Embedding(Generic[Array]):
    """Embeddings and their time stamps; it unpacks as `embeddings, timestamps`."""

    embeddings: Array
    """`(frame, dimension)` float32; `(dimension,)` when pooled."""
    timestamps: Array
    """`(frame,)` float64: the middle of each frame in seconds; pooled, `(1,)`: the sound's."""

    def __iter__(self) -> Iterator[Array]:
        return iter((self.embeddings, self.timestamps))


class Encoder:
    """Maps sound to embeddings.

    Args:
        model: whose encoder to use.
        precision: `fp32`, `bf16`, `int8`, or `auto`: the fastest of them here.
        piece_seconds: length of the pieces that are computed at once.
    """

    def __init__(
        self, model: AudioVAE, *, precision: str = "auto", piece_seconds: float | None = None
    ) -> None:
        self.model, self.precision = model, precision
        self.engine = Engine(model, precision=precision, piece_seconds=piece_seconds)

    @property
    def dimension(self) -> int:
        """Of an embedding."""
        return self.model.config.model.latent_dim

    @property
    def rate(self) -> float:
        """Embeddings a second."""
        return self.model.config.latent_rate

    @cached_property
    def fingerprint(self) -> str:
        """Which encoder this is: embeddings of two can't be compared."""
        return fingerprint(self.model)

    @overload
    def embed(
        self, audio: Tensor, sample_rate: int | None = None, pool: Pool | None = None
    ) -> Embedding[Tensor]: ...
    @overload
    def embed(
        self,
        audio: np.ndarray | str | Path,
        sample_rate: int | None = None,
        pool: Pool | None = None,
    ) -> Embedding[np.ndarray]: ...
    def embed(self, audio: Any, sample_rate: int | None = None, pool: Pool | None = None) -> Any:
        """Embed sound.

        Channels are mixed down to one and brought to the level of the training recordings, so
        embeddings do not depend on loudness.

        Args:
            audio: a file, or floating point samples `(sample,)` or `(channel, sample)`.
            sample_rate: of the samples, in hertz; a file knows its own.
            pool: `mean` for one embedding of all of it; `none` or nothing for one a frame.

        Returns:
            An `Embedding`, of tensors on the input's device for a tensor, else of NumPy arrays.

        Raises:
            AudioError: on a file or samples that are no sound.
        """
        check_pool(pool)
        if isinstance(audio, str | Path):
            if sample_rate is not None:
                raise AudioError("sample_rate goes with samples; a file knows its own")
            return self.embed_source(FileSource(probe(audio)), pool)
        samples = audio.detach().cpu().float().numpy() if isinstance(audio, Tensor) else audio
        if isinstance(audio, Tensor) and not audio.is_floating_point():
            samples = np.zeros(1, np.int16)  # Refused in the same words as such an array.
        found = self.embed_source(check_audio(samples, sample_rate), pool)
        if not isinstance(audio, Tensor):
            return found
        device = audio.device
        # MPS has no float64.
        times = from_numpy(found.timestamps)
        times = times.float() if device.type == "mps" else times
        return Embedding(from_numpy(found.embeddings).to(device), times.to(device))

    def embed_source(
        self, source: Source, pool: Pool | None = None, level: Level | None = None
    ) -> Embedding[np.ndarray]:
        """Embed a source in bounded memory; `level` saves measuring it again."""
        rate, hop = self.model.config.audio.sample_rate, self.model.config.latent_hop
        mono = MonoSource(source)
        level = level or level_of(mono)
        gain = level.gain_to(self.model.statistics.loudness)
        parts = list(self.engine.embed(mono.blocks(rate), gain))
        whole = np.concatenate(parts).astype(np.float32, copy=False)
        if pool == "mean":
            middle = np.array([source.shape[1] / source.sample_rate / 2])
            return Embedding(whole.mean(axis=0, dtype=np.float64).astype(np.float32), middle)
        return Embedding(whole, (np.arange(len(whole)) + 0.5) * hop / rate)


def check_pool(pool: str | None) -> None:
    """Raise `UserError` unless pooling is known."""
    if pool not in (None, *POOLS):
        raise UserError(f"pool is {pool!r}; expected one of {', '.join(POOLS)}")


def load_encoder(
    path: str | Path | None = None, *, device: str = "auto", precision: str = "auto"
) -> Encoder:
    """Load a model's encoder.

    Args:
        path: a run folder, a checkpoint folder or a hub id; the shipped model when left out.
        device: `auto`, `cpu`, `cuda`, `mps`.
        precision: `fp32`, `bf16`, `int8` or `auto`.

    Raises:
        CheckpointError: when there is no such model, or it is damaged.
    """
    return Encoder(find_model(path, device=device, domains=()).model, precision=precision)
