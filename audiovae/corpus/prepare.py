"""Turn a folder of recordings into a store or shards: parallel, resumable, nothing unsaid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from audiovae.atomic import CLOSED, FULL, why_not
from audiovae.audio.files import Limits
from audiovae.corpus.assemble import Converted, Piece, make_entries
from audiovae.corpus.convert import Part, convert, is_silent
from audiovae.corpus.engines import Always, Failed, LocalEngine, WorkEngine
from audiovae.corpus.forms import SHARDS, STORE, Form
from audiovae.corpus.job import Job, plan_job
from audiovae.corpus.manifest import valid_domain
from audiovae.corpus.report import PrepareReport, ShareReport, summarise
from audiovae.corpus.scan import Skipped, Source, hash_file
from audiovae.corpus.share import Share
from audiovae.corpus.store import PARTS_FOLDER
from audiovae.corpus.workers import Progress, run_processes, run_threads
from audiovae.errors import CorpusError
from audiovae.locks import LOCK, holding, lock_in

__all__ = ["PrepareReport", "prepare", "prepare_share", "valid_domain"]


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    sample_rate: int = 44_100,
    workers: int | None = None,
    valid: float = 0.1,
    test: float = 0.0,
    seed: int = 0,
    level: float | None = None,
    shards: bool = False,
    shard_mb: float = 256,
    piece: float = 30.0,
    limits: Limits | None = None,
    progress: bool = True,
    engine: str | WorkEngine = "local",
) -> PrepareReport:
    """Make the store `output` from the recordings in `folder/<domain>/**`, or shards of it.

    `sample_rate` is the store's, in hertz; `valid` and `test` are shares of the recordings;
    `workers` is the number of processes, one for each core if left out. `level` is the root mean
    square, in dB of full scale, that each recording is brought to as far as its peak allows;
    left out, all stay as loud as they are. A file
    `folder/groups.json` may map paths to groups that share a split. Interrupted at any moment, the
    same call goes on where it was and ends with the same bytes. Over a finished store it converts
    what is new or changed, and an unchanged store stays as it is. While it works, the disk holds
    the samples twice. With the engine `ray` a pool of actors hashes and converts, on machines that
    see both folders; the bytes are the same.

    With `shards` the output is tar files of up to about `shard_mb` megabytes with FLAC of `piece`
    seconds, to be read in streams from any place; all else is as with a store.

    A script that calls it needs `if __name__ == "__main__":`, as with all processes that spawn.

    Raises `CorpusError` when the folder has no usable recording or the output is something else
    than a store, `ConfigError` on settings out of range, and `UserError` while another command
    holds the output.
    """
    split = {"valid": valid, "test": test, "seed": seed}
    cut = (piece, shard_mb) if shards else None
    job = plan_job(
        folder, output, split, sample_rate, level, cut, limits, workers, progress, engine
    )
    _check_output(Path(folder), job.output, job.form)
    with holding(job.output, lock_in(job.output), "prepare"), _told(job.output):
        return _prepare(job)


def prepare_share(
    folder: str | Path,
    output: str | Path,
    share: Share,
    *,
    sample_rate: int = 44_100,
    workers: int | None = None,
    level: float | None = None,
    shards: bool = False,
    shard_mb: float = 256,
    piece: float = 30.0,
    limits: Limits | None = None,
    progress: bool = True,
    engine: str | WorkEngine = "local",
) -> ShareReport:
    """Convert the share of one of several jobs; `prepare` then finds it done, and joins all.

    The jobs may run at once, on machines that see both folders. When all have ended, `prepare`
    with the same arguments makes the store: the bytes are those that it would have made alone.
    As long as one of them runs, `prepare` is refused.

    Raises `CorpusError` and `ConfigError` as `prepare` does.
    """
    cut = (piece, shard_mb) if shards else None
    job = plan_job(folder, output, {}, sample_rate, level, cut, limits, workers, progress, engine)
    _check_output(Path(folder), job.output, job.form)
    sources = share.of(job.found.sources)
    lock = lock_in(job.output)
    with holding(job.output, lock, "prepare --shard", shared=True), _told(job.output):
        done = _convert(job, sources, clean=False)
    reasons = [(source.path, done.reason(source.path)) for source in sources]
    skipped = [(path, reason) for path, reason in sorted(reasons) if reason]
    return ShareReport(job.output, str(share), len(sources), done.fresh, skipped)


@contextmanager
def _told(output: Path) -> Iterator[None]:
    """Say of a place that can't be written what the system says."""
    try:
        yield
    except OSError as error:
        if error.errno in (*FULL, *CLOSED):
            raise CorpusError(f"{output} can't be written: {why_not(error)}") from None
        raise


