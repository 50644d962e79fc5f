"""Three hundred bad files: each is used, or listed with its reason; nothing else happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from make_bad_files import make
from recordings import needs_posix

pytestmark = needs_posix
MOST_SECONDS = 2.0
"""Of the processor, for a file."""
MOST_GROWTH = 256 << 10
"""KiB that the process may grow by, while it goes through all of them."""
DAMAGED = ("cut-0.3", "cut-0.6", "head-alone", "empty")
"""Beginnings of names of files that can't be whole in any format."""


def listing(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    root = tmp_path_factory.mktemp("hostile")
    return root, make(root)


def test_the_same_files_are_made_again(bad: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    root, made = bad
    assert make(tmp_path) == made and len(made) >= 150
    for path in made:
        first, again = (
            os.path.join(os.fsencode(place / "bad"), path) for place in (root, tmp_path)
        )
        # Ogg streams have a serial number drawn at random, files of floats the time of their peak.
        if path.startswith((b"links", b"odd", b"cut")) or path.endswith(b".ogg"):
            continue
        with open(first, "rb") as one, open(again, "rb") as two:
            assert one.read() == two.read(), path


def test_bad_files_are_used_or_listed(
    bad: tuple[Path, list[bytes]], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    root, made = bad
    before = listing(root / "outside")
    sizes = {path: os.lstat(os.path.join(os.fsencode(root / "bad"), path)).st_size for path in made}
    out = tmp_path / "out"
    out.mkdir()
    script = Path(__file__).with_name("open_all.py")
    done = subprocess.run(
        [sys.executable, script, root / "bad", out, tiny_checkpoint],
        capture_output=True, cwd=tmp_path, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0 and "Traceback" not in said, said[-2000:]
    result = json.loads(done.stdout)
    told = {bytes.fromhex(name): outcomes for name, *outcomes in result["told"]}
    assert len(told) >= 290
    for name, outcomes in told.items():
        for outcome, seconds in outcomes:
            assert seconds < MOST_SECONDS, name
            assert outcome == "good" or ("Error: " in outcome and len(outcome) < 1000), name
        if os.path.basename(name).startswith(tuple(map(str.encode, DAMAGED))):
            assert outcomes[0][0] != "good", name
        if name.startswith(b"names/"):
            assert [outcome for outcome, _ in outcomes] == ["good", "good"], (name, outcomes)
    # The recordings, and what was left out with its reason, are all that is there.
    store = result["store"]
    taken = {bytes.fromhex(name) for name in store["taken"]}
    left_out = {bytes.fromhex(name): reason for name, reason in store["left_out"]}
    assert not taken & left_out.keys() and told.keys() <= taken | left_out.keys()
    assert all(left_out.values()) and len(taken) > 40
    # Nothing is written outside, no name was run, and memory was bounded.
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in out.iterdir()} == {"first", "played", "store"}
    assert all(path.suffix == ".wav" for path in (out / "played").iterdir())
    assert listing(root / "outside") == before
    assert {p.name for p in root.iterdir()} == {"bad", "outside"}
    for path, size in sizes.items():
        assert os.lstat(os.path.join(os.fsencode(root / "bad"), path)).st_size == size
    assert result["grown"] < MOST_GROWTH
