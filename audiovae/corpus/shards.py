"""Shards: tar files of a corpus that is read in streams, and the index that says what they hold."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.audio.flac import MAX_RATE
from audiovae.corpus.manifest import SPLITS, Split, valid_domain
from audiovae.corpus.sources import FILE, Source, find_source, is_remote
from audiovae.errors import CorpusError

INDEX_FILE = "shards.json"
FORMAT = "audiovae-shards"
VERSION = 1
LONGEST = 600.0
"""Seconds of one sound in a shard: each is decoded as a whole."""
MOST_INDEX = 1 << 28
"""Bytes of an index."""
UNKNOWN = float("nan")
_KEYS = ("file", "domain", "split", "bytes", "sha256", "frames")
Loudness = dict[str, dict[str, int]]
"""Of each domain, how many of its training recordings have a level in dB, rounded to a tenth."""


@dataclass(frozen=True, eq=False)
class Shard:
    """A tar file with sounds of one domain and split: `KEY.flac` and `KEY.json` of each."""

    file: str
    """Its name beside the index."""
    domain: str
    split: Split
    bytes: int
    sha256: str
    """Of the whole file, 64 hexadecimal digits."""
    frames: np.ndarray
    """Samples of each sound, int64 (sound,), in the order they lie."""
    listing: str = ""
    """What `prepare` knows its content by."""

    def facts(self) -> dict[str, Any]:
        """Return what the index says of it."""
        return {**dataclasses.asdict(self), "frames": self.frames.tolist()}


class Shards:
    """A corpus in shards, at a path or URL: what `prepare --shards` makes.

    Sounds are pieces of recordings, mono and at one rate; no recording is read by itself.
    """

    def __init__(
        self, source: Source, shards: Sequence[Shard], sample_rate: int, loudness: Loudness
    ) -> None:
        self.source, self.shards, self.sample_rate = source, list(shards), sample_rate
        self._loudness = loudness
        text = json.dumps([sample_rate, *((s.domain, s.split, s.sha256) for s in self.shards)])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        """SHA-256 of what the shards are."""

    @classmethod
    def open(cls, place: str | Path) -> Shards:
        """Open shards by their index. Raises `CorpusError` where it is none, damaged or too new.

        Of a folder, files that are missing or of another size are told at once.
        """
        source = find_source(place)
        values, shards = read_index(source)
        if not is_remote(place):
            for shard in shards:
                _check_size(Path(place), shard, source.mend)
        return cls(source, shards, values["sample_rate"], values.get("loudness", {}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.source, self.fingerprint)

    @property
    def domains(self) -> list[str]:
        """The domains' names, sorted."""
        return sorted({shard.domain for shard in self.shards})

    def of(self, domain: str, split: Split | str | None = None) -> list[Shard]:
        """Return the shards of a domain, of one split or of all; `CorpusError` if unknown."""
        if domain not in self.domains:
            known = ", ".join(self.domains)
            raise CorpusError(f"no domain {domain!r} here; the domains are {known}")
        of_it = (shard for shard in self.shards if shard.domain == domain)
        return [shard for shard in of_it if split is None or shard.split == split]

    def hours(self, domain: str, split: Split | str | None = None) -> float:
        """Return the hours of audio of a domain, of one split or of all."""
        frames = sum(int(shard.frames.sum()) for shard in self.of(domain, split))
        return frames / self.sample_rate / 3600

    def loudness(self, domains: Iterable[str]) -> float:
        """Return the median level of domains' training recordings in dB, NaN where unknown."""
        tables = (self._loudness.get(domain, {}) for domain in domains)
        levels = sorted((float(level), n) for table in tables for level, n in table.items())
        ends = list(itertools.accumulate(count for _, count in levels))
        return levels[bisect.bisect_right(ends, ends[-1] // 2)][0] if levels else UNKNOWN


def _reopen(source: Source, fingerprint: str) -> Shards:
    shards = Shards.open(source.place if is_remote(source.place) else Path(source.place))
    if shards.fingerprint != fingerprint:
        raise CorpusError(f"{source.place} was prepared anew while it was in use: start again")
    return shards


def read_index(source: Source) -> tuple[dict[str, Any], list[Shard]]:
    """Return the table of an index, and its shards, whether they are there or not.

    Raises `CorpusError` on what no index can say.
    """
    where = source.name(INDEX_FILE)
    values = _parse(source.fetch(INDEX_FILE, MOST_INDEX), where)
    shards = [_shard(facts, where, values["sample_rate"]) for facts in values["shards"]]
    if len({shard.file for shard in shards}) != len(shards):
        raise CorpusError(f"{where} names a shard twice: prepare the shards anew")
    domains = {shard.domain for shard in shards}
    if len({domain.casefold() for domain in domains}) != len(domains):
        raise CorpusError(f"{where} has domains that differ in case alone: rename one")
    return values, shards


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where} is no JSON ({error}): prepare the shards anew") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CorpusError(
            f"{where} is no index of shards: make one with audiovae prepare FOLDER --shards"
        )
    if values.get("version") != VERSION:
        raise CorpusError(
            f"{where} has version {values.get('version')}, this audiovae reads {VERSION}: "
            "prepare the shards anew"
        )
    rate = values.get("sample_rate")
    if not _whole(rate, 1000, MAX_RATE):
        raise CorpusError(f"{where} has no valid sample_rate: prepare the shards anew")
    if not isinstance(values.get("shards"), list) or not values["shards"]:
        raise CorpusError(f"{where} lists no shards: prepare them anew")
    if not _are_levels(values.get("loudness", {})):
        raise CorpusError(f"{where} has no valid loudness: prepare the shards anew")
    return values


