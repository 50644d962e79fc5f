"""`prepare` in shares: the store that joins them is the one that a single job makes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import environment
from recordings import RATE, contents, make_folder, run_prepare, save, tone

from audiovae.cli import main
from audiovae.corpus import prepare as prepare_module
from audiovae.corpus.engines import Failed
from audiovae.corpus.prepare import prepare_share
from audiovae.corpus.report import ShareReport
from audiovae.corpus.share import Share
from audiovae.corpus.store import Store
from audiovae.errors import CorpusError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains with a copy, a silence and a file that is no sound among their recordings."""
    folder = make_folder(tmp_path / "in", "ab", 4, 0.3)
    shutil.copy(folder / "a/1.wav", folder / "b/again.wav")
    save(folder / "a/silent.wav", np.zeros(4000))
    (folder / "b/letter.wav").write_text("Dear Sir or Madam")
    return folder


def run_share(
    folder: Path, output: Path, index: int, count: int, shards: bool = False
) -> ShareReport:
    settings: dict[str, Any] = {
        "sample_rate": RATE, "workers": 1, "progress": False, "shards": shards,
    }  # fmt: skip
    return prepare_share(folder, output, Share(index, count), **settings)


@pytest.mark.parametrize(("count", "shards"), [(2, False), (20, False), (3, True)])
def test_what_shares_converted_is_joined_to_the_same_bytes(
    folder: Path, tmp_path: Path, count: int, shards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_prepare(folder, tmp_path / "whole", shards=shards)
    reports = [
        run_share(folder, tmp_path / "out", i, count, shards) for i in reversed(range(count))
    ]
    assert sum(report.recordings for report in reports) == 11
    skipped = sorted(pair for report in reports for pair in report.skipped)
    assert [path for path, _ in skipped] == ["a/silent.wav", "b/letter.wav"]
    if not shards:
        with pytest.raises(CorpusError, match="unfinished"):
            Store.open(tmp_path / "out")
    converted: list[str] = []
    convert = prepare_module.convert
    monkeypatch.setattr(
        prepare_module, "convert", lambda task: converted.append(task.source.path) or convert(task)
    )
    joined = run_prepare(folder, tmp_path / "out", shards=shards)
    # What could not be read is tried again.
    assert converted == ["b/letter.wav"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (joined.entries, joined.skipped) == (whole.entries, whole.skipped)


def test_shares_run_at_once(folder: Path, tmp_path: Path) -> None:
    words = ["prepare", str(folder), "-o", "out", "--sample-rate", str(RATE), "--workers", "1"]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "audiovae", *words, "--shard", f"{i}/3"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    said = [job.communicate(timeout=100)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert all(f"shard {i}/3: " in text.splitlines()[-1] for i, text in enumerate(said))
    run_prepare(folder, tmp_path / "out")
    run_prepare(folder, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_share_leaves_the_halves_of_others_and_a_finished_store_alone(
    folder: Path, tmp_path: Path
) -> None:
    run_share(folder, tmp_path / "out", 0, 2)
    half = tmp_path / "out" / ".parts" / "0123.4567.tmp"
    half.write_bytes(b"half")
    run_share(folder, tmp_path / "out", 1, 2)
    assert half.read_bytes() == b"half"
    run_prepare(folder, tmp_path / "out")
    assert not half.parent.exists()
    before = contents(tmp_path / "out")
    assert run_share(folder, tmp_path / "out", 0, 2).fresh == 0
    assert contents(tmp_path / "out") == before
    # A new recording is converted by its share, and joins the store that was there.
    save(folder / "a/new.wav", tone(0.5, 333))
    assert sum(run_share(folder, tmp_path / "out", i, 2).fresh for i in range(2)) == 1
    run_prepare(folder, tmp_path / "out")
    run_prepare(folder, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_command_line_says_what_a_share_did(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(folder), "-o", str(tmp_path / "out"), "--sample-rate", str(RATE)]
    assert main([*words, "--workers", "1", "--shard", "0/1"]) == 0
    said = capsys.readouterr().out
    assert "'b/letter.wav' is left out: the file is mislabelled" in said
    assert "shard 0/1: 11 recordings, 8 converted now, 2 left out" in said.splitlines()[-1]
    assert main([*words, "--workers", "1"]) == 0
    assert "store" in capsys.readouterr().out


class Losing:
    """An engine whose workers end at one file."""

    def run(
        self, make: Callable[[Any], Callable[[Any], Any]], items: Sequence[Any]
    ) -> Iterator[tuple[Any, Any]]:
        work = make(None)
        for item in items:
            source = getattr(item, "source", item)
            lost = source.path == "a/2.wav" and source is not item
            yield item, Failed("the process ended") if lost else work(item)


def test_a_recording_that_ends_its_worker_is_left_out(folder: Path, tmp_path: Path) -> None:
    report = run_prepare(folder, tmp_path / "out", engine=Losing())
    assert ("a/2.wav", "the process ended") in report.skipped
    assert "a/2.wav" not in [entry.path for entry in report.entries]
    # Nothing is remembered of it: the next run may be luckier.
    run_prepare(folder, tmp_path / "out")
    run_prepare(folder, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
