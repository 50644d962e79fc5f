"""What a preparation is to do: its arguments checked, its folder listed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from audiovae.audio.files import Limits
from audiovae.corpus.convert import Task
from audiovae.corpus.engines import LocalEngine, WorkEngine, find_engine
from audiovae.corpus.forms import SHARDS, STORE, Form, piece_samples
from audiovae.corpus.scan import Scan, Source, scan
from audiovae.corpus.split import assign_splits
from audiovae.corpus.workers import available_cores
from audiovae.errors import ConfigError

CONVERSION = 1
"""Changes whenever the samples that a file gives do, so that old ones are not used again."""


@dataclass(frozen=True)
class Job:
    """What there is to prepare, and by whom."""

    found: Scan
    output: Path
    form: Form
    settings: dict[str, Any]
    """Of the store or the shards."""
    limits: Limits
    workers: int
    progress: bool
    engine: WorkEngine

    def key(self, path: str, sha256: str) -> str:
        """Return what samples depend on: a file's content, how it is read, and to what."""
        return _digest([sha256, PurePosixPath(path).suffix.lower(), self.settings["conversion"]])

    def task(self, source: Source, part: Path) -> Task:
        """Return the conversion of a recording."""
        rate, level = self.settings["sample_rate"], self.settings["level"]
        return Task(source, part, rate, self.limits, level, self.settings.get("piece"))


def plan_job(
    folder: str | Path,
    output: str | Path,
    split: dict[str, Any],
    sample_rate: int,
    level: float | None,
    cut: tuple[float, float] | None,
    limits: Limits | None,
    workers: int | None,
    progress: bool,
    engine: str | WorkEngine,
) -> Job:
    """Check the arguments of a preparation, and list its folder.

    Args:
        folder: of domains.
        output: the store or the shards.
        split: `valid`, `test` and `seed`; none where nothing is split yet.
        sample_rate: in hertz.
        level: in dB of full scale, or none.
        cut: for shards, seconds of a piece and megabytes of a shard.
        limits: of files.
        workers: processes, one for each core if left out.
        progress: whether to show any.
        engine: its name, or one.

    Raises `ConfigError` and `UserError` on arguments that won't do, `CorpusError` on the folder.
    """
    folder, limits = Path(folder), limits or Limits()
    if not 1000 <= sample_rate <= 768_000:
        raise ConfigError(f"sample_rate is {sample_rate}; expected 1000 to 768000 Hz")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; expected at least 1")
    if level is not None and not -60 <= level <= 0:
        raise ConfigError(f"level is {level} dB; expected -60 to 0 dB of full scale")
    form, piece = STORE, None
    if cut is not None:
        form, piece = SHARDS, piece_samples(*cut, sample_rate)
    if split:
        assign_splits([], **split)
    works = find_engine(engine, workers=workers) if isinstance(engine, str) else engine
    # Workers elsewhere stand in other folders.
    found = scan(folder if isinstance(works, LocalEngine) else folder.absolute())
    conversion = [CONVERSION, sample_rate, level, dataclasses.asdict(limits)]
    settings = {
        "format": form.format,
        "version": form.version,
        "sample_rate": sample_rate,
        **split,
        "level": level,
        "conversion": _digest([*conversion, piece] if piece else conversion),
    }
    if cut is not None:
        settings |= {"piece": piece, "shard_mb": cut[1]}
    workers = workers or available_cores()
    return Job(found, Path(output), form, settings, limits, workers, progress, works)


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:40]
