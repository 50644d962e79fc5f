"""From converted recordings to shards: cut, shuffled once, packed; what is there is used again."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from audiovae.corpus.assemble import Piece
from audiovae.corpus.convert import cut
from audiovae.corpus.crops import name_key
from audiovae.corpus.manifest import Entry, Split, write_atomic
from audiovae.corpus.shards import INDEX_FILE, Loudness, Shard, format_index, read_index
from audiovae.corpus.sources import Source
from audiovae.corpus.store import PARTS_FOLDER
from audiovae.errors import CorpusError

_OURS = re.compile(r".+-(?:train|valid|test)-\d{6}\.tar")


@dataclass(frozen=True)
class Sound:
    """A piece of a recording: what becomes two members of a shard."""

    key: str
    facts: bytes
    """JSON."""
    frames: int
    place: tuple[Path, int, int]
    """File that holds its FLAC, first byte, bytes."""

    @property
    def bytes(self) -> int:
        """Bytes that it takes in a tar file."""
        return sum(512 + -(-size // 512) * 512 for size in (self.place[2], len(self.facts)))


@dataclass(frozen=True)
class Planned:
    """A shard that is to be."""

    file: str
    domain: str
    split: Split
    sounds: list[Sound]

    @property
    def listing(self) -> str:
        """Sixteen hexadecimal digits of all that its bytes follow from, but its samples' values.

        Those follow from the recordings' hashes, which are among the facts.
        """
        digest = hashlib.sha256()
        for sound in self.sounds:
            digest.update(f"{sound.key} {sound.place[2]} {len(sound.facts)}\n".encode())
            digest.update(sound.facts)
        return digest.hexdigest()[:16]


def plan(entries: list[Entry], pieces: dict[str, Piece], settings: dict[str, Any]) -> list[Planned]:
    """Return which shards there will be and what lies in them.

    Pieces of a domain and split lie in the order of hashes, so that neighbours in a shard are of
    any recordings, and shards of one domain and split are about as long as each other.
    """
    groups: dict[tuple[str, Split], list[Sound]] = {}
    for entry in entries:
        sounds = groups.setdefault((entry.domain, entry.split), [])
        sounds += _sounds(entry, pieces[entry.path], settings)
    planned = []
    for (domain, split), sounds in sorted(groups.items()):
        sounds.sort(key=lambda sound: (name_key(f"{settings['seed']} {sound.key}"), sound.key))
        total = sum(sound.bytes for sound in sounds)
        count = math.ceil(total / (settings["shard_mb"] * 1e6))
        named = f"{_safe(domain)}-{split}"
        parts: list[list[Sound]] = [[] for _ in range(count)]
        before = 0
        for sound in sounds:
            parts[before * count // total].append(sound)
            before += sound.bytes
        planned += [
            Planned(f"{named}-{i:06d}.tar", domain, split, part)
            for i, part in enumerate(filter(None, parts))
        ]
    return planned


def _safe(domain: str) -> str:
    """Return a domain's name as part of a file's that no shell, URL or brace stumbles over."""
    plain = re.sub(r"[^A-Za-z0-9_.]", "_", domain)
    if plain == domain:
        return plain
    return f"{plain}.{hashlib.sha256(domain.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _sounds(entry: Entry, piece: Piece, settings: dict[str, Any]) -> list[Sound]:
    """Return the pieces of a recording."""
    rate, start, sounds = settings["sample_rate"], 0, []
    lengths = cut(entry.frames, settings["piece"])
    for number, (frames, place) in enumerate(zip(lengths, piece.places, strict=True)):
        facts = {
            "domain": entry.domain,
            "split": entry.split,
            "group": entry.group,
            "path": entry.path,
            "sha256": entry.sha256,
            "piece": number,
            "pieces": len(lengths),
            "start": round(start / rate, 6),
            "seconds": round(frames / rate, 6),
            "frames": frames,
            "sample_rate": rate,
            "recording": {
                "frames": entry.frames,
                "sample_rate": entry.sample_rate,
                "channels": entry.channels,
                "loudness": entry.loudness,
            },
            "gain": piece.part.gain,
        }
        text = json.dumps(facts).encode("ascii")
        # No dot: webdataset takes what follows the first one for a suffix.
        sounds.append(Sound(f"{entry.sha256[:20]}-{number:05d}", text, frames, place))
        start += frames
    return sounds


def assemble_shards(
    output: Path, entries: list[Entry], pieces: dict[str, Piece], settings: dict[str, Any]
) -> bool:
    """Write the shards of `entries` with the FLAC files of `pieces` by path; say if any changed.

    The index goes first and comes last, so that shards that can be opened are whole. Those that
    hold the same as before stay; what an interrupted run has finished is not written again.
    """
    planned, parts = plan(entries, pieces, settings), output / PARTS_FOLDER
    before = {shard.file: shard for shard in _known(output)}
    whole = {place[0] for piece in pieces.values() for place in piece.places}
    kept = {
        p.file: before[p.file]
        for p in planned
        if p.file in before and output / p.file in whole and before[p.file].listing == p.listing
    }
    loudness = _levels(entries)
    done = [kept.get(p.file) for p in planned]
    index = format_index(settings, [shard for shard in done if shard], loudness)
    if None not in done and _text(output / INDEX_FILE) == index:
        shutil.rmtree(parts, ignore_errors=True)
        return False
    digest = hashlib.sha256("".join(p.file + p.listing for p in planned).encode()).hexdigest()
    fresh = parts / f"new-{digest[:16]}"
    for other in parts.glob("new-*"):
        if other != fresh:
            shutil.rmtree(other)
    fresh.mkdir(parents=True, exist_ok=True)
    shards = [kept.get(p.file) or _write(fresh / p.file, p) for p in planned]
    (output / INDEX_FILE).unlink(missing_ok=True)
    names = {shard.file for shard in shards}
    for old in output.iterdir():
        if _OURS.fullmatch(old.name) and old.name not in names:
            old.unlink()
    for file in fresh.iterdir():
        os.replace(file, output / file.name)
    write_atomic(output / INDEX_FILE, format_index(settings, shards, loudness), scratch=parts)
    shutil.rmtree(parts)
    return True


def _levels(entries: list[Entry]) -> Loudness:
    """Return how many training recordings have which level, by domain."""
    levels: Loudness = {}
    for entry in entries:
        if entry.split == "train":
            counts, level = levels.setdefault(entry.domain, {}), f"{entry.loudness:.1f}"
            counts[level] = counts.get(level, 0) + 1
    return levels


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _known(output: Path) -> list[Shard]:
    """Return the shards of an earlier run, none where they can't be opened."""
    try:
        return read_index(Source(str(output)))[1]
    except CorpusError:
        return []


