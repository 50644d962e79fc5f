"""The server under load: a process of its own, what it takes each second, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.__main__ import environment

START_SECONDS, END_SECONDS = 120.0, 30.0


@dataclass(frozen=True)
class Look:
    """What a server took at one moment."""

    seconds: float
    """Since the first look."""
    memory: float
    """MiB that are resident."""
    threads: int
    files: int
    """Open ones, connections among them."""
    megabytes: float
    """That lie in its temporary folder."""
    uploads: int
    """Files that are coming in or wait to be decoded."""
    sounds: int
    """That are kept."""


@dataclass
class Server:
    """`audiovae web` in a process of its own, with a temporary folder of its own.

    It is started on entering a `with` block and ends with it.

    Args:
        folder: empty, for its log and its temporary folder.
        words: options of the verb.
    """

    folder: Path
    words: Sequence[str] = ()
    looks: list[Look] = field(default_factory=list)
    code: int | None = None
    """Its status, once it has ended."""

    def __enter__(self) -> Server:
        self.scratch = self.folder / "tmp"
        self.scratch.mkdir()
        command = [sys.executable, "-m", "audiovae", "web", "--json", "--threads", "1", *self.words]
        variables = environment(1) | {"TMPDIR": str(self.scratch)}
        with open(self.folder / "out", "w") as out, open(self.folder / "err", "w") as err:
            self.process = subprocess.Popen(
                command, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self._watching = threading.Event()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watching.set()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> list[str]:
        """What it wrote to its log."""
        return (self.folder / "err").read_text("utf-8", "replace").splitlines()

    def ready(self) -> tuple[str, int]:
        """Wait until it answers; return host and port. Raises `RuntimeError`."""
        end = time.monotonic() + START_SECONDS
        while True:
            said = (self.folder / "out").read_text("utf-8", "replace")
            if found := re.search(r"http://([\d.]+):(\d+)/", said):
                return found[1], int(found[2])
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("\n".join(["the server did not start", *self.log]))
            time.sleep(0.05)

    def end(self) -> float:
        """Ask it to end (SIGTERM); return the seconds that it took. Without a `code` it did not."""
        self._watching.set()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.code = self.process.wait(END_SECONDS)
        return time.monotonic() - began

    def left(self) -> list[str]:
        """Return what lies in its temporary folder."""
        return sorted(str(p.relative_to(self.scratch)) for p in self.scratch.rglob("*"))

    def watch(self, every: float = 1.0) -> threading.Thread:
        """Begin to look at it every so many seconds."""
        thread = threading.Thread(target=self._watch, args=(every,), daemon=True)
        thread.start()
        return thread

    def _watch(self, every: float) -> None:
        began = time.monotonic()
        while not self._watching.wait(every):
            with contextlib.suppress(OSError):
                self.looks.append(self.look(time.monotonic() - began))

    def look(self, seconds: float = 0.0) -> Look:
        """Look at what it takes; needs Linux's /proc, and sees no more than files without it."""
        memory, threads, files = 0.0, 0, 0
        proc = Path("/proc") / str(self.process.pid)
        if proc.exists():
            pages = int((proc / "statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            threads, files = len(os.listdir(proc / "task")), len(os.listdir(proc / "fd"))
        size = uploads = 0
        for path in walk(self.scratch):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
                uploads += path.name.startswith("upload")
        sounds = sum(len(list(folder.iterdir())) for folder in self.scratch.glob("*/sounds"))
        return Look(seconds, memory, threads, files, size / 1e6, uploads, sounds)


def walk(folder: Path) -> Iterator[Path]:
    """Give the files of a folder that changes meanwhile."""
    for root, _, names in os.walk(folder):
        for name in names:
            yield Path(root) / name


def make_bad_files(folder: Path) -> dict[str, bytes]:
    """Return the files that tests/hostile/make_bad_files.py makes, by name, without its links."""
    script = Path(__file__).parents[1] / "tests" / "hostile" / "make_bad_files.py"
    subprocess.run(
        [sys.executable, str(script), str(folder)], check=True, stdout=subprocess.DEVNULL
    )
    files: dict[str, bytes] = {}
    for group in ("cut", "lying", "odd", "none"):
        for path in sorted((folder / "bad" / group).iterdir()):
            files[path.name] = path.read_bytes()
    return files
