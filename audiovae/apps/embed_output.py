"""Where embeddings go: an archive a file, one Parquet table, or a folder of its parts."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audiovae.apps.embed import Encoder, Pool
from audiovae.apps.embed_work import Found, Input
from audiovae.apps.output import check_folder
from audiovae.atomic import write_atomically, writing
from audiovae.corpus.report import printable
from audiovae.corpus.share import Share
from audiovae.errors import UserError

TABLE = ".parquet"
"""What a name ends in that is a table's."""
ROW_GROUP_BYTES = 1 << 24
"""Of embeddings in a row group: what a reader takes at once."""
PART_BYTES = 1 << 28
"""Of embeddings after which the next part of a table begins."""


class Sink(Protocol):
    """Takes the embeddings of one file after the other."""

    def give(self, item: Input, found: Found) -> Path:
        """Take those of a file; return where they will be."""


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


@dataclass(frozen=True)
class Archives:
    """A NumPy file for each sound."""

    encoder: Encoder
    pool: Pool | None

    def give(self, item: Input, found: Found) -> Path:
        """Write those of a file at once."""
        buffer = io.BytesIO()
        if item.target.suffix == ".npy":
            np.save(buffer, found.embedding.embeddings)
        else:
            facts = {
                "path": str(item.path),
                "seconds": found.seconds,
                "source_sample_rate": found.sample_rate,
                "pool": pool_of(self.encoder, self.pool),
                **encoder_metadata(self.encoder),
            }
            np.savez(
                buffer,
                embeddings=found.embedding.embeddings,
                timestamps=found.embedding.timestamps,
                metadata=np.array(json.dumps(facts)),
            )
        with writing(item.target):
            item.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(item.target, buffer.getvalue())
        return item.target


class Rows:
    """A Parquet file of `path`, `frame`, `timestamp` and `embedding`, row group by row group."""

    def __init__(self, file: Path, encoder: Encoder, pool: Pool | None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.arrow, self.file, self.dimension = pa, file, encoder.dimension
        fields = [
            ("path", pa.string()),
            ("frame", pa.int64()),
            ("timestamp", pa.float64()),
            ("embedding", pa.list_(pa.float32(), encoder.dimension)),
        ]
        facts = json.dumps({**encoder_metadata(encoder), "pool": pool_of(encoder, pool)})
        self.schema = pa.schema(fields, metadata={"audiovae": facts})
        with writing(file):
            # Floats of embeddings hardly repeat: a dictionary of them is a second copy.
            repeated = ["path", "frame", "timestamp"]
            self.writer = pq.ParquetWriter(file, self.schema, use_dictionary=repeated)
        self.waiting: list[Any] = []
        self.bytes = self.written = 0

    def add(self, item: Input, found: Found) -> None:
        """Take the rows of a file."""
        rows = np.atleast_2d(found.embedding.embeddings)
        columns = [
            self.arrow.array([printable(str(item.path))] * len(rows)),
            self.arrow.array(np.arange(len(rows))),
            self.arrow.array(found.embedding.timestamps),
            self.arrow.FixedSizeListArray.from_arrays(
                self.arrow.array(rows.ravel(), self.arrow.float32()), self.dimension
            ),
        ]
        self.waiting.append(self.arrow.table(columns, schema=self.schema))
        self.bytes += rows.nbytes
        if self.bytes - self.written >= ROW_GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if self.waiting:
            with writing(self.file):
                self.writer.write_table(self.arrow.concat_tables(self.waiting).combine_chunks())
        self.waiting, self.written = [], self.bytes

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._write()
        with writing(self.file):
            self.writer.close()


class OneTable:
    """All rows in one file, which appears at the end."""

    def __init__(self, output: Path, rows: Rows) -> None:
        self.output, self.rows = output, rows

    def give(self, item: Input, found: Found) -> Path:
        """Take the rows of a file."""
        self.rows.add(item, found)
        return self.output


class Parts:
    """Rows in files `prefix-00000.parquet` and so on, which appear at the end."""

    def __init__(
        self, output: Path, prefix: str, hidden: Path, encoder: Encoder, pool: Pool | None
    ) -> None:
        self.output, self.prefix, self.hidden = output, prefix, hidden
        self.encoder, self.pool = encoder, pool
        self.names: list[str] = []
        self.rows: Rows | None = None

    def give(self, item: Input, found: Found) -> Path:
        """Take the rows of a file, all into one part."""
        if self.rows is None:
            self.names.append(f"{self.prefix}-{len(self.names):05}.parquet")
            self.rows = Rows(self.hidden / self.names[-1], self.encoder, self.pool)
        self.rows.add(item, found)
        if self.rows.bytes >= PART_BYTES:
            self.close()
        return self.output / self.names[-1]

    def close(self) -> None:
        """End the part that is being written."""
        if self.rows is not None:
            self.rows.close()
            self.rows = None


def part_prefix(share: Share | None) -> str:
    """Return what the names of a job's parts begin with."""
    return "part" if share is None else f"part-{share.name}"


def check_table(output: Path, share: Share | None) -> None:
    """Raise `UserError` unless a table, or the parts of it that are a job's, can be there."""
    one = output.suffix.lower() == TABLE
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError("Parquet needs pyarrow: install audiovae[parquet], or write .npz files")
    if one and share is not None:
        raise UserError(
            f"{output} is one file, and {share.count} jobs write a part each: name a folder, "
            "with --format parquet"
        )
    if one and output.is_dir():
        raise UserError(f"{output} is a folder; expected a file name for the table")
    check_folder(output.parent if one else output)
    if one or not output.is_dir():
        return
    mine = r"part-\d{5}" if share is None else rf"part-\d+-of-{share.count}-\d{{5}}"
    for path in sorted(output.glob("*.parquet")):
        if not re.fullmatch(mine, path.stem):
            raise UserError(
                f"{path} is no part of this table, which would be read with it: choose a new folder"
            )


@contextmanager
def open_sink(
    output: Path, format: str, encoder: Encoder, pool: Pool | None, share: Share | None
) -> Iterator[Sink]:
    """Give what takes embeddings; tables appear at its end, where nothing was raised."""
    if format != "parquet":
        yield Archives(encoder, pool)
    elif output.suffix.lower() == TABLE:
        with _one_table(output, encoder, pool) as sink:
            yield sink
    else:
        with _parts(output, part_prefix(share), encoder, pool) as sink:
            yield sink


@contextmanager
def _one_table(output: Path, encoder: Encoder, pool: Pool | None) -> Iterator[Sink]:
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    with _made(output.parent):
        try:
            rows = Rows(temporary, encoder, pool)
            try:
                yield OneTable(output, rows)
            finally:
                rows.close()
            with writing(output):
                os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _parts(output: Path, prefix: str, encoder: Encoder, pool: Pool | None) -> Iterator[Sink]:
    with _made(output):
        with tempfile.TemporaryDirectory(prefix=f".{prefix}-", dir=output) as hidden:
            parts = Parts(output, prefix, Path(hidden), encoder, pool)
            try:
                yield parts
            finally:
                parts.close()
            with writing(output):
                for name in parts.names:
                    os.replace(Path(hidden) / name, output / name)
        for old in output.glob(f"{prefix}-?????.parquet"):
            if old.name not in parts.names:
                old.unlink()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it at the end where nothing came into it."""
    lacking = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in lacking:
            with suppress(OSError):
                place.rmdir()
