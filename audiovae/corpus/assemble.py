"""From converted recordings to a store, and what an earlier run left that can be used again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.corpus.checksums import Summing, sum_of_sums, sums_file
from audiovae.corpus.convert import SAMPLES, Part
from audiovae.corpus.manifest import Entry, format_entry, write_atomic
from audiovae.corpus.scan import Source
from audiovae.corpus.split import assign_splits
from audiovae.corpus.store import (
    AUDIO_FOLDER,
    MANIFEST_FILE,
    PARTS_FOLDER,
    SAMPLE,
    STORE_FILE,
    Store,
    audio_file,
)
from audiovae.errors import CorpusError

COPY = 1 << 22
"""Bytes copied at once."""


@dataclass(frozen=True)
class Piece:
    """What a recording's conversion gave, and where its samples lie."""

    part: Part
    file: Path
    offset: int = 0
    """First sample in the file."""
    places: tuple[tuple[Path, int, int], ...] = ()
    """For shards: of each piece's FLAC the file that holds it, first byte, bytes."""


@dataclass(frozen=True)
class Converted:
    """Recordings and their samples."""

    hashes: dict[str, str]
    """SHA-256 of each path that could be read."""
    failed: dict[str, str]
    """Why others could not."""
    keys: dict[str, str]
    """The key of each path's piece."""
    pieces: dict[str, Piece]
    fresh: int
    """How many were converted now."""

    def reason(self, path: str) -> str | None:
        """Return why a path has no samples."""
        return (
            self.failed[path] if path in self.failed else self.pieces[self.keys[path]].part.reason
        )


def known_pieces(
    output: Path, key: Callable[[Entry], str], settings: dict[str, Any]
) -> dict[str, Piece]:
    """Return the pieces, by their keys, that the store and the parts of earlier runs hold.

    A store's recording counts when its conversion is that of `settings` and its samples are what
    was prepared, a part when it is whole.
    """
    pieces: dict[str, Piece] = {}
    try:
        store = Store.open(output)
    except CorpusError:
        pass
    else:
        if store.settings.get("conversion") == settings["conversion"]:
            for entry in (e for domain in store.domains for e in _whole(store, domain)):
                part = Part(entry.frames, entry.sample_rate, entry.channels, entry.loudness)
                pieces[key(entry)] = Piece(part, audio_file(output, entry.domain), entry.offset)
            for known, reason in store.settings.get("silent", {}).items():
                pieces[known] = Piece(Part(reason=reason), output)
    for name, part, samples in known_parts(output, SAMPLES):
        pieces.setdefault(name, Piece(part, samples))
    return pieces


def known_parts(output: Path, suffix: str) -> Iterator[tuple[str, Part, Path]]:
    """Give key, facts and file of each recording that interrupted runs have converted."""
    for facts in sorted((output / PARTS_FOLDER).glob("*.json")):
        samples = facts.with_suffix(suffix)
        try:
            part = Part(**json.loads(facts.read_text(encoding="ascii")))
            size = sum(part.pieces) if part.pieces else part.frames * SAMPLE.itemsize
            whole = part.reason or samples.stat().st_size == size
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        if whole:
            yield facts.stem, part, samples


def _whole(store: Store, domain: str) -> list[Entry]:
    """Return the recordings of a domain whose samples are what was prepared."""
    try:
        return [entry for entry in store.entries(domain) if store.is_whole(entry)]
    except CorpusError:  # The checksums are damaged.
        return []


def make_entries(
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


def assemble(
    output: Path, entries: list[Entry], pieces: dict[str, Piece], settings: dict[str, Any]
) -> bool:
    """Write the store of `entries`, with the samples of `pieces` by path; say if it changed.

    `store.json` goes first and comes last, so that a store that can be opened is whole.
    """
    manifest = "".join(format_entry(entry) + "\n" for entry in entries)
    parts = output / PARTS_FOLDER
    fresh = parts / "new"
    domains: dict[str, list[Entry]] = {}
    for entry in entries:
        domains.setdefault(entry.domain, []).append(entry)
    sums = _known_sums(output)
    files = {domain: audio_file(output, domain) for domain in domains}
    stale = [
        domain
        for domain, members in domains.items()
        if domain not in sums or not _in_place(files[domain], members, pieces)
    ]
    header = _header(settings, {domain: sums.get(domain, "") for domain in domains})
    if not stale and (_read(output / STORE_FILE), _read(output / MANIFEST_FILE)) == (
        header,
        manifest,
    ):
        shutil.rmtree(parts, ignore_errors=True)
        return False
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for domain in stale:
        target = fresh / files[domain].name
        found = _join(target, domains[domain], pieces)
        sums_file(target).write_bytes(found.tobytes())
        sums[domain] = sum_of_sums(found)
    (output / STORE_FILE).unlink(missing_ok=True)
    (output / AUDIO_FOLDER).mkdir(exist_ok=True)
    kept = {path.name for file in files.values() for path in (file, sums_file(file))}
    for old in (output / AUDIO_FOLDER).iterdir():
        if old.name not in kept:
            old.unlink()
    for file in fresh.iterdir():
        os.replace(file, output / AUDIO_FOLDER / file.name)
    write_atomic(output / MANIFEST_FILE, manifest, scratch=parts)
    header = _header(settings, {domain: sums[domain] for domain in domains})
    write_atomic(output / STORE_FILE, header, scratch=parts)
    shutil.rmtree(parts)
    return True


def _header(settings: dict[str, Any], sums: dict[str, str]) -> str:
    return json.dumps(settings | {"checksums": dict(sorted(sums.items()))}, indent=1) + "\n"


def _known_sums(output: Path) -> dict[str, str]:
    """Return the checksums that a store that can be opened has, by domain."""
    try:
        return dict(Store.open(output).settings.get("checksums", {}))
    except CorpusError:
        return {}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _in_place(target: Path, members: list[Entry], pieces: dict[str, Piece]) -> bool:
    """Say whether a domain's file already is what its entries describe."""
    size = sum(entry.frames for entry in members) * SAMPLE.itemsize
    return (
        target.is_file()
        and target.stat().st_size == size
        and all(
            pieces[e.path].file == target and pieces[e.path].offset == e.offset for e in members
        )
    )


def _join(target: Path, members: list[Entry], pieces: dict[str, Piece]) -> np.ndarray:
    """Write the recordings of a domain one after the other; return the blocks' checksums."""
    summing = Summing()
    with open(target, "wb") as out:
        for entry in members:
            piece = pieces[entry.path]
            with open(piece.file, "rb") as samples:
                samples.seek(piece.offset * SAMPLE.itemsize)
                left = entry.frames * SAMPLE.itemsize
                while left:
                    block = samples.read(min(left, COPY))
                    if not block:
                        raise CorpusError(f"{piece.file} is shorter than it was: run it again")
                    out.write(block)
                    summing.update(block)
                    left -= len(block)
    return summing.sums
