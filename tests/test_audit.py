"""The line of advice in `.ci/run`: whatever the service says or doesn't, the run goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

SAYS = {
    "none": ("", "No known vulnerabilities found", 0, "advice: No known vulnerabilities found"),
    "some": ("rich 15 PYSEC-1", "Found 1 known vulnerability in 1 package", 1, "fails nothing"),
    "no service": ("", "ConnectionError: refused", 1, "nothing was checked: the advisory service"),
    "no program": None,
    "slow": ("", "", 124, "nothing was checked: the advisory service took too long"),
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("case", SAYS)
def test_advice_never_fails(case: str, tmp_path: Path) -> None:
    program = tmp_path / "pip-audit"
    out, error, code, said = SAYS[case] or ("", "", 0, "nothing was checked: the advisory service")
    if SAYS[case]:
        program.write_text(f"#!/bin/sh\necho '{out}'\necho '{error}' >&2\nexit {code}\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / ".ci" / "audit", sys.executable, tmp_path],
        env=os.environ | {"PIP_AUDIT": str(program), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and said in done.stdout
    assert out in done.stdout and done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] in ([], ["pip-audit"])


def test_the_run_asks_for_it() -> None:
    assert "bash .ci/audit" in (ROOT / ".ci" / "run").read_text("utf-8")
