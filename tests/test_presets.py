"""Every preset that ships is trained: two steps of its own networks, on a store of its own rate."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

import pytest
from test_recipes import write_tones

import audiovae

NAMES = sorted(
    entry.name.removesuffix(".toml")
    for entry in resources.files("audiovae").joinpath("presets").iterdir()
    if entry.name.endswith(".toml")
)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("presets") / "music", ["oboe", "viola"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_steps_of_a_preset(name: str, music: Path, tmp_path: Path) -> None:
    config, run = audiovae.load_config(name), tmp_path / "run"
    rate = config.audio.sample_rate
    audiovae.prepare(music, tmp_path / "store", sample_rate=rate, valid=0.3, progress=False)
    init = None
    if config.training.settle:  # It goes on from a trained model.
        init = tmp_path / "before"
        before = audiovae.load_config("aligned")
        audiovae.train(tmp_path / "store", init, before, steps=1, progress=False)
    train = audiovae.train_vocoder if name == "vocoder" else audiovae.train
    told = train(tmp_path / "store", run, config, steps=2, init=init, progress=False)
    assert told["steps"] == 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train", "valid"]
    assert math.isfinite(lines[0]["loss"]) and math.isfinite(lines[1]["score"])
    if name != "vocoder":
        model = audiovae.resolve_model(run)
        assert model.config.model == config.model and model.domains == ["oboe", "viola"]
