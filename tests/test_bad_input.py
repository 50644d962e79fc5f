"""Bad input to every verb: exit code 2, one line that says what is wrong, nothing written."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bad_lines import LINES
from conftest import TINY_RATE, make_model, tiny_config, tone_samples

from audiovae.cli import main
from audiovae.corpus.prepare import prepare
from audiovae.tables import to_dict


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad things; tests must leave it as it is."""
    root = tmp_path_factory.mktemp("bad")
    tone = tone_samples(0.5)[0]
    _sounds(root, tone)
    _models(root)
    music = root / "music"
    for number, domain in enumerate(("oboe", "viola")):
        for i in range(4):
            path = music / domain / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, (0.5 + 0.1 * i + 0.03 * number) * tone, TINY_RATE)
    prepare(music, root / "store", sample_rate=TINY_RATE, valid=0.25, workers=1, progress=False)
    (root / "flat").mkdir()
    soundfile.write(root / "flat" / "a.wav", tone, TINY_RATE)
    (root / "words" / "oboe").mkdir(parents=True)
    (root / "words" / "oboe" / "a.txt").write_text("no sound")
    (root / "nothing").mkdir()
    (root / "full").mkdir()
    (root / "full" / "thesis.txt").write_text("not to be lost")
    settings = to_dict(tiny_config())
    (root / "tiny.json").write_text(json.dumps(settings))
    (root / "broken.toml").write_text("[audio\nsample_rate = ")
    return root


def _sounds(root: Path, tone: np.ndarray) -> None:
    soundfile.write(root / "take.wav", tone, TINY_RATE)
    shutil.copy(root / "take.wav", root / "take.flute.wav")
    (root / "other").mkdir()
    soundfile.write(root / "other" / "take.flac", tone, TINY_RATE)
    (root / "empty.wav").touch()
    (root / "letter.wav").write_text("Dear Sir or Madam,\n" * 50)
    whole = (root / "take.wav").read_bytes()
    (root / "cut.wav").write_bytes(whole[: len(whole) // 2])
    broken = tone.copy()
    broken[100] = np.nan
    soundfile.write(root / "nan.wav", broken, TINY_RATE, subtype="FLOAT")
    for name, channels in (("choir", 200), ("header", 1)):
        riff = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, channels,
                           8000, 16000 * channels, 2 * channels, 16, b"data", 0)  # fmt: skip
        (root / f"{name}.wav").write_bytes(riff)
    soundfile.write(root / "nine.wav", np.tile(tone[:, None], 9), TINY_RATE)


def _models(root: Path) -> None:
    model = make_model()
    model.save_pretrained(root / "model")
    for name in ("damaged", "foreign", "no-json"):
        shutil.copytree(root / "model", root / name)
    (root / "damaged" / "encoder.safetensors").write_bytes(b"\0" * 100)
    config = json.loads((root / "foreign" / "config.json").read_text())
    config["config"]["model"]["class"] = "os.system"
    (root / "foreign" / "config.json").write_text(json.dumps(config))
    (root / "no-json" / "config.json").write_text("{")
    shutil.copytree(root / "model", root / "halved")
    (root / "halved" / "decoders" / "flute.safetensors").unlink()
    make_model("waveform").save_pretrained(root / "wave")


def contents(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file and folder."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            facts = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (facts.st_size, facts.st_mtime_ns)
    return found


@pytest.mark.parametrize("line", LINES)
def test_bad_input_is_one_line_and_nothing_written(
    line: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    before = contents(place)
    code = main(line.split())
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.err.startswith("audiovae: ")
    assert said.err.count("\n") == 1, said.err
    assert len(said.err) < 500
    assert "Traceback" not in said.err
    assert said.out == ""
    assert contents(place) == before


def test_an_extra_that_is_missing_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pyarrow" else real(name, *a)
    )
    monkeypatch.chdir(place)
    assert main(["embed", "take.wav", "-o", "all.parquet", "--model", "model"]) == 2
    assert "audiovae[parquet]" in capsys.readouterr().err


def test_work_on_ray_needs_its_extra(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else real(name, *a)
    )
    monkeypatch.chdir(place)
    before = contents(place)
    for words in ("embed take.wav -o out --model model", "prepare music -o out"):
        assert main([*words.split(), "--engine", "ray"]) == 2
        assert "audiovae[cluster]" in capsys.readouterr().err
    assert contents(place) == before


def test_a_model_on_the_hub_needs_its_extra(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., object] = importlib.util.find_spec
    hidden = "huggingface_hub"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == hidden else real(name, *a)
    )
    monkeypatch.chdir(place)
    assert main(["info", "--", "x"]) == 2
    assert main(["embed", "take.wav", "-o", "out", "--model", "someone/model"]) == 2
    assert "audiovae[hub]" in capsys.readouterr().err