def _are_levels(table: Any) -> bool:
    return isinstance(table, dict) and all(
        isinstance(levels, dict)
        and all(
            re.fullmatch(r"-?\d{1,3}(\.\d)?", level) and _whole(count, 1, 1 << 40)
            for level, count in levels.items()
        )
        for levels in table.values()
    )


def _shard(facts: Any, where: str, sample_rate: int) -> Shard:
    """Return a shard from what an index says. Raises `CorpusError` on what no index can say."""
    problem = _problem(facts, int(LONGEST * sample_rate))
    if problem:
        raise CorpusError(f"{where}: {problem}; prepare the shards anew")
    frames = np.array(facts["frames"], np.int64)
    known = {name: facts[name] for name in _KEYS}
    return Shard(**{**known, "frames": frames}, listing=str(facts.get("listing", "")))


def _problem(facts: Any, longest: int) -> str | None:
    """Return what is wrong with what an index says of a shard."""
    if not isinstance(facts, dict) or not all(name in facts for name in _KEYS):
        return f"each shard must have {', '.join(_KEYS)}"
    for name in ("file", "domain", "split", "sha256"):
        if not isinstance(facts[name], str):
            return f"{name} must be text"
    file = facts["file"]
    if not FILE.fullmatch(file) or not file.endswith(".tar"):
        return f"a shard's file is {file[:80]!r}; expected letters, digits, _ - and . before .tar"
    if facts["split"] not in SPLITS:
        return f"split must be one of {', '.join(SPLITS)}"
    if not re.fullmatch("[0-9a-f]{64}", facts["sha256"]):
        return "sha256 must be 64 hexadecimal digits"
    if not _whole(facts["bytes"], 1, 1 << 50):
        return "bytes must be a whole number of at least 1"
    frames = facts["frames"]
    if not isinstance(frames, list) or not frames:
        return "frames must list the samples of each sound"
    if not all(_whole(n, 1, longest) for n in frames):
        return f"each sound must have 1 to {longest} samples, {LONGEST:g} seconds"
    try:
        valid_domain(facts["domain"])
    except CorpusError as error:
        return str(error)
    return None


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _check_size(folder: Path, shard: Shard, mend: str) -> None:
    path = folder / shard.file
    size = path.stat().st_size if path.is_file() else None
    if size != shard.bytes:
        found = "is not there" if size is None else f"has {size} bytes, not {shard.bytes}"
        raise CorpusError(f"{path} {found}: {mend}")


def format_index(settings: dict[str, Any], shards: Sequence[Shard], loudness: Loudness) -> str:
    """Return the text of an index: a line for each shard, and the totals that people look for."""
    totals: dict[str, dict[str, dict[str, float]]] = {}
    for shard in shards:
        split = totals.setdefault(shard.domain, {}).setdefault(
            shard.split, {"shards": 0, "sounds": 0, "seconds": 0.0, "bytes": 0}
        )
        split["shards"] += 1
        split["sounds"] += len(shard.frames)
        split["seconds"] += int(shard.frames.sum()) / settings["sample_rate"]
        split["bytes"] += shard.bytes
    for splits in totals.values():
        for split in splits.values():
            split["seconds"] = round(split["seconds"], 3)
    head = {
        "format": FORMAT, "version": VERSION, **settings, "loudness": loudness, "totals": totals,
    }  # fmt: skip
    lines = ",\n".join(f"  {json.dumps(shard.facts())}" for shard in shards)
    return json.dumps(head, indent=1)[:-2] + f',\n "shards": [\n{lines}\n ]\n}}\n'
