"""What is done to each file that is embedded, by whatever engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from audiovae.apps.embed import Embedding, Encoder, Pool
from audiovae.apps.sources import FileSource
from audiovae.audio.files import probe
from audiovae.corpus.engines import Failed, Place
from audiovae.errors import UserError


@dataclass(frozen=True)
class Input:
    """A file to embed."""

    path: Path
    """As it was named."""
    file: Path
    """As any process finds it."""
    target: Path
    """Where its embeddings are to be."""

    @cached_property
    def size(self) -> int:
        """Bytes; 0 where it isn't there."""
        try:
            return self.file.stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class Found:
    """What was heard in a file."""

    embedding: Embedding[np.ndarray]
    seconds: float
    sample_rate: int
    """Of the file, in hertz."""


@dataclass(frozen=True)
class EmbedWork:
    """Makes what embeds single files: on this encoder, or on a copy of it elsewhere."""

    encoder: Encoder
    pool: Pool | None

    def __call__(self, place: Place | None) -> Callable[[Input], Found | Failed]:
        """Return a function of a file; with a `place`, one that has an encoder there."""
        encoder = self.encoder
        if place is not None:
            torch.set_num_threads(place.threads)
            encoder = encoder.to(place.device)
        return lambda item: embed_one(encoder, item, self.pool)


def embed_one(encoder: Encoder, item: Input, pool: Pool | None) -> Found | Failed:
    """Embed a file. What is wrong with it is returned; a device that fails is raised."""
    try:
        source = FileSource(probe(item.file))
        embedding = encoder.embed_source(source, pool)
    except torch.AcceleratorError:
        raise
    except (UserError, OSError) as error:
        return Failed(_plain(str(error), item))
    except Exception as error:  # Whatever a decoder makes of it: one file must not end the rest.
        return Failed(_plain(f"{type(error).__name__}: {error}", item))
    return Found(embedding, source.info.seconds, source.sample_rate)


def _plain(text: str, item: Input) -> str:
    """Return text in one line, with the file as it was named."""
    return " ".join(text.replace(str(item.file), str(item.path)).split())
