"""What lies in a folder of domains: the recordings, their groups, and what is no recording."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audiovae.audio.decode import stamp_of
from audiovae.audio.files import AUDIO_SUFFIXES
from audiovae.corpus.manifest import valid_domain
from audiovae.errors import CorpusError

GROUPS_FILE = "groups.json"
Skipped = list[tuple[str, str]]
"""(path relative to the source folder, reason) of each file left out."""


@dataclass(frozen=True)
class Source:
    """A file that should be a recording."""

    file: Path
    path: str
    """Relative to the source folder, with forward slashes."""
    domain: str
    size: int
    """Bytes."""
    changed: int
    """Time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Scan:
    """What a source folder holds."""

    sources: list[Source]
    """Sorted by path."""
    domains: list[str]
    """Every domain's folder, empty ones too."""
    groups: dict[str, str]
    """The group of a path, where it has one."""
    skipped: Skipped


def scan(folder: str | Path) -> Scan:
    """List the recordings in `FOLDER/<domain>/**`; read nothing but the names.

    Links to files are followed, links to folders inside a domain are not. Raises `CorpusError` when
    there is no folder of a domain, or its name can't be a domain's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise CorpusError(f"{folder} {what}: expected a folder with a folder for each domain")
    sources: list[Source] = []
    skipped: Skipped = []
    domains: list[str] = []
    for item in sorted(folder.iterdir()):
        if item.name.startswith("."):
            skipped.append((item.name, "hidden"))
        elif item.is_dir():
            domains.append(valid_domain(item.name))
            _scan_domain(item, sources, skipped)
        elif item.name != GROUPS_FILE:
            skipped.append((item.name, "lies in no domain's folder"))
    if not domains:
        raise CorpusError(
            f"{folder} holds no folder: expected one for each domain, with its recordings inside"
        )
    clash = {domain.casefold(): domain for domain in domains}
    for domain in domains:
        if clash[domain.casefold()] != domain:
            raise CorpusError(
                f"domains {domain!r} and {clash[domain.casefold()]!r} differ in case alone: "
                "rename one"
            )
    sources.sort(key=lambda source: source.path)
    groups = _read_groups(folder / GROUPS_FILE)
    there = {source.path for source in sources} | {path for path, _ in skipped}
    skipped += [(p, f"named in {GROUPS_FILE}, but not there") for p in groups if p not in there]
    return Scan(sources, domains, groups, skipped)


def _scan_domain(domain: Path, sources: list[Source], skipped: Skipped) -> None:
    """Sort what lies under one domain's folder into recordings and the rest."""
    for item, closed in _walk(domain):
        path = item.relative_to(domain.parent).as_posix()
        if closed:
            skipped.append((path, "a folder that can't be listed"))
        elif item.name.startswith("."):
            skipped.append((path, "hidden"))
        elif item.is_dir():
            skipped.append((path, "a link to a folder: link its files, or copy it"))
        elif not item.exists():
            skipped.append((path, "a broken link"))
        elif not item.is_file():
            skipped.append((path, "not a regular file"))
        elif item.suffix.lower() not in AUDIO_SUFFIXES:
            skipped.append((path, f"not audio: {item.suffix.lower() or 'no suffix'}"))
        else:
            try:
                size, changed = stamp_of(item)
            except OSError:
                skipped.append((path, "vanished"))
                continue
            sources.append(Source(item, path, domain.name, size, changed))


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Give what lies under `folder`, and whether it is a folder that can't be listed.

    Folders are entered, but for hidden ones and links: these come as themselves.
    """
    try:
        items = sorted(folder.iterdir())
    except OSError:
        yield folder, True
        return
    for item in items:
        if item.is_dir() and not item.is_symlink() and not item.name.startswith("."):
            yield from _walk(item)
        else:
            yield item, False


def _read_groups(path: Path) -> dict[str, str]:
    """Read the optional `{relative path: group}` file."""
    if not path.is_file():
        return {}
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not valid JSON: {error}") from None
    right = isinstance(groups, dict) and all(isinstance(g, str) and g for g in groups.values())
    if not right:
        raise CorpusError(f'{path} must map paths to groups: {{"piano/a.flac": "a", ...}}')
    return {Path(os.path.normpath(p)).as_posix(): group for p, group in groups.items()}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
