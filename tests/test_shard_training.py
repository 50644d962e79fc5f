"""Trainings on shards: the same commands, resumed to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY_RATE, make_model, tiny_config
from recordings import run_prepare, save, tone

from audiovae.cli import main
from audiovae.model.autoencoder import AudioVAE
from audiovae.tables import to_dict
from audiovae.training.autoencoder import VAETask
from audiovae.training.trainer import train

SHORT = ["--steps", "2", "--device", "cpu", "--track", "none"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, shards and a store of them, and settings."""
    root = tmp_path_factory.mktemp("training")
    for number, domain in enumerate(("flute", "oboe")):
        for i in range(5):
            sound = tone(1.5, 220 * 2 ** ((5 * i + number) / 12), TINY_RATE)
            save(root / "music" / domain / f"{i}.flac", sound, TINY_RATE)
    common = {"sample_rate": TINY_RATE, "valid": 0.25}
    run_prepare(root / "music", root / "shards", shards=True, piece=1.0, shard_mb=0.05, **common)
    run_prepare(root / "music", root / "store", **common)
    settings = to_dict(tiny_config())
    settings["training"] |= {
        "clip": 0.25, "log_every": 1, "validate_every": 3, "checkpoint_every": 3, "streams": 2,
    }  # fmt: skip
    (root / "tiny.json").write_text(json.dumps(settings))
    return root


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def test_training_on_shards_is_resumed_to_the_bit(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, steps: str = "5") -> int:
        return main(["train", str(root / "shards"), "-o", str(tmp_path / name), "--config",
                     str(root / "tiny.json"), *SHORT[2:], "--steps", steps])  # fmt: skip

    def stop_at(self: VAETask, step: int, metrics: dict, export=VAETask.export) -> None:
        export(self, step, metrics)
        if step == 3:
            raise KeyboardInterrupt

    assert run("whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(VAETask, "export", stop_at)
        assert run("halves") == 130
    assert run("halves") == 0
    states = [
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "halves")
    ]
    one, two = (state["task"]["model"] for state in states)
    assert all(torch.equal(one[k], two[k]) for k in one) and states[1]["step"] == 5
    assert losses(tmp_path / "whole") == losses(tmp_path / "halves")
    model = AudioVAE.from_pretrained(tmp_path / "halves/checkpoint")
    assert model.domains == ["flute", "oboe"]
    assert list((tmp_path / "halves/previews").glob("*.png"))
    # Other shards are other data.
    run_prepare(root / "music", tmp_path / "other", shards=True, sample_rate=TINY_RATE)
    assert main(["train", str(tmp_path / "other"), "-o", str(tmp_path / "whole"), "--config",
                 str(root / "tiny.json"), *SHORT]) == 2  # fmt: skip


def test_statistics_are_near_those_of_a_store(root: Path, tmp_path: Path) -> None:
    found = {}
    for kind in ("store", "shards"):
        train(root / kind, tmp_path / kind, tiny_config(), steps=1, device="cpu", progress=False)
        model = AudioVAE.from_pretrained(tmp_path / kind / "checkpoint")
        assert model.provenance["hours"] == {"flute": 0.0, "oboe": 0.0}
        found[kind] = model.statistics
    assert found["shards"].loudness == pytest.approx(found["store"].loudness, abs=0.051)
    gap = torch.tensor(found["shards"].mean) - torch.tensor(found["store"].mean)
    assert gap.abs().max() < 0.7


def test_vocoders_and_new_domains_train_on_shards(root: Path, tmp_path: Path) -> None:
    shards, config = str(root / "shards"), ["--config", str(root / "tiny.json")]
    assert main(["train-vocoder", shards, "-o", str(tmp_path / "v"), *config, *SHORT]) == 0
    make_model().save_pretrained(tmp_path / "model")
    assert main(["add-domain", shards, "--name", "oboe", "--model", str(tmp_path / "model"),
                 "-o", str(tmp_path / "grown"), *SHORT[:4]]) == 0  # fmt: skip
    assert "oboe" in AudioVAE.from_pretrained(tmp_path / "grown").domains


def test_what_shards_do_not_serve_is_one_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(root / "tiny.json")]
    for words, told in [
        (["train", *config, "--set", "training.pairing=aligned"], "side by side"),
        (["train", *config, "--set", "training.reader=resident"], "set it to auto"),
        (["train", *config, "--set", "training.streams=0"], "streams must be positive"),
        (["train", *config, "--set", "training.shuffle=0"], "shuffle must be"),
        (["fit-prior", "--model", str(tmp_path / "model")], "give a store"),
    ]:
        make_model().save_pretrained(tmp_path / "model")
        line = [words[0], str(root / "shards"), "-o", str(tmp_path / "run"), *words[1:], *SHORT[:2]]
        assert main(line) == 2, words
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1
