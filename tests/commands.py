"""Commands in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a command that finds this package."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths} | changes


def run(*words: object, timeout: float = 120, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python on `-m audiovae …` or on a script; `changes` are to its environment."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=environment(**changes),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def succeed(*words: object, timeout: float = 600) -> str:
    """Run Python as `run` does, see that it ends well, and return what it prints."""
    done = run(*words, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def last_json(text: str) -> dict:
    """Return the JSON object on the last line."""
    return json.loads(text.splitlines()[-1])
