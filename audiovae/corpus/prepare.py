"""Turn a folder of recordings into a store or shards: parallel, resumable, nothing unsaid."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from audiovae.atomic import CLOSED, FULL, why_not
from audiovae.audio.files import Limits
from audiovae.corpus.assemble import Piece
from audiovae.corpus.convert import Task, convert, is_silent
from audiovae.corpus.forms import SHARDS, STORE, Form, piece_samples
from audiovae.corpus.manifest import Entry, valid_domain
from audiovae.corpus.report import PrepareReport, summarise
from audiovae.corpus.scan import Scan, Skipped, Source, hash_file, scan
from audiovae.corpus.split import assign_splits
from audiovae.corpus.store import PARTS_FOLDER
from audiovae.corpus.workers import Progress, available_cores, run_processes, run_threads
from audiovae.errors import ConfigError, CorpusError

__all__ = ["PrepareReport", "prepare", "valid_domain"]

CONVERSION = 1
"""Changes whenever the samples that a file gives do, so that old ones are not used again."""


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
) -> PrepareReport:
    """Make the store `output` from the recordings in `folder/<domain>/**`, or shards of it.

    `sample_rate` is the store's, in hertz; `valid` and `test` are shares of the recordings;
    `workers` is the number of processes, one for each core if left out. `level` is the root mean
    square, in dB of full scale, that each recording is brought to as far as its peak allows;
    left out, all stay as loud as they are. A file
    `folder/groups.json` may map paths to groups that share a split. Interrupted at any moment, the
    same call goes on where it was and ends with the same bytes. Over a finished store it converts
    what is new or changed, and an unchanged store stays as it is. While it works, the disk holds
    the samples twice.

    With `shards` the output is tar files of up to about `shard_mb` megabytes with FLAC of `piece`
    seconds, to be read in streams from any place; all else is as with a store.

    A script that calls it needs `if __name__ == "__main__":`, as with all processes that spawn.

    Raises `CorpusError` when the folder has no usable recording or the output is something else
    than a store, and `ConfigError` on settings out of range.
    """
    folder, output = Path(folder), Path(output)
    limits = limits or Limits()
    if not 1000 <= sample_rate <= 768_000:
        raise ConfigError(f"sample_rate is {sample_rate}; expected 1000 to 768000 Hz")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; expected at least 1")
    if level is not None and not -60 <= level <= 0:
        raise ConfigError(f"level is {level} dB; expected -60 to 0 dB of full scale")
    form, cut = STORE, None
    if shards:
        form, cut = SHARDS, piece_samples(piece, shard_mb, sample_rate)
    assign_splits([], valid, test, seed)
    found = scan(folder)
    _check_output(folder, output, form)
    conversion = [CONVERSION, sample_rate, level, dataclasses.asdict(limits)]
    settings = {
        "format": form.format,
        "version": form.version,
        "sample_rate": sample_rate,
        "valid": valid,
        "test": test,
        "seed": seed,
        "level": level,
        "conversion": _digest([*conversion, cut] if cut else conversion),
    }
    if cut:
        settings |= {"piece": cut, "shard_mb": shard_mb}
    workers = workers or available_cores()
    try:
        return _prepare(found, output, form, settings, limits, workers, progress)
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
    if begun or not any(output.iterdir()):
        return
    try:
        settings = json.loads((output / form.index).read_text(encoding="utf-8"))
        mine = isinstance(settings, dict) and settings.get("format") == form.format
    except (OSError, ValueError, RecursionError):
        mine = False
    if not mine:
        what = "a store" if form is STORE else "shards"
        raise CorpusError(f"{output} holds something else than {what}: choose a new folder")


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:40]


def _prepare(
    found: Scan,
    output: Path,
    form: Form,
    settings: dict[str, Any],
    limits: Limits,
    workers: int,
    progress: bool,
) -> PrepareReport:
    """Do the work of `prepare`, after its arguments were checked."""
    bar = Progress("hashing", found.sources, progress)
    hashing = run_threads(_try_hash, found.sources, workers, bar)
    hashes = {source.path: sha256 for source, sha256 in hashing if sha256}
    skipped = list(found.skipped)
    skipped += [(s.path, "can't be opened") for s in found.sources if s.path not in hashes]

    def key(path: str, sha256: str) -> str:
        """Return what samples depend on: a file's content, how it is read, and to what."""
        return _digest([sha256, PurePosixPath(path).suffix.lower(), settings["conversion"]])

    keys = {path: key(path, sha256) for path, sha256 in hashes.items()}
    pieces = form.known(output, lambda entry: key(entry.path, entry.sha256), settings)
    folder, rate, level = output / PARTS_FOLDER, settings["sample_rate"], settings["level"]
    cut = settings.get("piece")
    # The first path of equal contents is the one that is converted, whatever the order of hashing.
    todo = {
        keys[source.path]: Task(source, folder / keys[source.path], rate, limits, level, cut)
        for source in reversed(found.sources)
        if keys.get(source.path) not in pieces and source.path in keys
    }
    if todo:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.tmp"):  # A killed run's halves.
            stale.unlink(missing_ok=True)
    # The longest first, so that no worker is left alone with it at the end.
    tasks = sorted(todo.values(), key=lambda task: (-task.size, task.source.path))
    bar = Progress("converting", tasks, progress)
    for task, part in run_processes(convert, tasks, workers, bar):
        pieces[task.part.name] = form.made(task, part)

    kept: list[tuple[Source, Piece]] = []
    first: dict[str, str] = {}
    for source in found.sources:
        if source.path not in keys:
            continue
        piece, sha256 = pieces[keys[source.path]], hashes[source.path]
        if piece.part.reason:
            skipped.append((source.path, piece.part.reason))
        elif first.setdefault(sha256, source.path) != source.path:
            skipped.append((source.path, f"the same bytes as {first[sha256]!r}"))
        else:
            kept.append((source, piece))
    skipped.sort()
    if not kept:
        _give_up(output, skipped)
    entries = _entries(kept, hashes, found.groups, settings)
    used = {key: pieces[key].part.reason for key in sorted(set(keys.values()))}
    silent = {key: reason for key, reason in used.items() if reason and is_silent(reason)}
    settings = settings | {"silent": silent}
    samples = {source.path: piece for source, piece in kept}
    changed = form.assemble(output, entries, samples, settings)
    unchanged = not changed
    return PrepareReport(output, rate, found.domains, entries, skipped, unchanged, form.name)


