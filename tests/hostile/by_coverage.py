"""Fuzzing led by coverage, where atheris is installed: `python tests/hostile/by_coverage.py`.

It takes libFuzzer's options, as in `-max_total_time=600`. The first byte says what is read: a sound
by a name, a manifest, settings, or what a checkpoint says of itself.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["audiovae.audio", "audiovae.corpus", "audiovae.tables"]):
    from audiovae.audio.files import AUDIO_SUFFIXES, probe, read
    from audiovae.config_files import load_config
    from audiovae.corpus.manifest import read_manifest
    from audiovae.errors import UserError
    from audiovae.model.header import read_header

SUFFIXES = sorted(AUDIO_SUFFIXES)
PLACE = Path(tempfile.mkdtemp(prefix="by-coverage-"))


def look(path: Path) -> None:
    """Open a sound and read its start."""
    probe(path)
    read(path, frames=500)


def one(data: bytes) -> None:
    """Read bytes as one of five things."""
    kind, content = (data[0], data[1:]) if data else (0, b"")
    name, action = {
        0: ("manifest.jsonl", read_manifest),
        1: ("settings.toml", load_config),
        2: ("settings.json", load_config),
        3: ("config.json", lambda path: read_header(path.parent)),
    }.get(kind % 16, (f"take{SUFFIXES[kind % len(SUFFIXES)]}", look))
    path = PLACE / name
    path.write_bytes(content)
    try:
        action(path)
    except UserError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
