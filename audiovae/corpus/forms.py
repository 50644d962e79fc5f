"""The two forms that `prepare` gives recordings: a store to map into memory, shards to stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiovae.audio.flac import MAX_RATE
from audiovae.corpus import shards, store
from audiovae.corpus.assemble import Piece, assemble, known_pieces
from audiovae.corpus.convert import Part, Task
from audiovae.corpus.manifest import Entry
from audiovae.corpus.pack import assemble_shards
from audiovae.corpus.unpack import known_flacs, placed
from audiovae.errors import ConfigError

Pieces = dict[str, Piece]


@dataclass(frozen=True)
class Form:
    """How recordings are kept."""

    name: str
    format: str
    version: int
    index: str
    """File that is there when all is."""
    known: Callable[[Path, Callable[[Entry], str], dict[str, Any]], Pieces]
    """Returns what earlier runs have converted, by key."""
    made: Callable[[Task, Part], Piece]
    """Returns what a task has converted."""
    assemble: Callable[[Path, list[Entry], Pieces, dict[str, Any]], bool]
    """Writes what is kept, and says whether anything changed."""


STORE = Form(
    "store",
    store.FORMAT,
    store.VERSION,
    store.STORE_FILE,
    known_pieces,
    lambda task, part: Piece(part, task.samples),
    assemble,
)
SHARDS = Form(
    "shards",
    shards.FORMAT,
    shards.VERSION,
    shards.INDEX_FILE,
    known_flacs,
    lambda task, part: placed(part, task.samples),
    assemble_shards,
)


def piece_samples(piece: float, shard_mb: float, sample_rate: int) -> int:
    """Return the samples of a shard's pieces. Raises `ConfigError` on settings out of range."""
    if sample_rate > MAX_RATE:
        raise ConfigError(f"sample_rate is {sample_rate}; FLAC, and so shards, has {MAX_RATE} Hz")
    if not 1 <= piece <= shards.LONGEST / 1.5:
        most = shards.LONGEST / 1.5
        raise ConfigError(f"piece is {piece} s; expected 1 to {most:g} seconds")
    if not 0.001 <= shard_mb <= 100_000:
        raise ConfigError(f"shard_mb is {shard_mb}; expected 0.001 to 100000 megabytes")
    return round(piece * sample_rate)