def _check_output(folder: Path, output: Path, form: Form) -> None:
    """Raise `CorpusError` unless `output` is new, empty or of a form, apart from the source."""
    source, target = folder.resolve(), output.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise CorpusError(f"{output} and {folder} lie in each other: choose a place outside")
    if not output.exists():
        return
    if not output.is_dir():
        raise CorpusError(f"{output} is a file: choose a folder for the {form.name}")
    other = STORE if form is SHARDS else SHARDS
    begun = (output / PARTS_FOLDER).is_dir() and not (output / other.index).exists()
    # One that was killed as soon as it began leaves the file of its lock.
    if begun or {path.name for path in output.iterdir()} <= {LOCK}:
        return
    try:
        settings = json.loads((output / form.index).read_text(encoding="utf-8"))
        mine = isinstance(settings, dict) and settings.get("format") == form.format
    except (OSError, ValueError, RecursionError):
        mine = False
    if not mine:
        what = "a store" if form is STORE else "shards"
        raise CorpusError(f"{output} holds something else than {what}: choose a new folder")


def _convert(job: Job, sources: list[Source], clean: bool) -> Converted:
    """Convert what is not converted yet; `clean` where nobody else does so now."""
    bar = Progress("hashing", sources, job.progress)
    hashes, failed = {}, {}
    for source, sha256 in _run(job, run_threads, _try_hash, sources, bar):
        if isinstance(sha256, str):
            hashes[source.path] = sha256
        else:
            failed[source.path] = sha256.error
    keys = {path: job.key(path, sha256) for path, sha256 in hashes.items()}
    pieces = job.form.known(job.output, lambda e: job.key(e.path, e.sha256), job.settings)
    folder = job.output.absolute() / PARTS_FOLDER
    # The first path of equal contents is the one that is converted, whatever the order of hashing.
    todo = {
        keys[source.path]: job.task(source, folder / keys[source.path])
        for source in reversed(sources)
        if keys.get(source.path) not in pieces and source.path in keys
    }
    if todo:
        folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.tmp") if todo and clean else ():  # A killed run's halves.
        stale.unlink(missing_ok=True)
    # The longest first, so that no worker is left alone with it at the end.
    tasks = sorted(todo.values(), key=lambda task: (-task.size, task.source.path))
    bar = Progress("converting", tasks, job.progress)
    for task, part in _run(job, run_processes, convert, tasks, bar):
        part = Part(reason=part.error) if isinstance(part, Failed) else part
        pieces[task.part.name] = job.form.made(task, part)
    fresh = sum(pieces[task.part.name].part.reason is None for task in tasks)
    return Converted(hashes, failed, keys, pieces, fresh)


def _run(
    job: Job, here: Any, function: Callable[[Any], Any], items: list[Any], bar: Progress
) -> Iterator[tuple[Any, Any]]:
    """Do the work, by `here` on this machine, or by the job's engine."""
    if isinstance(job.engine, LocalEngine):
        return here(function, items, job.workers, bar)
    return bar.follow(job.engine.run(Always(function), items))


def _prepare(job: Job) -> PrepareReport:
    """Do the work of `prepare`, after its arguments were checked."""
    found, output, settings = job.found, job.output, job.settings
    done = _convert(job, found.sources, clean=True)
    skipped = list(found.skipped)
    kept: list[tuple[Source, Piece]] = []
    first: dict[str, str] = {}
    for source in found.sources:
        if reason := done.reason(source.path):
            skipped.append((source.path, reason))
            continue
        sha256 = done.hashes[source.path]
        if first.setdefault(sha256, source.path) != source.path:
            skipped.append((source.path, f"the same bytes as {first[sha256]!r}"))
        else:
            kept.append((source, done.pieces[done.keys[source.path]]))
    skipped.sort()
    if not kept:
        _give_up(output, skipped)
    entries = make_entries(kept, done.hashes, found.groups, settings)
    used = {key: done.pieces[key].part.reason for key in sorted(set(done.keys.values()))}
    silent = {key: reason for key, reason in used.items() if reason and is_silent(reason)}
    settings = settings | {"silent": silent}
    samples = {source.path: piece for source, piece in kept}
    unchanged = not job.form.assemble(output, entries, samples, settings)
    rate, name = settings["sample_rate"], job.form.name
    return PrepareReport(output, rate, found.domains, entries, skipped, unchanged, name)


def _try_hash(source: Source) -> str | Failed:
    try:
        return hash_file(source.file)
    except OSError:
        return Failed("can't be opened")


def _give_up(output: Path, skipped: Skipped) -> NoReturn:
    """Remove what this run left in the output, and say why nothing is left."""
    shutil.rmtree(output / PARTS_FOLDER, ignore_errors=True)
    raise CorpusError(
        f"no usable recording, {len(skipped)} files left out: {summarise(skipped)}; expected "
        "audio files in a folder for each domain"
    )