def _try_hash(source: Source) -> str | None:
    try:
        return hash_file(source.file)
    except OSError:
        return None


def _entries(
    kept: list[tuple[Source, Piece]],
    hashes: dict[str, str],
    groups: dict[str, str],
    settings: dict[str, Any],
) -> list[Entry]:
    """Return the manifest of the sources kept: sorted by path, one after the other in a domain."""
    units = {source.path: groups.get(source.path, source.path) for source, _ in kept}
    splits = assign_splits(
        [(source.domain, units[source.path]) for source, _ in kept],
        settings["valid"],
        settings["test"],
        settings["seed"],
    )
    entries, ends = [], dict.fromkeys((source.domain for source, _ in kept), 0)
    for source, piece in kept:
        entry = Entry(
            path=source.path,
            domain=source.domain,
            sha256=hashes[source.path],
            frames=piece.part.frames,
            sample_rate=piece.part.sample_rate,
            channels=piece.part.channels,
            loudness=piece.part.loudness,
            split=splits[units[source.path]],
            group=groups.get(source.path),
            offset=ends[source.domain],
        )
        entries.append(entry)
        ends[source.domain] += entry.frames
    return entries


def _give_up(output: Path, skipped: Skipped) -> NoReturn:
    """Remove what this run left in the output, and say why nothing is left."""
    shutil.rmtree(output / PARTS_FOLDER, ignore_errors=True)
    if output.is_dir() and not any(output.iterdir()):
        output.rmdir()
    raise CorpusError(
        f"no usable recording, {len(skipped)} files left out: {summarise(skipped)}; expected "
        "audio files in a folder for each domain"
    )
