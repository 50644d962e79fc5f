"""What kills once found in trainings, each with the test that it stays mended."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_RATE, make_model, tiny_config
from recordings import run_prepare, save, tone

from audiovae.config import Config
from audiovae.model.weights import load_model
from audiovae.training import loop
from audiovae.training.add_domain import add_domain
from audiovae.training.logs import Log
from audiovae.training.trackers import Untracked
from audiovae.training.vocoder import VocoderTask, train_vocoder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mended")
    folder = root / "in"
    for i in range(3):
        save(folder / f"a/{i}.wav", tone(1, 300 + 50 * i, TINY_RATE), TINY_RATE)
    run_prepare(folder, root / "store", sample_rate=TINY_RATE, valid=0.34)
    return root / "store"


def settings(**training: Any) -> Config:
    config = tiny_config()
    distances = {"log_every": 4, "validate_every": 2, "checkpoint_every": 3}
    return dataclasses.replace(
        config, training=dataclasses.replace(config.training, **(distances | training))
    )


def run(store: Path, place: Path, config: Config, steps: int = 7) -> dict[str, Any]:
    return train_vocoder(store, place, config, steps=steps, progress=False, track="none")


def steps_of(place: Path) -> int:
    return json.loads((place / "checkpoint" / "config.json").read_text())["provenance"]["steps"]


def log_of(place: Path) -> list[dict[str, Any]]:
    lines = (place / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if "seconds" not in k} for x in lines]


class Stop(Exception):
    pass


def stop_at(step: int, original: Callable[..., None] = VocoderTask.export) -> Callable[..., None]:
    def export(task: VocoderTask, at: int, metrics: dict[str, Any]) -> None:
        if at == step:
            raise Stop
        original(task, at, metrics)

    return export


def test_a_run_that_ended_between_state_and_checkpoint_writes_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store, tmp_path / "whole", settings())
    for step in (3, 7):
        place = tmp_path / f"cut at {step}"
        with monkeypatch.context() as patch:
            patch.setattr(VocoderTask, "export", stop_at(step))
            with pytest.raises(Stop):
                run(store, place, settings())
        summary = run(store, place, settings())
        assert summary["steps"] == steps_of(place) == 7 and summary["ended"] == loop.SPENT
        # Means over steps before and after the cut are those of an unbroken run.
        assert log_of(place) == log_of(tmp_path / "whole")
        one, two = (load_model(p / "checkpoint").state_dict() for p in (place, tmp_path / "whole"))
        assert all(torch.equal(one[k], two[k]) for k in one)
    # A checkpoint that something was added to since stays as it is.
    mine = place / "checkpoint" / "mine.txt"
    mine.write_text("mine")
    run(store, place, settings())
    assert mine.exists()


def test_a_run_that_ended_at_a_plateau_has_ended(store: Path, tmp_path: Path) -> None:
    config = settings(patience=2, learning_rate=1e-12, scale_learning_rate=1e-12)
    first = run(store, tmp_path / "run", config, 12)
    assert "no progress" in first["ended"] and first["steps"] < 12
    again = run(store, tmp_path / "run", config, 12)
    assert (again["steps"], again["ended"]) == (first["steps"], first["ended"])


def test_a_log_that_is_cut_short_is_never_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f'{{"step": {step}, "kind": "train", "loss": 1}}\n' for step in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            Log(tmp_path, 5, 10, 1.0, False, Untracked())
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(lines)
    Log(tmp_path, 5, 10, 1.0, False, Untracked()).close()
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 5


def test_a_ceiling_that_was_never_measured_is_no_divergence(store: Path, tmp_path: Path) -> None:
    model = make_model()
    ceilings = [v for k, v in model.state_dict().items() if k.endswith("ceiling")]
    assert ceilings and not any(torch.isfinite(ceiling).any() for ceiling in ceilings)
    folder = store.with_name("in") / "a"
    add_domain(folder, "lute", model, tmp_path / "out", steps=1, device="cpu", progress=False)
    assert "lute" in load_model(tmp_path / "out").domains
