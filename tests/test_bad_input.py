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


USE = "take.wav --to flute -o out"
TRANSFER = [
    "gone.wav --to flute -o out --model model",
    "empty.wav --to flute -o out --model model",
    "letter.wav --to flute -o out --model model",
    "cut.wav --to flute -o out --model model",
    "header.wav --to flute -o out --model model",
    "nan.wav --to flute -o out --model model",
    "choir.wav --to flute -o out --model model",
    "take.wav nan.wav --to flute -o out --model model",
    "nothing --to flute -o out --model model",
    "--to flute -o out --model model",
    "take.wav -o out --model model",
    "take.wav --to flute --model model",
    "take.wav --to kazoo -o out --model model",
    "take.wav --to flute flute -o out --model model",
    "take.wav --to ../flute -o out --model model",
    "take.wav --blend piano -o out --model model",
    "take.wav --blend piano=x -o out --model model",
    "take.wav --blend piano=nan -o out --model model",
    "take.wav --blend piano=0 -o out --model model",
    "take.wav --blend piano=-1,flute=2 -o out --model model",
    "take.wav --blend kazoo=1 -o out --model model",
    "take.wav --blend piano=1,piano=2 -o out --model model",
    f"{USE} --model model --mix 1.5",
    f"{USE} --model model --mix nan",
    f"{USE} --model model --mix loud",
    f"{USE} --model model --temperature -1",
    f"{USE} --model model --transpose 100",
    f"{USE} --model model --format mp3",
    f"{USE} --model model --device abacus",
    f"{USE} --model model --threads 0",
    f"{USE} --model model --precision fp8",
    f"{USE} --model model --precision int8",
    f"{USE} --model model --loudnes",
    "take.wav --to trumpet -o out --model model --octave auto",
    "take.wav other/take.flac --to flute -o out --model model",
    "take.wav take.wav --to flute -o out --model model",
    "take.wav take.flute.wav --to flute -o . --model model",
    "take.wav --to flute -o tiny.json --model model",
    "take.wav --to flute -o tiny.json/out --model model",
    "nine.wav --to flute -o out --model model --format flac",
    f"{USE} --model gone",
    f"{USE} --model nobody/nothing",
    f"{USE} --model tiny.json",
    f"{USE} --model nothing",
    f"{USE} --model store",
    f"{USE} --model damaged",
    f"{USE} --model foreign",
    f"{USE} --model no-json",
    f"{USE} --model halved",
    f"{USE} --model model --vocoder wave",
    f"{USE} --model model --vocoder gone",
]
EMBED = [
    "gone.wav -o out --model model",
    "nan.wav -o out --model model",
    "-o out --model model",
    "take.wav --model model",
    "take.wav -o out --model model --pool median",
    "take.wav -o out --model model --format csv",
    "take.wav other/take.flac -o out --model model",
    "take.wav -o tiny.json --model model",
    "take.wav -o tiny.json/all.parquet --model model",
]
GENERATE = [
    "-o out --model model",
    "--to kazoo -o out --model model",
    "--to flute -o out --model model --seconds 0",
    "--to flute -o out --model model --seconds nan",
    "--to flute -o out --model model --temperature 99",
    "--to flute -o out --model model --smooth -1",
    "--to flute -o out --model model --count 0",
    "--to flute -o out --model model --prior sequence",
]
INTERPOLATE = [
    "take.wav gone.wav --to flute -o out --model model",
    "take.wav nan.wav --to flute -o out --model model",
    "take.wav --to flute -o out --model model",
    "take.wav other/take.flac -o out --model model",
    "take.wav other/take.flac --to kazoo -o out --model model",
    "take.wav other/take.flac --to flute -o out --model model --steps 1",
    "take.wav other/take.flac --to flute -o out --model model --fit loop",
    "take.wav other/take.flac --to flute -o tiny.json --model model",
]
GRID = [
    "-o out --model model",
    "--to flute -o out --model model",
    "--to flute -o out --model model --dimensions 0",
    "--to flute -o out --model model --dimensions 3 3",
    "--to flute -o out --model model --dimensions 0 8",
    "--to flute -o out --model model --dimensions 0 1 --side 1",
    "--to flute -o out --model model --dimensions 0 1 --take gone.wav",
]
FIT = [
    "gone --model model",
    "nothing --model model",
    "music",
    "music --model default",
    "music --model gone -o out",
    "music --model model -o full",
    "music --model model -o out --minutes 0",
    "music --model model -o out --minutes 1 --steps 1",
]
PREPARE = [
    "gone -o out",
    "take.wav -o out",
    "nothing -o out",
    "flat -o out",
    "words -o out",
    "music -o music/out",
    "music -o full",
    "music -o out --sample-rate 10",
    "music -o out --workers 0",
    "music -o out --valid 2",
    "music",
]
SETTINGS = "--config tiny.json"
TRAIN = [
    f"gone -o out {SETTINGS} --steps 1",
    f"nothing -o out {SETTINGS} --steps 1",
    f"store -o out {SETTINGS}",
    f"store -o out {SETTINGS} --steps 1 --minutes 1",
    f"store -o out {SETTINGS} --steps 0",
    f"store -o out {SETTINGS} --minutes inf",
    f"store -o out {SETTINGS} --minutes nan",
    f"store -o full {SETTINGS} --steps 1",
    f"store -o out {SETTINGS} --steps 1 --domains kazoo",
    f"store -o out {SETTINGS} --steps 1 --init gone",
    f"store -o out {SETTINGS} --steps 1 --preset tiny",
    f"store -o out {SETTINGS} --steps 1 --device abacus",
    f"store -o out {SETTINGS} --steps 1 --set training.rows",
    f"store -o out {SETTINGS} --steps 1 --set rows=2",
    f"store -o out {SETTINGS} --steps 1 --set training.rows=many",
    f"store -o out {SETTINGS} --steps 1 --set training.rows=-1",
    f"store -o out {SETTINGS} --steps 1 --set training.speed=9",
    f"store -o out {SETTINGS} --steps 1 --set garden.roses=9",
    f"store -o out {SETTINGS} --steps 1 --set training.clip=50",
    "store -o out --steps 1 --preset huge",
    "store -o out --steps 1 --config gone.toml",
    "store -o out --steps 1 --config broken.toml",
    "store -o out --steps 1 --preset tiny",
    f"store {SETTINGS} --steps 1",
]
VOCODER = [
    f"gone -o out {SETTINGS} --steps 1",
    f"store -o out {SETTINGS}",
    f"store -o out {SETTINGS} --steps 1 --set audio.features=waveform",
    f"store -o out {SETTINGS} --steps 1 --init wave",
]
ADD = [
    "gone --name oboe -o out --model model --steps 1",
    "music/oboe --name flute -o out --model model --steps 1",
    "music/oboe --name ../oboe -o out --model model --steps 1",
    "music/oboe -o out --model model --steps 1",
    "music/oboe --name oboe -o out --model gone --steps 1",
    "music/oboe --name oboe -o out --model model --minutes nan",
    "music/oboe --name oboe -o out --model model --steps 1 --minutes 1",
    "music/oboe --name oboe -o out --model model --steps 1 --init-from kazoo",
    "music/oboe --name oboe -o full --model model --steps 1",
    "store --name kazoo -o out --model model --steps 1",
]
OTHERS = [
    "",
    "frobnicate",
    "--frobnicate",
    "info gone",
    "info nothing",
    "info letter.wav",
    "info model/encoder.safetensors",
    "info damaged",
    "demo -o tiny.json --model model",
    "demo --model model",
    "demo -o out --model gone",
    "doctor who",
    "evaluate gone -o out --model model",
    "evaluate music -o out --model model",
    "evaluate music --model model",
    "evaluate music -o out --model model --quick --full",
    "evaluate music -o out --model model --segments 0",
]
LINES = [
    *(f"transfer {words}" for words in TRANSFER),
    *(f"embed {words}" for words in EMBED),
    *(f"generate {words}" for words in GENERATE),
    *(f"interpolate {words}" for words in INTERPOLATE),
    *(f"grid {words}" for words in GRID),
    *(f"fit-prior {words}" for words in FIT),
    *(f"prepare {words}" for words in PREPARE),
    *(f"train {words}" for words in TRAIN),
    *(f"train-vocoder {words}" for words in VOCODER),
    *(f"add-domain {words}" for words in ADD),
    *OTHERS,
]


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
