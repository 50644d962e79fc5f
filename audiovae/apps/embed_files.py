"""Embeddings of files, written as NumPy archives or as one Parquet table."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.apps.embed import Embedding, Encoder, Pool, check_pool
from audiovae.apps.output import check_folder, plan_names
from audiovae.apps.pieces import Level
from audiovae.apps.progress import Progress
from audiovae.apps.sources import FileSource, MonoSource, find_inputs, level_of
from audiovae.atomic import write_atomically, writing
from audiovae.audio.files import probe
from audiovae.errors import UserError

FORMATS = ("npz", "npy")
TABLE = ".parquet"


@dataclass(frozen=True)
class Embedded:
    """A file that was embedded."""

    source: Path
    path: Path
    """Where its embeddings are."""
    frames: int
    """Embeddings of it: 1 when pooled."""
    dimension: int
    seconds: float


def embed_files(
    encoder: Encoder,
    inputs: Iterable[str | Path],
    output: str | Path,
    *,
    pool: Pool | None = None,
    format: str = "npz",
    progress: bool = False,
) -> list[Embedded]:
    """Embed files.

    `a.wav` gives `output/a.npz` with `embeddings`, `timestamps` and `metadata` (a JSON text), or
    with `format` `npy` `output/a.npy` with the embeddings alone. An output that ends in `.parquet`
    is one table of all files: `path`, `frame`, `timestamp`, `embedding`. All inputs are read once
    before the first file is written.

    Raises:
        AudioError: on an input that is no sound.
        UserError: on two outputs of one name, or an output that is an input.
    """
    check_pool(pool, encoder.kind)
    if format not in FORMATS:
        raise UserError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
    output = Path(output)
    table = output.suffix.lower() == TABLE
    found = find_inputs(inputs)
    if table:
        _check_table(output)
        targets = [output] * len(found)
    else:
        targets = [paths[0] for paths in plan_names(found, output, [""], f".{format}")]
    sources = [FileSource(probe(path)) for path, _ in found]
    levels = [level_of(MonoSource(source)) for source in sources]
    results = []
    with (
        Progress(sum(s.info.seconds for s in sources), "embed", progress) as bar,
        _sink(output, encoder, pool, table) as give,
    ):
        for source, level, target in zip(sources, levels, targets, strict=True):
            found_here = _embed(encoder, source, level, pool)
            give(found_here, source, target)
            frames = len(found_here.timestamps)
            results.append(
                Embedded(source.info.path, target, frames, encoder.dimension, source.info.seconds)
            )
            bar.advance(source.info.seconds)
    return results


def _embed(
    encoder: Encoder, source: FileSource, level: Level, pool: Pool | None
) -> Embedding[np.ndarray]:
    return encoder.embed_source(source, pool, level)


def metadata(encoder: Encoder, source: FileSource, pool: Pool | None) -> dict[str, Any]:
    """Return what is written beside the embeddings of a file."""
    return {
        "path": str(source.info.path),
        "seconds": source.info.seconds,
        "source_sample_rate": source.sample_rate,
        "pool": pool_of(encoder, pool),
        **encoder_metadata(encoder),
    }


def encoder_metadata(encoder: Encoder) -> dict[str, Any]:
    """Return what is written of the encoder."""
    return {
        "model": encoder.fingerprint,
        "sample_rate": encoder.model.config.audio.sample_rate,
        "latent_rate": encoder.rate,
        "dimension": encoder.dimension,
        "kind": encoder.kind,
    }


def pool_of(encoder: Encoder, pool: Pool | None) -> Pool:
    """Return how embeddings are pooled."""
    return pool or ("none" if encoder.kind == "content" else "mean")


def _check_table(output: Path) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError("Parquet needs pyarrow: install audiovae[parquet], or write .npz files")
    if output.is_dir():
        raise UserError(f"{output} is a folder; expected a file name for the table")
    check_folder(output.parent)


@contextmanager
def _sink(output: Path, encoder: Encoder, pool: Pool | None, table: bool) -> Iterator[Any]:
    """Give a function that writes one file's embeddings."""
    if table:
        with _table(output, encoder, pool) as give:
            yield give
        return

    def give_file(found: Embedding[np.ndarray], source: FileSource, target: Path) -> None:
        buffer = io.BytesIO()
        if target.suffix == ".npy":
            np.save(buffer, found.embeddings)
        else:
            text = np.array(json.dumps(metadata(encoder, source, pool)))
            np.savez(
                buffer, embeddings=found.embeddings, timestamps=found.timestamps, metadata=text
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, buffer.getvalue())

    yield give_file


@contextmanager
def _table(output: Path, encoder: Encoder, pool: Pool | None) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        ("path", pa.string()),
        ("frame", pa.int64()),
        ("timestamp", pa.float64()),
        ("embedding", pa.list_(pa.float32(), encoder.dimension)),
    ]
    facts = json.dumps({**encoder_metadata(encoder), "pool": pool_of(encoder, pool)})
    schema = pa.schema(fields, metadata={"audiovae": facts})
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")

    def give(found: Embedding[np.ndarray], source: FileSource, target: Path) -> None:
        rows = np.atleast_2d(found.embeddings)
        values = pa.array(rows.ravel(), pa.float32())
        columns = [
            pa.array([str(source.info.path)] * len(rows)),
            pa.array(np.arange(len(rows))),
            pa.array(found.timestamps),
            pa.FixedSizeListArray.from_arrays(values, encoder.dimension),
        ]
        writer.write_table(pa.table(columns, schema=schema))

    try:
        with writing(output):
            with pq.ParquetWriter(temporary, schema) as writer:
                yield give
            os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
