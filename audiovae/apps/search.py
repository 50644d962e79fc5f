"""The files of a folder that sound most like one: cosines of their embeddings."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiovae.apps.embed import Encoder
from audiovae.apps.embed_output import encoder_metadata
from audiovae.apps.output import check_folder
from audiovae.apps.progress import Progress
from audiovae.apps.sources import FileSource, find_inputs
from audiovae.atomic import write_atomically
from audiovae.audio.files import probe
from audiovae.errors import UserError

INDEX = ".npz"
LEAST_NORM = 1e-9
Stamp = tuple[int, int]
"""Bytes of a file, and when it was changed: nanoseconds."""
Known = Mapping[str, tuple[Stamp, np.ndarray]]
"""Path to the file's stamp and embedding."""


@dataclass(frozen=True)
class Hit:
    """A file that was found."""

    path: Path
    similarity: float
    """Cosine of its embedding and the query's: 1 is the same direction."""


@dataclass(frozen=True)
class Library:
    """Sounds of a folder and their embeddings."""

    folder: Path
    paths: Sequence[Path]
    rows: np.ndarray
    """`(file, dimension)`."""

    def nearest(self, query: np.ndarray, part: slice = slice(None)) -> list[Hit]:
        """Return all files, the likest first.

        Args:
            query: `(dimension,)`, of the same encoder.
            part: the dimensions that are compared.
        """
        cosines = cosine(self.rows[:, part], query[part])
        order = np.argsort(-cosines, kind="stable")
        return [Hit(self.paths[i], float(cosines[i])) for i in order]


def open_library(
    encoder: Encoder,
    folder: str | Path,
    *,
    index: str | Path | None = None,
    progress: bool = False,
) -> Library:
    """Embed the sounds of a folder, with those of all folders in it.

    Args:
        encoder: its kind says what will be compared.
        folder: of sounds.
        index: an `.npz` file that keeps the embeddings; what it has of unchanged files and of the
            same encoder is used again.
        progress: whether to show any.

    Raises:
        AudioError: on a file that is no sound.
        UserError: on a folder without sounds, or an index that is none.
    """
    if not Path(folder).is_dir():
        raise UserError(f"no folder {folder}: expected one of sounds")
    place = None if index is None else _check_index(Path(index))
    paths = [path for path, _ in find_inputs([folder])]
    table = _embed(encoder, paths, {} if place is None else _read(place, encoder), progress)
    if place is not None:
        _write(place, encoder, table)
    return Library(Path(folder), paths, np.stack([table[str(path)][1] for path in paths]))


def search_files(
    encoder: Encoder,
    folder: str | Path,
    query: str | Path,
    *,
    count: int = 10,
    index: str | Path | None = None,
    progress: bool = False,
) -> list[Hit]:
    """Return the `count` files of a folder that are most like `query`, the likest first.

    The query itself is left out where it lies in the folder.

    Args:
        encoder: its kind says what is compared: what is played, on what, or both.
        folder: of sounds, with all folders in it.
        query: a file.
        count: of hits.
        index: as `open_library` has it.
        progress: whether to show any.

    Raises:
        AudioError: on a file that is no sound.
        UserError: on a folder without sounds, a count below 1, or an index that is none.
    """
    if count < 1:
        raise UserError(f"count is {count}; expected 1 or more")
    if not Path(folder).is_dir():
        raise UserError(f"no folder {folder}: expected one of sounds, then a file to look for")
    asked = encoder.embed(query, pool="mean").embeddings
    hits = open_library(encoder, folder, index=index, progress=progress).nearest(asked)
    return [hit for hit in hits if not os.path.samefile(hit.path, query)][:count]


def cosine(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the cosines of `rows (row, dimension)` and `query (dimension,)`; of zeros, 0."""
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.asarray((rows @ query) / np.maximum(norms, LEAST_NORM))


def _embed(
    encoder: Encoder, paths: Sequence[Path], known: Known, progress: bool
) -> dict[str, tuple[Stamp, np.ndarray]]:
    stamps = {str(path): _stamp(path) for path in paths}
    kept = {p: known[p] for p, stamp in stamps.items() if p in known and known[p][0] == stamp}
    sources = [FileSource(probe(path)) for path in paths if str(path) not in kept]
    with Progress(sum(s.info.seconds for s in sources), "search", progress) as bar:
        for source in sources:
            path = str(source.info.path)
            kept[path] = (stamps[path], encoder.embed_source(source, "mean").embeddings)
            bar.advance(source.info.seconds)
    return kept


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _check_index(index: Path) -> Path:
    if index.suffix.lower() != INDEX or index.is_dir():
        raise UserError(f"{index} is no index: expected the name of an {INDEX} file")
    check_folder(index.parent)
    return index


def _read(index: Path, encoder: Encoder) -> Known:
    """Return what an index has of this encoder; nothing where there is none yet."""
    if not index.is_file():
        return {}
    try:
        with np.load(index) as stored:
            facts = json.loads(str(stored["metadata"]))
            paths, stamps, rows = (stored[k] for k in ("paths", "stamps", "embeddings"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{index} is no index of audiovae search ({error}): name another file"
        ) from None
    if facts != encoder_metadata(encoder):
        return {}
    sizes = [(int(size), int(time)) for size, time in stamps]
    return {str(p): (s, row) for p, s, row in zip(paths, sizes, rows, strict=True)}


def _write(index: Path, encoder: Encoder, table: Known) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        paths=np.array(list(table)),
        stamps=np.array([stamp for stamp, _ in table.values()], np.int64),
        embeddings=np.stack([row for _, row in table.values()]),
        metadata=np.array(json.dumps(encoder_metadata(encoder))),
    )
    index.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(index, buffer.getvalue())
