"""N processes of B rows take the steps of one process of N x B rows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, tiny_config
from recordings import make_folder, write_groups

from audiovae.config import Config
from audiovae.corpus.prepare import prepare
from audiovae.tables import from_dict, to_dict

STEPS, ROWS = 2, 4
KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "unpaired": {"objective": {"free_bits": 0.05}, "training": {"translated_share": 0.5}},
    "aligned": {
        "training": {"pairing": "aligned", "own_share": 0.3, "own_ramp": 0.0, "accumulate": 2},
        "objective": {"agreement_weight": 1.0, "confusion_ramp": 0.0},
    },
    "mmd": {"objective": {"match": "mmd", "confusion": "mmd", "confusion_ramp": 0.0}},
    "adversary": {"objective": {"match": "adversarial", "confusion_ramp": 0.0}},
    "mixture": {"model": {"prior": "mixture"}, "objective": {"free_bits": 0.05}},
    "turns": {"training": {"domains_a_step": 2}},
    "wavenet": {"model": {"decoder": "wavenet"}, "training": {"jitter": 2.0, "muted": 0.5}},
}


def settings(kind: str, rows: int) -> Config:
    values = to_dict(tiny_config())
    for section, changed in KINDS[kind].items():
        values[section] |= changed
    values["objective"]["beta_warmup"] = 0.0
    values["training"] |= {"rows": rows, "precision": "fp32", "max_norm": 1e9, "ema": 0.5}
    return from_dict(Config, values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    folder = make_folder(root / "in", "abc", 4, 1.0)
    # Between the partials of clean tones log-mels are of rounding alone, which threads change.
    noise = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.wav")):
        audio, rate = soundfile.read(path)
        soundfile.write(path, audio + 0.01 * noise.standard_normal(len(audio)), rate)
    write_groups(folder, {f"{d}/{i}.wav": f"piece {i}" for d in "abc" for i in range(4)})
    prepare(folder, root / "store", sample_rate=TINY_RATE, valid=0.25, workers=1, progress=False)
    return root / "store"


LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
"""Whatever the machine's name stands for."""


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def start(count: int, words: list[object]) -> list[subprocess.Popen[str]]:
    """Start processes as torchrun does, without what it adds in time."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    common |= LOOPBACK
    started = []
    for number in range(count):
        told = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)}
        started.append(
            subprocess.Popen(
                [sys.executable, *map(str, words)],
                env={**os.environ, **common, **told},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def run_together(count: int, words: list[object]) -> list[str]:
    """Run a command in processes that train together; return what each printed."""
    started = start(count, words)
    told = [process.communicate(timeout=240) for process in started]
    for process, (_, errors) in zip(started, told, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in told]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], most: float) -> None:
    assert one.keys() == two.keys()
    for name, x in one.items():
        torch.testing.assert_close(two[name], x, rtol=most, atol=most, msg=f"{name} differs")


def take_steps(store: Path, folder: Path, count: int) -> Path:
    """Let processes take steps of every kind; return the folder that has what they were."""
    for kind in KINDS:
        text = json.dumps(to_dict(settings(kind, ROWS // count)))
        (folder / f"{kind}.json").write_text(text)
    run_together(count, [Path(__file__).with_name("together.py"), store, folder, STEPS])
    return folder


@pytest.fixture(scope="module", params=[2, 4])
def together(
    store: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    """How many processes took steps of every kind, and where they wrote what they were."""
    return request.param, take_steps(store, tmp_path_factory.mktemp("together"), request.param)


@pytest.fixture(scope="module")
def alone(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The steps of one process, by kind: one like the others, whose libraries have one thread."""
    folder = take_steps(store, tmp_path_factory.mktemp("alone"), 1)
    return {k: torch.load(folder / f"{k}.0.pt", weights_only=True) for k in KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_processes_are_one(
    kind: str, together: tuple[int, Path], alone: dict[str, dict[str, Any]]
) -> None:
    (count, folder), whole = together, alone[kind]
    parts = [torch.load(folder / f"{kind}.{n}.pt", weights_only=True) for n in range(count)]
    for part in parts:
        assert len(part["gradients"]) == STEPS
        for mine, theirs in zip(part["gradients"], whole["gradients"], strict=True):
            same(theirs, mine, 1e-5)
        same(whole["weights"], part["weights"], 1e-5)
        # Every process has the same numbers, to the bit.
        assert all(torch.equal(part["weights"][k], v) for k, v in parts[0]["weights"].items())
        for name, critic in parts[0]["critics"].items():
            assert all(torch.equal(part["critics"][name][k], v) for k, v in critic.items())
            same(whole["critics"][name], critic, 1e-4)
    assert all(x.abs().max() > 0 for x in whole["gradients"][-1].values())
    most = max(
        float((parts[0]["gradients"][step][name] - x).abs().max() / x.abs().max())
        for step in range(STEPS)
        for name, x in whole["gradients"][step].items()
    )
    print(f"{kind}, {count} processes: gradients differ by {most:.1e} of the largest at most")
