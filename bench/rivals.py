"""Rivals, each in a virtual environment of its own, asked for one run after the other."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RAVE = ("acids-rave", "nn-tilde<1.6", "setuptools<81")
"""What installs RAVE 2 from PyPI today."""


def make_environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """Make a virtual environment with `packages`, unless it is there; return its interpreter.

    Raises `subprocess.CalledProcessError` when they don't install.
    """
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = folder / "installed"
    if not done.is_file():
        print(f"installing {packages[0]} in {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        done.write_text("\n".join(packages) + "\n")
    return python


class Rival:
    """A process that does one run for each line that it is sent."""

    def __init__(self, python: Path, script: str, *arguments: str) -> None:
        worker = Path(__file__).parent / script
        self.process = subprocess.Popen(
            [python, worker, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("ready")

    def run(self, job: str) -> None:
        """Have a job done."""
        assert self.process.stdin is not None
        self.process.stdin.write(job + "\n")
        self.process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        """Wait for a line with a word; others are what libraries print."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise RuntimeError(f"{self.process.args[1]} ended with status {self.process.wait()}")  # type: ignore[index]


@contextmanager
def rave(environments: Path, threads: int, seconds: float) -> Iterator[Rival]:
    """Give RAVE v2 at 44.1 kHz with random weights; its jobs are `encode`, `decode`, `pair`."""
    python = make_environment(environments / "rave", RAVE)
    rival = Rival(python, "rave_worker.py", str(threads), str(seconds))
    try:
        yield rival
    finally:
        rival.process.kill()
        rival.process.wait()
