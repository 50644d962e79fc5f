"""What earlier runs left of shards that can be used again: pieces that need no conversion."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from audiovae.corpus.assemble import Piece, known_parts
from audiovae.corpus.convert import FLACS, Part
from audiovae.corpus.manifest import Entry
from audiovae.corpus.pack import sum_of
from audiovae.corpus.shard_reader import is_sound
from audiovae.corpus.shards import Shard, read_index
from audiovae.corpus.sources import Source
from audiovae.errors import CorpusError


def known_flacs(
    output: Path, key: Callable[[Entry], str], settings: dict[str, Any]
) -> dict[str, Piece]:
    """Return the recordings, by their keys, whose pieces earlier runs have converted.

    A shard's pieces count where it is what was written and was converted as `settings` say, a part
    where it is whole.
    """
    pieces: dict[str, Piece] = {}
    try:
        head, shards = read_index(Source(str(output)))
    except CorpusError:
        head, shards = {}, []
    if head.get("conversion") == settings["conversion"]:
        found: dict[str, dict[int, tuple[Path, int, int]]] = {}
        facts: dict[str, dict[str, Any]] = {}
        for shard in shards:
            for said, place in _scan(output / shard.file, shard):
                found.setdefault(said["path"], {})[said["piece"]] = place
                facts[said["path"]] = said
        for path, places in found.items():
            said = facts[path]
            if len(places) == said["pieces"]:
                ordered = tuple(places[i] for i in range(said["pieces"]))
                part = _part(said, tuple(size for _, _, size in ordered))
                pieces[key(_entry(said))] = Piece(part, output, places=ordered)
        for known, reason in head.get("silent", {}).items():
            pieces[known] = Piece(Part(reason=reason), output)
    for name, part, file in known_parts(output, FLACS):
        pieces.setdefault(name, placed(part, file))
    return pieces


def placed(part: Part, file: Path) -> Piece:
    """Return a recording whose FLAC files lie in one file, one after the other."""
    places, offset = [], 0
    for size in part.pieces:
        places.append((file, offset, size))
        offset += size
    return Piece(part, file, places=tuple(places))


def _scan(file: Path, shard: Shard) -> Iterator[tuple[dict[str, Any], tuple[Path, int, int]]]:
    """Give the facts of each sound in a shard and where its FLAC lies; nothing of a damaged one."""
    try:
        if sum_of(file) != (shard.bytes, shard.sha256):
            return
    except OSError:
        return
    with tarfile.open(file, "r:") as tar:
        place = (file, 0, 0)
        for member in tar:
            if is_sound(member):
                place = (file, member.offset_data, member.size)
            elif member.name.endswith(".json"):
                text = tar.extractfile(member)
                assert text is not None
                yield json.load(text), place


def _part(said: dict[str, Any], sizes: tuple[int, ...]) -> Part:
    whole = said["recording"]
    return Part(
        whole["frames"], whole["sample_rate"], whole["channels"], whole["loudness"],
        gain=said["gain"], pieces=sizes,
    )  # fmt: skip


def _entry(said: dict[str, Any]) -> Entry:
    return Entry(
        **{name: said[name] for name in ("path", "domain", "sha256", "split", "group")},
        **said["recording"],
    )
