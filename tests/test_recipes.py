"""Every recipe answers --help, stays short and works from its data to its model."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import soundfile
from commands import ROOT, succeed
from scripts import script

# What several share is no recipe itself.
RECIPES = sorted(
    path.name for path in (ROOT / "recipes").glob("*.py") if "__main__" in path.read_text("utf-8")
)


def write_tones(folder: Path, domains: list[str], pieces: int = 3, notes: int = 4) -> Path:
    """Write the same pieces of half-second tones in every domain, each on its own instrument."""
    toy = script("toy", "recipes")
    groups = {}
    for number, domain in enumerate(domains):
        (folder / domain).mkdir(parents=True)
        for piece in range(pieces):
            pitches = [60 + piece + 2 * step for step in range(notes)]
            sound = toy.play(pitches, harmonics=2 + number, decay=float(number))
            soundfile.write(folder / domain / f"{piece}.wav", sound, toy.RATE)
            groups[f"{domain}/{piece}.wav"] = f"piece {piece}"
    (folder / "groups.json").write_text(json.dumps(groups))
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_answers_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "recipes" / name
    assert len(path.read_text("utf-8").splitlines()) <= 60
    monkeypatch.setattr("sys.argv", [str(path), "--help"])
    # A process of its own for each would take seconds to import torch.
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.startswith(f"usage: {name}")


def test_toy_goes_from_tones_to_a_transfer(tmp_path: Path) -> None:
    succeed(ROOT / "recipes" / "toy.py", tmp_path, "--steps", 2)
    info = soundfile.info(tmp_path / "out" / "0.pipe.wav")
    assert (info.samplerate, info.duration) == (44_100, 8)


def test_unpaired_recipes_prepare_and_train(tmp_path: Path) -> None:
    music = write_tones(tmp_path / "music", ["viola", "oboe"])
    recipe = ROOT / "recipes" / "urmp.py"
    said = succeed(recipe, music, tmp_path / "run", "--steps", 2, "--preset", "tiny")
    model = tmp_path / "run" / "model" / "checkpoint"
    assert said.endswith(f"2 steps, the budget is spent; the model is {model}\n")


@pytest.mark.slow
def test_waveforms_and_log_mels_are_trained_and_judged(tmp_path: Path) -> None:
    renders = write_tones(tmp_path / "renders", ["viola", "oboe"])
    held_out = write_tones(tmp_path / "held-out", ["viola", "oboe"], pieces=1, notes=17)
    run = tmp_path / "run"
    said = succeed(
        ROOT / "recipes" / "waveform.py", renders, run, "--steps", 3, "--domains", "viola", "oboe",
        "--test", held_out,
    )  # fmt: skip
    for features in ("waveform", "logmel"):
        assert f"{features}: transfer, log-spectral distance " in said
        header = json.loads((run / features / "checkpoint" / "config.json").read_text())
        assert header["config"]["audio"]["features"] == features
        assert header["provenance"]["init"]["steps"] == 1


@pytest.mark.slow
def test_wavenets_go_from_log_mels_to_one_and_to_all(tmp_path: Path) -> None:
    renders = write_tones(tmp_path / "renders", ["viola", "oboe"])
    held_out = write_tones(tmp_path / "held-out", ["viola", "oboe"], pieces=1, notes=17)
    run = tmp_path / "run"
    said = succeed(
        ROOT / "recipes" / "wavenet.py", renders, run, "--steps", 3, "--domains", "viola", "oboe",
        "--test", held_out,
    )  # fmt: skip
    assert "transfer, log-spectral distance " in said
    header = json.loads((run / "all" / "checkpoint" / "config.json").read_text())
    assert header["config"]["model"]["decoder"] == "wavenet"
    assert header["domains"] == ["oboe", "viola"]
    assert header["provenance"]["init"]["init"]["steps"] == 1


@pytest.mark.slow
def test_translation_goes_from_one_decoder_to_each_domains_own(tmp_path: Path) -> None:
    music = write_tones(tmp_path / "music", ["viola", "oboe"])
    held_out = write_tones(tmp_path / "held-out", ["viola", "oboe"], pieces=1, notes=17)
    run = tmp_path / "run"
    said = succeed(
        ROOT / "recipes" / "translation.py", music, run, "--pool-steps", 2, "--steps", 2,
        "--test", held_out,
    )  # fmt: skip
    assert "transfer, log-spectral distance: " in said
    header = json.loads((run / "apart" / "checkpoint" / "config.json").read_text())
    assert header["domains"] == ["oboe", "viola"]
    assert header["provenance"]["init"]["steps"] == 2
    assert len(list((run / "pool" / "all").glob("*/*.wav"))) == 6


@pytest.mark.slow
def test_orchestra_goes_through_its_stages(tmp_path: Path) -> None:
    # The eight would take minutes on two cores.
    domains = ["piano", "flute"]
    renders = write_tones(tmp_path / "renders", [*domains, "x-viola"])
    held_out = write_tones(tmp_path / "held-out", domains, pieces=1, notes=17)
    out = tmp_path / "run"
    said = succeed(
        ROOT / "recipes" / "orchestra.py", renders, out, "--sketch-steps", 2, "--steps", 2,
        "--apart-steps", 2, "--settled-steps", 2, "--vocoder-steps", 2, "--test", held_out,
        "--vocoder-rows", 2, "--domains", *domains,
    )  # fmt: skip
    assert "transfer, dB: " in said
    weights = out / "weights"
    header = json.loads((weights / "config.json").read_text())
    assert header["domains"] == sorted(domains)
    assert header["provenance"]["init"]["init"]["steps"] == 2
    assert (weights / "vocoder.safetensors").is_file() and (weights / "README.md").is_file()
    succeed(
        ROOT / "recipes" / "live.py", out / "store", tmp_path / "live", "--rows", 1,
        "--sketch-steps", 2, "--steps", 2, "--settled-steps", 2, "--vocoder-steps", 2,
        "--domains", *domains,
    )  # fmt: skip
    header = json.loads((tmp_path / "live" / "weights" / "config.json").read_text())
    assert header["config"]["audio"]["causal"] and header["domains"] == sorted(domains)
