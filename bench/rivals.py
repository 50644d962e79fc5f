"""Rivals in virtual environments of their own, asked for one run after the other.

RAVE needs older packages and gets an environment of its own. The codecs and Vocos run where we do
when the extra `bench` is installed. Otherwise they share an environment that holds what is listed
here and takes torch and the rest from the interpreter at hand, by a path file: another torch would
be gigabytes more, and the times would say which torch a rival got.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RAVE = ("acids-rave", "nn-tilde<1.6", "setuptools<81")
"""What installs RAVE 2 from PyPI today."""
CODEC_PACKAGES = ("transformers", "diffusers", "vocos")
SHOWN = {"rave": ("acids-rave", "torch"), "codecs": (*CODEC_PACKAGES, "torch")}
"""Packages whose versions go with the table, by environment."""


def interpreter(folder: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def make_environment(folder: Path, packages: tuple[str, ...], *, lent: bool = False) -> Path:
    """Make a virtual environment with `packages`, unless it is there; return its interpreter.

    With `lent` it also sees the packages of the interpreter at hand. Raises
    `subprocess.CalledProcessError` when they don't install.
    """
    python, done = interpreter(folder), folder / "installed"
    if not done.is_file():
        print(f"installing {packages[0]} in {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        if lent:
            ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
            own = subprocess.run([python, "-c", ask], check=True, stdout=subprocess.PIPE, text=True)
            lender = sysconfig.get_path("purelib") + "\n"
            (Path(own.stdout.strip()) / "lent.pth").write_text(lender, encoding="utf-8")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        done.write_text("\n".join(packages) + "\n")
    return python


def codecs_interpreter(environments: Path) -> Path:
    """Return the interpreter that has the codecs: this one with the extra `bench`."""
    if all(importlib.util.find_spec(package) for package in CODEC_PACKAGES):
        return Path(sys.executable)
    return make_environment(environments / "codecs", CODEC_PACKAGES, lent=True)


class Rival:
    """A process that does one run for each line that it is sent."""

    def __init__(self, python: Path, script: str, *arguments: object) -> None:
        command = [python, Path(__file__).parent / script, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
def _running(python: Path, script: str, *arguments: object) -> Iterator[Rival]:
    rival = Rival(python, script, *arguments)
    try:
        yield rival
    finally:
        rival.process.kill()
        rival.process.wait()


@contextmanager
def rave(environments: Path, threads: int, minute: Path, short: Path) -> Iterator[Rival]:
    """Give RAVE v2 at 44.1 kHz with random weights; rave_worker.py has its jobs."""
    python = make_environment(environments / "rave", RAVE)
    with _running(python, "rave_worker.py", threads, minute, short) as rival:
        yield rival


@contextmanager
def codecs(environments: Path, threads: int, sound: Path, low: Path) -> Iterator[Rival]:
    """Give the codecs and Vocos with random weights, on one sound at 44.1 kHz and at 24 kHz."""
    python = codecs_interpreter(environments)
    with _running(python, "codecs_worker.py", threads, sound, low) as rival:
        yield rival


def rival_versions(environments: Path) -> dict[str, str]:
    """Return what was timed: versions of the packages in each environment."""
    found = {}
    pythons = {"rave": interpreter(environments / "rave")}
    pythons["codecs"] = codecs_interpreter(environments)
    for name, packages in SHOWN.items():
        ask = "import json, sys; from importlib.metadata import version; "
        ask += "print(json.dumps({p: version(p) for p in sys.argv[1:]}))"
        command = [pythons[name], "-c", ask, *packages]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[name] = ", ".join(f"{p} {v}" for p, v in json.loads(done.stdout).items())
    return found