class _Summed:
    """A file that is written, and its SHA-256."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.count = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.count += len(data)
        return self.file.write(data)


def _write(target: Path, planned: Planned) -> Shard:
    """Write a shard, of the same bytes for the same sounds; one that is there is only read."""
    if target.is_file():
        size, digest = sum_of(target)
    else:
        temporary = target.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            summed = _Summed(file)
            stream = cast(IO[bytes], summed)
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                for sound in planned.sounds:
                    _add(tar, f"{sound.key}.flac", _read(sound.place))
                    _add(tar, f"{sound.key}.json", sound.facts)
        os.replace(temporary, target)
        size, digest = summed.count, summed.digest.hexdigest()
    frames = np.array([sound.frames for sound in planned.sounds], np.int64)
    return Shard(target.name, planned.domain, planned.split, size, digest, frames, planned.listing)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a member that tells nothing of when, by whom or where it was made."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read(place: tuple[Path, int, int]) -> bytes:
    file, offset, size = place
    with open(file, "rb") as source:
        source.seek(offset)
        data = source.read(size)
    if len(data) != size:
        raise CorpusError(f"{file} is shorter than it was: run it again")
    return data


def sum_of(path: Path) -> tuple[int, str]:
    """Return the bytes of a file and their SHA-256."""
    with open(path, "rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
