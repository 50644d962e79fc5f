"""What a folder of aligned renders holds, read and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiovae.audio.files import probe
from audiovae.audio.notes import Note
from audiovae.errors import CorpusError

FORMAT = 1


@dataclass(frozen=True)
class Domain:
    """How an instrument was rendered."""

    program: int
    soundfont: str
    low: int
    """Lowest MIDI pitch of its natural range."""
    high: int
    """Highest MIDI pitch, within the range."""
    face: str
    """`a`: a source and a target; `b`: a source that must not train anything."""
    like: str | None
    """The target that is the same program of another soundfont."""


@dataclass(frozen=True)
class Piece:
    """A piece that all domains play."""

    seconds: float
    monophonic: bool = False
    """Whether it is a single line."""
    notes: tuple[Note, ...] = ()
    """Sorted by start; none where they are not known."""


Files = dict[str, dict[str, Path]]
"""Domain to piece to sound file."""


@dataclass(frozen=True)
class Content:
    """All that a folder's own files say."""

    sample_rate: int
    files: Files
    pieces: dict[str, Piece]
    seed: int = 0
    domains: dict[str, Domain] = field(default_factory=dict)
    """Empty where only `groups.json` is there."""
    classifier: dict[str, list[Path]] = field(default_factory=dict)
    """Domain to unpaired recordings of other pieces."""
    audio: dict[str, str] = field(default_factory=dict)
    """Relative path to the SHA-256 of the file."""


def read_content(folder: Path) -> Content:
    """Read a folder that `data/transfer_test.py`, or `data/render.py` in aligned mode, made.

    Raises `CorpusError` when it is none, or when something is missing or damaged.
    """
    there = [n for n in ("test.json", "manifest.json", "groups.json") if (folder / n).is_file()]
    if not there:
        raise CorpusError(
            f"{folder} has neither test.json nor groups.json: expected aligned renders, make "
            f"some with python data/transfer_test.py {folder}"
        )
    if there[0] == "manifest.json":
        raise CorpusError(
            f"{folder} has no test.json, so its rendering was stopped: run data/transfer_test.py "
            "again"
        )
    files = _read_files(folder)
    if there[0] == "groups.json":
        return _plain(files)
    path = folder / "test.json"
    try:
        return _described(folder, files, _read_json(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from None


def _plain(files: Files) -> Content:
    seconds: dict[str, float] = {}
    rates = []
    for pieces in files.values():
        for piece, path in pieces.items():
            info = probe(path)
            rates.append(info.sample_rate)
            length = info.frames / info.sample_rate
            seconds[piece] = min(length, seconds.get(piece, length))
    return Content(rates[0], files, {piece: Piece(s) for piece, s in seconds.items()})


def _described(folder: Path, files: Files, content: Any) -> Content:
    if content["format"] != FORMAT:
        raise CorpusError(
            f"{folder / 'test.json'} has format {content['format']}; expected {FORMAT}, render it "
            "again"
        )
    domains = {name: Domain(**d) for name, d in content["domains"].items()}
    notes = _read_notes(folder, content["pieces"])
    pieces = {
        name: Piece(p["seconds"], p["monophonic"], notes[name])
        for name, p in content["pieces"].items()
    }
    lost = [f"{d}/{p}" for d in domains for p in pieces if p not in files.get(d, {})]
    lost += [f for listed in content["classifier"].values() for f in listed if not _is(folder, f)]
    if lost:
        raise CorpusError(
            f"{folder} lacks {lost[0]} (of {len(lost)}): run data/transfer_test.py again"
        )
    classifier = {d: [folder / f for f in listed] for d, listed in content["classifier"].items()}
    return Content(
        *(content["sample_rate"], files, pieces, content["seed"]),
        *(domains, classifier, content["audio"]),
    )


def _is(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise CorpusError(f"{path} is missing: run data/transfer_test.py again")
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> CorpusError:
    return CorpusError(f"{path} is damaged ({error!r}): delete it and render again")


def _read_files(folder: Path) -> Files:
    groups = _read_json(folder / "groups.json")
    if not isinstance(groups, dict) or not groups:
        raise CorpusError(
            f'{folder / "groups.json"} lists no file: expected {{"piano/a.flac": "a", ...}}'
        )
    files: Files = {}
    for name, piece in sorted(groups.items()):
        if not _is(folder, name):
            raise CorpusError(f"{folder} lacks {name}, which groups.json lists: render it again")
        files.setdefault(name.split("/")[0], {})[piece] = folder / name
    return files


def _read_notes(folder: Path, pieces: Mapping[str, Any]) -> dict[str, tuple[Note, ...]]:
    """Return piece to notes; their hashes must be those of `test.json`."""
    rows = _read_json(folder / "notes.json")
    for piece, known in pieces.items():
        text = json.dumps(rows.get(piece), separators=(",", ":"))
        if hashlib.sha256(text.encode()).hexdigest() != known["notes"]:
            raise CorpusError(
                f"{folder / 'notes.json'} has other notes of {piece} than test.json: render into a "
                "new folder"
            )
    return {piece: tuple(Note(*row) for row in rows[piece]) for piece in pieces}
