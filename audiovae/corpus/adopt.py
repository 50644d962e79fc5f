"""An index for shards that another program wrote, as webdataset's writers do."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.audio.flac import probe_flac
from audiovae.corpus.manifest import SPLITS, valid_domain, write_atomic
from audiovae.corpus.pack import sum_of
from audiovae.corpus.shard_reader import SOUND, UNREADABLE, is_sound
from audiovae.corpus.shards import INDEX_FILE, LONGEST, Shard, Shards, format_index, read_index
from audiovae.corpus.sources import FILE, Source
from audiovae.errors import AudioError, CorpusError

_NAMED = re.compile(rf"(?P<domain>.+?)(?:-(?P<split>{'|'.join(SPLITS)}))?(?:-\d+)?\.tar")


def has_foreign_shards(folder: Path) -> bool:
    """Say whether a folder holds tar files, and no index that `prepare` made of recordings."""
    if not folder.is_dir() or not any(folder.glob("*.tar")):
        return False
    if not (folder / INDEX_FILE).exists():
        return True
    try:
        return "conversion" not in read_index(Source(str(folder)))[0]
    except CorpusError:
        return True


def index_shards(folder: str | Path, sample_rate: int) -> Shards:
    """Write the index of tar files in a folder beside them, and open them.

    Every sample must have a sound, `KEY.flac` at `sample_rate`, of ten minutes at most; of more
    channels the mean is taken. Each file is of one domain and split: those that the samples'
    `KEY.json` say (`domain`, `split`), or else the file's name, `DOMAIN-SPLIT-000000.tar`; `train`
    where neither says. Raises `CorpusError` on anything else.
    """
    folder = Path(folder)
    shards = [_look(file, sample_rate) for file in sorted(folder.glob("*.tar"))]
    if not shards:
        raise CorpusError(f"{folder} holds no tar file: expected shards")
    write_atomic(folder / INDEX_FILE, format_index({"sample_rate": sample_rate}, shards, {}))
    return Shards.open(folder)


def _look(file: Path, sample_rate: int) -> Shard:
    """Return what a tar file holds."""
    if not FILE.fullmatch(file.name):
        raise CorpusError(
            f"{file} has a name of other characters than A-Z a-z 0-9 . _ -: rename it"
        )
    frames: list[int] = []
    said: dict[str, set[str]] = {"domain": set(), "split": set()}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isfile() else None
                if data is not None and is_sound(member):
                    frames.append(_frames(data.read(), f"{file}, {member.name!r}", sample_rate))
                elif data is not None and member.name.endswith(".json"):
                    facts = json.loads(data.read())
                    for name, values in said.items():
                        if isinstance(facts, dict) and name in facts:
                            values.add(str(facts[name]))
    except UNREADABLE as error:
        raise CorpusError(f"{file} is cut off, or no tar file ({error}): copy it again") from None
    if not frames:
        raise CorpusError(f"{file} holds no sound: expected KEY.{SOUND} in each sample")
    named = _NAMED.fullmatch(file.name)
    assert named is not None
    domain = _one(file, "domain", said["domain"], named["domain"])
    split: Any = _one(file, "split", said["split"], named["split"] or "train")
    if split not in SPLITS:
        raise CorpusError(f"{file} is of split {split!r}; expected one of {', '.join(SPLITS)}")
    size, digest = sum_of(file)
    return Shard(file.name, valid_domain(domain), split, size, digest, np.array(frames, np.int64))


def _one(file: Path, what: str, said: set[str], named: str) -> str:
    if len(said) > 1:
        raise CorpusError(
            f"{file} has samples of {len(said)} {what}s ({', '.join(sorted(said)[:3])}…): write "
            f"shards of one {what} each"
        )
    return said.pop() if said else named


def _frames(data: bytes, where: str, sample_rate: int) -> int:
    """Return the samples of a sound, which must fit the corpus."""
    try:
        frames, rate = probe_flac(data)
    except AudioError as error:
        raise CorpusError(f"{where}: {error}: write it again") from None
    if rate != sample_rate:
        raise CorpusError(
            f"{where} has {rate} Hz; expected {sample_rate}, by --sample-rate: prepare the "
            "recordings, which brings all to one rate"
        )
    if not 1 <= frames <= LONGEST * rate:
        raise CorpusError(
            f"{where} lasts {frames / rate:.1f} s; expected up to {LONGEST:g}: prepare the "
            "recordings, which cuts them up"
        )
    return frames
