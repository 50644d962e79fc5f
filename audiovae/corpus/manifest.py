"""The manifest: one JSON line a recording, strict when read, atomic when written."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from audiovae.errors import CorpusError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = typing.get_args(Split)
MAX_DOMAIN = 64
LARGEST = 1 << 63


@dataclass(frozen=True)
class Entry:
    """One recording of a corpus."""

    path: str
    """Where it came from, relative to the source folder, with forward slashes."""
    domain: str
    sha256: str
    """Hash of the source file's bytes, 64 hexadecimal digits."""
    frames: int
    """Samples at the store's rate."""
    sample_rate: int
    """Samples a second of the source file."""
    channels: int
    """Channels of the source file; the store is mono."""
    loudness: float
    """Level of the stored sound: RMS in dB of full scale."""
    split: Split
    group: str | None = None
    """What recordings of one score share, so that they stay in one split and can be paired."""
    offset: int = 0
    """First sample in the domain's file."""


_FIELDS = [f.name for f in dataclasses.fields(Entry)]


def valid_domain(name: str) -> str:
    """Return `name` when it can name a domain: a folder, a key and a file at once.

    Raises `CorpusError` unless it has 1 to 64 characters, does not start with a dot, and holds no
    path separator, control character or other character that a file name can't have.
    """
    if not 1 <= len(name) <= MAX_DOMAIN:
        raise CorpusError(f"domain {name!r} must have 1 to {MAX_DOMAIN} characters: rename it")
    if name.startswith("."):
        raise CorpusError(f"domain {name!r} must not start with a dot: rename it")
    bad = sorted({c for c in name if c in '/\\:*?"<>|' or not (c.isprintable())})
    if bad or name != name.strip():
        found = f"has {bad[0]!r}" if bad else "starts or ends with a space"
        raise CorpusError(f"domain {name!r} {found}: rename it, letters and digits are safe")
    return name


def format_entry(entry: Entry) -> str:
    """Return the manifest line of `entry`, plain ASCII, without its end of line."""
    return json.dumps(dataclasses.asdict(entry), allow_nan=False)


def write_manifest(path: str | Path, entries: Iterable[Entry]) -> Path:
    """Write one line for each entry; the file appears whole or not at all."""
    return write_atomic(Path(path), "".join(format_entry(entry) + "\n" for entry in entries))


def write_atomic(path: Path, text: str, scratch: Path | None = None) -> Path:
    """Write ASCII `text` to `path` by way of a temporary file, in the folder `scratch` if given.

    Unlike `audiovae.atomic.write_atomically` it does not wait for the disk: there are thousands,
    and what a power cut takes is made again.
    """
    temporary = (scratch or path.parent) / f".{path.name}.{secrets.token_hex(4)}.tmp"
    temporary.write_text(text, encoding="ascii", newline="\n")
    os.replace(temporary, path)
    return path


def read_manifest(path: str | Path) -> list[Entry]:
    """Read the entries of a manifest in their order.

    Raises `CorpusError`, with the line's number, on anything that `write_manifest` can't have
    written: other keys, wrong types, values out of range.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"manifest {path} can't be read: {error}") from None
    return [parse_entry(line, f"{path} line {n}") for n, line in enumerate(lines, 1)]


def parse_entry(line: str, where: str) -> Entry:
    """Read one manifest line; `where` names it in the error."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where} is not JSON: {error}") from None
    if not isinstance(values, dict) or sorted(values) != sorted(_FIELDS):
        raise CorpusError(f"{where} must have exactly the keys {', '.join(_FIELDS)}")
    problem = _problem(values)
    if problem:
        raise CorpusError(f"{where}: {problem}; prepare the store anew")
    return Entry(**{**values, "loudness": float(values["loudness"])})


def _problem(values: dict[str, Any]) -> str | None:
    """Return what is wrong with the values of an entry."""
    for name in ("path", "domain", "sha256", "split"):
        if not isinstance(values[name], str):
            return f"{name} must be text"
    for name, least in (("frames", 1), ("sample_rate", 1), ("channels", 1), ("offset", 0)):
        value = values[name]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < LARGEST:
            return f"{name} must be a whole number of at least {least}, below 2 ** 63"
    loudness = values["loudness"]
    if not isinstance(loudness, int | float) or isinstance(loudness, bool):
        return "loudness must be a number"
    if not abs(loudness) < LARGEST:
        return "loudness must be finite"
    if values["group"] is not None and not (isinstance(values["group"], str) and values["group"]):
        return "group must be null or text"
    if values["split"] not in SPLITS:
        return f"split must be one of {', '.join(SPLITS)}"
    if not re.fullmatch("[0-9a-f]{64}", values["sha256"]):
        return "sha256 must be 64 hexadecimal digits"
    try:
        valid_domain(values["domain"])
    except CorpusError as error:
        return str(error)
    path = PurePosixPath(values["path"])
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        return "path must be relative and lie in a domain's folder"
    if path.parts[0] != values["domain"]:
        return "path must start with the domain"
    return None
