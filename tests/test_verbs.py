"""The verbs of the command line from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import last_json, run
from conftest import DOMAINS, TINY_RATE, tiny_config

import audiovae
from audiovae import cli
from audiovae.tables import to_dict


def test_transfer_writes_names_and_json(
    tone: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    takes = [tone("take.wav", 0.5, 44_100, 2), tone("b.flac", 0.4)]
    out = tmp_path / "out"
    done = run(
        "-m", "audiovae", "transfer", *takes,
        "--to", "flute", "trumpet", "--blend", "piano=0.7,flute=0.3",
        "-o", out, "--model", tiny_checkpoint, "--transpose", -2, "--keep-loudness", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = last_json(done.stdout)
    assert len(facts["files"]) == 6 and "its own vocoder" in facts["model"]
    assert {Path(f["path"]).name for f in facts["files"]} == {p.name for p in out.iterdir()}
    assert facts["files"][0]["transposed"] == -2.0
    assert soundfile.info(out / "take.blend.wav").channels == 2


def test_embed_and_generate(
    tone: Callable[..., Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    model = ["--model", str(tiny_checkpoint)]
    assert cli.main(["embed", str(tone()), "-o", out, *model, "--pool", "mean", "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert facts["files"][0]["frames"] == 1 and facts["dimension"] == 8
    sounds = []
    for seed in ("1", "1", "2"):
        words = ["generate", "--to", "flute", "piano", "--seconds", "1.5", "--seed", seed]
        assert cli.main([*words, "-o", out, *model]) == 0
        sounds.append(soundfile.read(tmp_path / "out" / "generated.flute.wav")[0])
    assert len(sounds[0]) == 1.5 * TINY_RATE and sounds[0].std() > 0
    assert (sounds[0] == sounds[1]).all() and (sounds[0] != sounds[2]).any()


def test_generated_pieces_equal_the_whole(tiny_model: audiovae.AudioVAE) -> None:
    from audiovae.apps.engine import Engine, Voice

    whole, parts = (
        np.concatenate(
            list(
                (engine := Engine(tiny_model, 1.0, 3, "fp32", s)).play(
                    300, Voice.of("flute"), partial(engine.prior, smooth=4.0)
                )
            ),
            axis=1,
        )
        for s in (100.0, 0.5)
    )
    assert whole.shape == parts.shape == (1, 300 * tiny_model.config.latent_hop)
    assert np.abs(whole - parts).max() < 1e-4


def test_smoothing_keeps_the_variance_of_the_prior() -> None:
    from audiovae.apps.engine import prior_path

    rough, smooth = (prior_path(0, 64, 10, 2_000, width) for width in (0.0, 5.0))
    assert rough.std() == pytest.approx(1, abs=0.02) == smooth.std()
    steps = [float((path[:, 1:] - path[:, :-1]).std()) for path in (rough, smooth)]
    assert steps[1] < 0.3 * steps[0]


def test_info_knows_models_and_sounds(
    tone: Callable[..., Path], tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", str(tiny_checkpoint), "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert facts["kind"] == "model" and facts["domains"] == list(DOMAINS)
    assert facts["parameters"]["encoder"] > 0
    take = tone("take.ogg", 1.0, 44_100, 2)
    assert cli.main(["info", str(take), "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert (facts["kind"], facts["channels"], facts["seconds"]) == ("audio", 2, 1.0)
    assert cli.main(["info", str(take.parent)]) == 0
    assert "kind: folder" in capsys.readouterr().out


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    said = capsys.readouterr()
    checks = {c["name"]: c for c in last_json(said.out)["checks"]}
    assert checks["torch"]["good"] and checks["sound files"]["good"]
    assert {"processor", "shipped model", "extra codecs", "extra web", "this folder"} <= set(checks)
    assert said.err == ""


def test_the_whole_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepare, train, look, transfer, train a vocoder, add a domain: all from the command line."""
    monkeypatch.chdir(tmp_path)
    time_ = np.arange(TINY_RATE) / TINY_RATE
    for number, domain in enumerate(("oboe", "viola", "lute")):
        folder = Path("spare" if domain == "lute" else "music") / domain
        folder.mkdir(parents=True)
        for i in range(4):
            tone = np.sin(2 * np.pi * 220 * 2 ** ((i + number) / 12) * time_)
            soundfile.write(folder / f"{i}.wav", (0.2 + 0.01 * number) * tone, TINY_RATE)
    Path("tiny.json").write_text(json.dumps(to_dict(tiny_config())))

    def call(line: str) -> dict:
        assert cli.main([*line.split(), "--json"]) == 0, capfd.readouterr().err
        return last_json(capfd.readouterr().out)

    rate = f"--sample-rate {TINY_RATE}"
    made = call(f"prepare music -o store {rate} --workers 1 --valid 0.25")
    assert made["recordings"] == 8 and made["skipped"] == []
    train = "train store -o run --config tiny.json --steps 2 --threads 1"
    assert call(train)["steps"] == 2
    assert call(train)["steps"] == 2  # Resumed at its end: nothing to do.
    facts = call("info run")
    assert facts["kind"] == "run" and facts["step"] == 2
    assert facts["checkpoint"]["domains"] == ["oboe", "viola"]
    assert call("info store")["recordings"] == {"oboe": 4, "viola": 4}
    used = call("transfer music/oboe/0.wav --to viola --model run -o out")
    assert "Griffin-Lim" in used["model"] and Path("out/0.viola.wav").is_file()
    more = "--init run --set training.log_every=1 training.warmup_steps=1"
    assert call(f"train store -o more --steps 1 --domains viola {more}")["steps"] == 1
    call("train-vocoder store -o voice --config tiny.json --steps 2")
    assert cli.main(["transfer", "music/oboe/0.wav", "--to", "oboe", "--model", "voice",
                     "-o", "out"]) == 2  # fmt: skip
    assert "--vocoder" in capfd.readouterr().err
    used = call("transfer music/oboe/0.wav --to oboe --model run --vocoder voice -o out")
    assert "the vocoder of voice" in used["model"]
    grown = call("add-domain spare/lute --name lute --model run -o grown --steps 2")
    assert grown["domain"] == "lute"
    assert call("info grown")["domains"] == ["lute", "oboe", "viola"]
    call("transfer music/oboe/0.wav --to lute --model grown -o out")
    assert Path("out/0.lute.wav").is_file()
