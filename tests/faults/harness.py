"""Command lines that are killed at seeded moments, run again, and compared with unbroken ones."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from audiovae.audio.files import AUDIO_SUFFIXES, probe, read

KILL = int(signal.SIGKILL)
LONGEST = 120.0
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code, or the signal that killed it, below zero."""
    seconds: float
    events: int
    """Changes of the file system that it made, where it came to its end."""
    memory: int
    """Most KiB that it held."""
    out: str
    err: str


class Forks:
    """A warmed-up process that runs command lines in forked children; a context manager."""

    def __init__(self, scratch: Path, first: list[str]) -> None:
        """Start it; `first` is a command line that compiles what others need."""
        self.said = scratch / "said"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py")), *first],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def run(self, argv: list[str], root: Path, *, signal: int = KILL, **request: Any) -> Ended:
        """Run a command line in `root` to its end.

        `after` seconds, or before its change number `event`, it gets the signal. `most_bytes` is
        the longest file, `memory` the bytes it may map, `clock` a seed of leaps in time, `user` the
        number of another user, and `spoil` says after how many changes of files another one
        vanishes, or holds other bytes: `[count, file, hexadecimal digits or nothing]`.
        """
        return Ended(**self._ask({"argv": argv, "root": str(root), "signal": signal, **request}))

    @contextmanager
    def stopped(self, argv: list[str], root: Path, event: int) -> Iterator[int]:
        """Run a command line until before its change number `event`; give its process's number.

        There it stands still until the end, when it is killed.
        """
        request = {"argv": argv, "root": str(root), "signal": int(signal.SIGSTOP), "event": event}
        child = self._ask(request)["stopped"]
        try:
            yield child
        finally:
            assert self._ask({"kill": child})["code"] == -KILL

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        request = {"most_seconds": LONGEST, "said": str(self.said), **request}
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self._line())


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, hidden ones too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def visible(folder: Path) -> list[Path]:
    """Return the files below a folder under no hidden name: what a user takes for finished."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def check_whole(folder: Path) -> int:
    """Open every file under a final name to its end; return how many there are.

    The log of a run may end in half a line: it is written line by line.
    """
    files = visible(folder)
    for path in files:
        suffix = path.suffix.lower()
        if suffix in AUDIO_SUFFIXES:
            assert read(path)[0].shape[1] == probe(path).frames
        elif suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
        elif suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif suffix == ".safetensors":
            load_file(path)
        elif suffix in (".pt", ".ts", ".pt2"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
        elif path.name == "metrics.jsonl":
            for line in path.read_text("utf-8").split("\n")[:-1]:
                json.loads(line)
        elif path.name == "manifest.jsonl":
            assert path.read_bytes().endswith(b"\n")
            for line in path.read_text("ascii").splitlines():
                json.loads(line)
        elif suffix == ".tar":
            with tarfile.open(path) as archive:
                assert all(len(archive.extractfile(m).read()) == m.size for m in archive)
        elif suffix in (".i16", ".crc32", ".md"):
            assert path.stat().st_size > 0
        else:
            raise AssertionError(f"{path.name}: nothing is known of such files")
    return len(files)


def moments(seed: int, whole: Ended, count: int) -> list[dict[str, float | int]]:
    """Return seeded moments of a command: shares of its time, and changes of files, in turn."""
    generator = np.random.default_rng(seed)
    found: list[dict[str, float | int]] = []
    for i in range(count):
        if i % 2:
            found.append({"after": float(generator.uniform(0.02, 1.0)) * whole.seconds})
        else:
            found.append({"event": int(generator.integers(whole.events))})
    return found
