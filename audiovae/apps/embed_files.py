"""Embeddings of files, written as NumPy archives or as Parquet tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from audiovae.apps.embed import Encoder, Pool, check_pool
from audiovae.apps.embed_output import TABLE, check_table, open_sink
from audiovae.apps.embed_work import EmbedWork, Input
from audiovae.apps.output import plan_names
from audiovae.apps.sources import find_inputs
from audiovae.atomic import write_atomically, writing
from audiovae.corpus.engines import Failed, WorkEngine, find_engine
from audiovae.corpus.report import printable, summarise
from audiovae.corpus.share import Share
from audiovae.corpus.workers import Progress
from audiovae.errors import AudioError, UserError

FORMATS = ("npz", "npy", "parquet")


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


@dataclass(frozen=True)
class LeftOut:
    """A file that could not be embedded."""

    path: Path
    error: str
    """What is wrong with it, in one line."""


class EmbedReport(list[Embedded]):
    """The files that were embedded, in the order of the inputs; and what was left out."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[LeftOut] = []
        self.errors: Path | None = None
        """The table of them: a JSON line a file, with `path` and `error`."""


def embed_files(
    encoder: Encoder,
    inputs: Iterable[str | Path],
    output: str | Path,
    *,
    pool: Pool | None = None,
    format: str = "npz",
    progress: bool = False,
    engine: str | WorkEngine = "local",
    share: Share | None = None,
) -> EmbedReport:
    """Embed files.

    `a.wav` gives `output/a.npz` with `embeddings`, `timestamps` and `metadata` (a JSON text), or
    with `format` `npy` `output/a.npy` with the embeddings alone. An output that ends in `.parquet`
    is one table of all files: `path`, `frame`, `timestamp`, `embedding`; with `format` `parquet`
    the output is a folder of that table's parts, `part-00000.parquet` and so on. Tables appear
    when all is done.

    A file that can't be read is left out: it costs a line in the table of errors,
    `output/_errors.jsonl`, or `all.errors.jsonl` beside `all.parquet`, and nothing else.

    Args:
        encoder: whose embeddings.
        inputs: files, and folders of them.
        output: a folder, or a file that ends in `.parquet`.
        pool: as `Encoder.embed` has it.
        format: `npz`, `npy` or `parquet`, of what is written to a folder.
        progress: whether to show any.
        engine: `local`, in this process; `ray`, by a pool of actors, each with an encoder of its
            own; or an engine. The rows are the same.
        share: which part of the inputs is this job's; each job writes files of its own.

    Raises:
        AudioError: where there is one input, and it is no sound.
        UserError: where no input is a sound, on two outputs of one name, or an output that is an
            input.
    """
    check_pool(pool, encoder.kind)
    if format not in FORMATS:
        raise UserError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
    output = Path(output)
    format = "parquet" if output.suffix.lower() == TABLE else format
    works = find_engine(engine) if isinstance(engine, str) else engine
    items = _plan(inputs, output, format, share)
    errors = _errors_file(output, share)
    report = EmbedReport()
    with open_sink(output, format, encoder, pool, share) as sink:
        results = works.run(EmbedWork(encoder, pool), items)
        for item, found in Progress("embed", items, progress).follow(results):
            if isinstance(found, Failed):
                report.left_out.append(LeftOut(item.path, found.error))
                continue
            path = sink.give(item, found)
            frames = len(found.embedding.timestamps)
            report.append(Embedded(item.path, path, frames, encoder.dimension, found.seconds))
        if not report and share is None:
            _give_up(report.left_out)
    report.errors = _write_errors(errors, report.left_out)
    return report


def _plan(
    inputs: Iterable[str | Path], output: Path, format: str, share: Share | None
) -> list[Input]:
    """Return the files to embed and where their embeddings go, of all or of one share."""
    found = find_inputs(inputs)
    if format == "parquet":
        check_table(output, share)
        targets = [output] * len(found)
    else:
        targets = [paths[0] for paths in plan_names(found, output, [""], f".{format}")]
    items = [
        Input(path, path.absolute(), target)
        for (path, _), target in zip(found, targets, strict=True)
    ]
    return items if share is None else share.of(items)


def _errors_file(output: Path, share: Share | None) -> Path:
    """Return the place of the table of errors. Readers of tables pass over what begins with `_`."""
    if output.suffix.lower() == TABLE:
        return output.with_suffix(".errors.jsonl")
    return output / ("_errors.jsonl" if share is None else f"_errors-{share.name}.jsonl")


def _write_errors(path: Path, left_out: list[LeftOut]) -> Path | None:
    """Write the table of errors; without any, remove an older one."""
    if not left_out:
        path.unlink(missing_ok=True)
        return None
    lines = [
        json.dumps({"path": printable(str(one.path)), "error": printable(one.error)})
        for one in left_out
    ]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode("ascii"))
    return path


def _give_up(left_out: list[LeftOut]) -> NoReturn:
    if len(left_out) == 1:
        raise AudioError(left_out[0].error)
    reasons = [(str(one.path), one.error.replace(str(one.path), "the file")) for one in left_out]
    raise UserError(f"none of {len(left_out)} files could be embedded: {summarise(reasons)}")
