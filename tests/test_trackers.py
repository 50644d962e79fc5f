"""Curves, sounds and pictures reach whoever else is told of a training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, tiny_config, tone_samples

from audiovae.audio.files import write
from audiovae.cli import main
from audiovae.errors import ConfigError
from audiovae.metrics.pictures import draw_spectrograms
from audiovae.training.loop import Budget, run_task


class Counting:
    """A task that counts its steps, and keeps a sound and a picture."""

    kind = "counting"
    audio_a_step = 1.0

    def __init__(self, run: Path) -> None:
        self.run, self.count = run, 0

    def begin(self, steps: int) -> None:
        self.count = 0

    def step(self, step: int) -> Mapping[str, float]:
        self.count += 1
        return {"loss": float(self.count)}

    def validate(self, step: int) -> dict[str, Any]:
        return {"score": -float(step), "kl_by_dimension": [0.5], "broken": float("nan")}

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        folder = self.run / "previews"
        folder.mkdir(exist_ok=True)
        samples = tone_samples(0.5)
        write(folder / "one.source.wav", samples, TINY_RATE)
        draw_spectrograms([("one", samples[0])], TINY_RATE, folder / "one.png")

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def count_to(run: Path, steps: int, track: str) -> dict[str, Any]:
    return run_task(
        Counting(run), run, tiny_config(), budget=Budget(steps=steps), fingerprint="none",
        domains=["one"], device=torch.device("cpu"), progress=False, track=track,
    )  # fmt: skip


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_a_dashboard_is_told_of_it_all(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def media(kind: str) -> Any:
        return lambda path, caption: (kind, Path(path).is_file(), caption)

    stand_in = SimpleNamespace(
        __spec__=SimpleNamespace(name=package),
        init=lambda **options: told.append(options),
        log=lambda values, step: told.append((step, values)),
        finish=lambda: told.append("finished"),
        Audio=media("sound"),
        Image=media("picture"),
    )
    monkeypatch.setitem(sys.modules, package, stand_in)
    count_to(tmp_path / "mine", 3, package)
    first, train, valid, previews, last = told
    assert (first["project"], first["name"], first["resume"]) == ("audiovae", "mine", "allow")
    assert first["config"]["audio"]["sample_rate"] == TINY_RATE
    assert train == (3, {"train/loss": 2.0})
    assert valid == (3, {"valid/score": -3.0})
    assert previews == (
        3,
        {
            "previews/one": ("picture", True, "one"),
            "previews/one.source": ("sound", True, "one.source"),
        },
    )
    assert last == "finished"


def test_tensorboard_has_curves_sounds_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    count_to(tmp_path / "run", 3, "auto")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(3, 2.0)]
    assert [e.value for e in events.Scalars("valid/score")] == [-3.0]
    (sound,) = events.Audio("one.source")
    assert sound.sample_rate == TINY_RATE and sound.length_frames == TINY_RATE // 2
    (picture,) = events.Images("one")
    assert picture.width > 100 and picture.height > 100
    decoded = np.frombuffer(picture.encoded_image_string[:4], np.uint8).tobytes()
    assert decoded == b"\x89PNG"


def test_nobody_else_is_told(tmp_path: Path) -> None:
    assert count_to(tmp_path / "run", 3, "none")["steps"] == 3
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "metrics.jsonl").is_file()


def test_who_is_missing_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install trackio"):
        count_to(tmp_path / "run", 3, "trackio")
    with pytest.raises(ConfigError, match="expected auto, none, tensorboard, wandb, trackio"):
        count_to(tmp_path / "run", 3, "pencil")
    assert not (tmp_path / "run").exists()
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "out"), "--track", "pencil"]) == 2
    assert "pencil" in capsys.readouterr().err
