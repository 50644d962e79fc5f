"""Loops of other frameworks around `training_step` lose what the built-in loop loses."""

from __future__ import annotations

import csv
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import ROOT
from test_training import RATE, config, losses, write_music

import audiovae
from audiovae.training.trainer import make_task, train

STEPS = 4
# Two batches a step, so that what frameworks do with them counts too.
SETTINGS = config(training={"accumulate": 2, "learning_rate": 3e-3})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    music = write_music(root / "music")
    audiovae.prepare(music, root / "store", sample_rate=RATE, valid=0.25, workers=1, progress=False)
    return root / "store"


@pytest.fixture(scope="module")
def own(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the built-in loop."""
    run = tmp_path_factory.mktemp("runs") / "own"
    train(store, run, SETTINGS, steps=STEPS, progress=False, track="none")
    return run


def lightnings(run: Path) -> list[float]:
    with next(run.glob("**/metrics.csv")).open() as table:
        return [float(row["loss"]) for row in csv.DictReader(table) if row["loss"]]


def accelerates(run: Path) -> list[float]:
    # A line a batch; the others log a step's last batch.
    lines = (run / "losses.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines[1::2]]


@pytest.mark.parametrize(
    ("package", "lost"), [("lightning", lightnings), ("accelerate", accelerates)]
)
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_it_trains_as_the_built_in_loop_does(
    package: str,
    lost: Callable[[Path], list[float]],
    store: Path,
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(package)
    run = tmp_path / package
    monkeypatch.setattr(audiovae, "load_config", lambda preset: SETTINGS)
    monkeypatch.setattr("sys.argv", ["loop", str(store), str(run), "--steps", str(STEPS)])
    runpy.run_path(str(ROOT / "recipes" / f"{package}_loop.py"), run_name="__main__")
    assert lost(run) == pytest.approx(losses(own), rel=1e-5)
    for mine, theirs in zip(*(weights(r) for r in (run, own)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def weights(run: Path) -> list[torch.Tensor]:
    """Return the averaged weights that a loop ends with."""
    return list(audiovae.AudioVAE.from_pretrained(run / "checkpoint").state_dict().values())


def test_critics_learn_nothing_from_the_encoders_loss(store: Path, tmp_path: Path) -> None:
    settings = config(objective={"match": "adversarial"})
    learned = []
    for backward in (False, True):
        task = make_task(store, tmp_path / "run", settings, device="cpu")
        task.begin(10)
        for number in range(2):
            loss, _ = task.training_step(task.batch(number))
            if backward:
                loss.backward()
        critics = (task.confusion.critic, task.matching.critic)
        learned.append([p for critic in critics for p in critic.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*learned, strict=True))
