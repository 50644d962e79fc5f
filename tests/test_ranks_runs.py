"""Whole runs of processes that train together: killed, started again, sharded, on other numbers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY_RATE, tiny_config
from recordings import make_folder, needs_posix
from test_ranks import LOOPBACK, free_port

from audiovae.corpus.prepare import prepare
from audiovae.model.weights import load_model
from audiovae.tables import to_dict

pytestmark = [pytest.mark.slow, needs_posix]
STEPS = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, and settings for one clip and two clips a domain."""
    root = tmp_path_factory.mktemp("runs")
    folder = make_folder(root / "in", "ab", 4, 1.0)
    common = {"sample_rate": TINY_RATE, "valid": 0.25, "workers": 1, "progress": False}
    prepare(folder, root / "store", **common)
    prepare(folder, root / "shards", shards=True, shard_mb=0.05, piece=1.0, **common)
    for rows in (1, 2):
        values = to_dict(tiny_config())
        values["training"] |= {
            "rows": rows, "precision": "fp32", "log_every": 1, "checkpoint_every": 2,
            "validate_every": STEPS,
        }  # fmt: skip
        (root / f"{rows}.json").write_text(json.dumps(values))
    return root


def launch(
    world: Path,
    run: Path,
    processes: int,
    rows: int,
    *words: object,
    restarts: int = 0,
    corpus: str = "store",
) -> subprocess.Popen[str]:
    """Start `audiovae train` under torchrun."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes,
        "--master-port", free_port(), "--max-restarts", restarts, "-m", "audiovae",
        "train", world / corpus, "-o", run, "--config", world / f"{rows}.json",
        "--steps", STEPS, "--device", "cpu", "--track", "none", *words,
    ]  # fmt: skip
    return subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1", **LOOPBACK},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out + errors


def losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "checkpoint").state_dict()


def workers(parent: int) -> dict[int, int]:
    """Return the processes of each rank that a launcher has started: rank to number."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            told = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [x for x in told if x.startswith(b"RANK=")]
        if int(fields[1]) == parent and rank:
            found[int(rank[0][5:])] = int(path.name)
    return found


def kill_after(launcher: subprocess.Popen[str], run: Path, step: int, rank: int) -> None:
    """Kill a worker once the run's state is that of a step or a later one."""
    for _ in range(6000):
        assert launcher.poll() is None, launcher.communicate()
        done = losses(run) if (run / "state.pt").is_file() else []
        if done and done[-1][0] >= step:
            os.kill(workers(launcher.pid)[rank], signal.SIGKILL)
            return
        time.sleep(0.02)
    raise AssertionError("it never came so far")


@pytest.fixture(scope="module")
def unbroken(world: Path) -> Path:
    """The run of two processes that nobody killed."""
    finish(launch(world, world / "unbroken", 2, 1))
    return world / "unbroken"


def test_a_killed_rank_is_started_again_and_losses_are_those_of_an_unbroken_run(
    world: Path, unbroken: Path, tmp_path: Path
) -> None:
    process = launch(world, tmp_path / "run", 2, 1, restarts=1)
    kill_after(process, tmp_path / "run", 4, rank=1)
    finish(process)
    assert losses(tmp_path / "run") == losses(unbroken)
    one, two = weights(unbroken), weights(tmp_path / "run")
    assert all(torch.equal(one[name], x) for name, x in two.items())


def test_two_processes_of_one_row_are_one_of_two(world: Path, unbroken: Path) -> None:
    told = finish(launch(world, world / "alone", 1, 2))
    assert "12 steps" in told
    pairs = zip(losses(unbroken), losses(world / "alone"), strict=True)
    # Each step begins where roundings of the ones before it have led.
    assert all(a[1] == pytest.approx(b[1], rel=2e-3) for a, b in pairs)
    one, two = losses(unbroken)[0], losses(world / "alone")[0]
    assert one[1] == pytest.approx(two[1], rel=1e-5)


def test_two_processes_share_shards_as_one_reads_them_in_two_streams(
    world: Path, tmp_path: Path
) -> None:
    words = ("--set", "training.streams=2")
    finish(launch(world, tmp_path / "two", 2, 1, *words, corpus="shards"))
    finish(launch(world, tmp_path / "one", 1, 2, *words, corpus="shards"))
    pairs = zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True)
    assert all(a[1] == pytest.approx(b[1], rel=2e-3) for a, b in pairs)
    one, two = losses(tmp_path / "one")[0], losses(tmp_path / "two")[0]
    assert one[1] == pytest.approx(two[1], rel=1e-5)


def test_sharded_weights_learn_the_same_and_go_on_on_another_number_of_processes(
    world: Path, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = launch(world, run, 2, 1, "--strategy", "fsdp2")
    kill_after(process, run, 4, rank=0)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    before, other = losses(run), tmp_path / "other"
    shutil.copytree(run, other)
    assert list(run.glob("state-*.dcp")), errors
    finish(launch(world, run, 2, 1, "--strategy", "fsdp2"))
    pairs = zip(losses(run), losses(unbroken), strict=True)
    assert all(a[1] == pytest.approx(b[1], rel=2e-3) for a, b in pairs)
    assert losses(run)[: len(before)] == before or len(before) > len(losses(run))
    finish(launch(world, other, 1, 1, "--strategy", "fsdp2"))
    assert [step for step, _ in losses(other)] == list(range(1, STEPS + 1))
    assert len(list(other.glob("state-*.dcp"))) == 2
    refused = launch(world, other, 2, 1)
    _, errors = refused.communicate(timeout=300)
    assert refused.returncode != 0 and "begun with --strategy fsdp2" in errors
