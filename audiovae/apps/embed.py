"""Embeddings of sound: the posterior's mean with time stamps, and what it leaves out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
from torch import Tensor, from_numpy

from audiovae.apps.embed_timbre import TIMBRE_DIMENSION, check_timbre, embed_timbre
from audiovae.apps.engine import Engine
from audiovae.apps.models import find_model, fingerprint
from audiovae.apps.pieces import Level
from audiovae.apps.sources import FileSource, MonoSource, Source, check_audio, level_of
from audiovae.audio.files import probe
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE

Pool = Literal["none", "mean"]
POOLS = ("none", "mean")
Kind = Literal["content", "timbre", "both"]
KINDS: tuple[Kind, ...] = ("content", "timbre", "both")
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
        kind: `content`, what is played, frame by frame; `timbre`, on what, as one embedding of the
            whole (see `embed_timbre`); `both`, the mean of the former and the latter, joined.

    Raises `UserError` on another kind, and where a model can't tell its own.
    """

    def __init__(
        self,
        model: AudioVAE,
        *,
        precision: str = "auto",
        piece_seconds: float | None = None,
        kind: Kind = "content",
    ) -> None:
        if kind not in KINDS:
            raise UserError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
        if kind != "content":
            check_timbre(model)
        self.model, self.precision, self.kind = model, precision, kind
        self.engine = Engine(model, precision=precision, piece_seconds=piece_seconds)

    def to(self, device: str) -> Encoder:
        """Return the same encoder on another device; its model goes there."""
        return _encoder(self.model.to(device), self.precision, self.engine.piece_seconds, self.kind)

    def __reduce__(self) -> tuple[Any, ...]:
        # Of what follows from the model nothing travels: another machine multiplies otherwise.
        model = copy.deepcopy(self.model).cpu()
        return _encoder, (model, self.precision, self.engine.piece_seconds, self.kind)

    @property
    def dimension(self) -> int:
        """Of an embedding."""
        played = 0 if self.kind == "timbre" else self.model.config.model.latent_dim
        return played + (0 if self.kind == "content" else TIMBRE_DIMENSION)

    @property
    def rate(self) -> float:
        """Embeddings a second."""
        return self.model.config.latent_rate

    @cached_property
    def fingerprint(self) -> str:
        """Which encoder this is: embeddings of two can't be compared."""
        return fingerprint(self.model, decoders=self.kind != "content")

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
            pool: `mean` for one embedding of all of it; `none` or nothing for one a frame. Timbre
                is of all of it always.

        Returns:
            An `Embedding`, of tensors on the input's device for a tensor, else of NumPy arrays.

        Raises:
            AudioError: on a file or samples that are no sound.
        """
        check_pool(pool, self.kind)
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
        middle = np.array([source.shape[1] / source.sample_rate / 2])
        if self.kind == "timbre":
            return Embedding(embed_timbre(self.engine, mono.blocks(rate), gain), middle)
        parts = list(self.engine.embed(mono.blocks(rate), gain))
        whole = np.concatenate(parts).astype(np.float32, copy=False)
        if pool == "mean" or self.kind == "both":
            pooled = whole.mean(axis=0, dtype=np.float64).astype(np.float32)
            if self.kind == "both":
                timbre = embed_timbre(self.engine, mono.blocks(rate), gain)
                pooled = np.concatenate([pooled, timbre])
            return Embedding(pooled, middle)
        return Embedding(whole, (np.arange(len(whole)) + 0.5) * hop / rate)


def _encoder(model: AudioVAE, precision: str, piece_seconds: float | None, kind: Kind) -> Encoder:
    return Encoder(model.eval(), precision=precision, piece_seconds=piece_seconds, kind=kind)


def check_pool(pool: str | None, kind: str = "content") -> None:
    """Raise `UserError` unless pooling is known, and the kind can do without."""
    if pool not in (None, *POOLS):
        raise UserError(f"pool is {pool!r}; expected one of {', '.join(POOLS)}")
    if pool == "none" and kind != "content":
        raise UserError(f"kind {kind} is one embedding of a whole sound: leave pool out, or mean")


def load_encoder(
    path: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    kind: Kind = "content",
) -> Encoder:
    """Load a model's encoder.

    Args:
        path: a run folder, a checkpoint folder or a hub id; the shipped model when left out.
        device: `auto`, `cpu`, `cuda`, `mps`.
        precision: `fp32`, `bf16`, `int8` or `auto`.
        kind: `content`, `timbre` or `both`, as `Encoder` has it.

    Raises:
        CheckpointError: when there is no such model, or it is damaged.
    """
    model = find_model(path, device=device, domains=needed(kind)).model
    return Encoder(model, precision=precision, kind=kind)


def needed(kind: str) -> tuple[()] | None:
    """Return whose decoders a kind needs, as `find_model` has it: no domain's, or all."""
    return () if kind == "content" else None
