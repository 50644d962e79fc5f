"""Every recipe answers --help, stays short and works from its data to its model."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import soundfile
from commands import ROOT, succeed
from scripts import script

import audiovae

# What several share is no recipe itself.
RECIPES = sorted(
    path.name for path in (ROOT / "recipes").glob("*.py") if "__main__" in path.read_text("utf-8")
)


# Networks that take a step in a fraction of a second; everything else is the recipes' own.
SMALL = {
    **dict.fromkeys(("model.encoder_width", "model.decoder_width", "vocoder.width"), 16),
    **{"model.encoder_blocks": [1, 1], "model.decoder_blocks": [1, 1]},
    **{"vocoder.blocks": 1, "wavenet.residual": 8, "wavenet.skip": 8},
    **{"wavenet.layers": 4, "wavenet.cycle": 2},
}


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


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a recipe in this process and returns what it prints.

    A process of its own for each would take seconds to import torch.
    """

    def run(name: str, *words: object) -> str:
        path = ROOT / "recipes" / name
        monkeypatch.setattr("sys.argv", [str(path), *map(str, words)])
        monkeypatch.syspath_prepend(path.parent)
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset's networks are small."""
    load = audiovae.load_config

    def load_small(preset: str, settings: Mapping[str, object] | None = None) -> audiovae.Config:
        return load(preset, {**(settings or {}), **SMALL})

    monkeypatch.setattr(audiovae, "load_config", load_small)


@pytest.fixture
def tones(tmp_path: Path) -> tuple[Path, Path]:
    """Tones of two domains to train on, and others to judge by."""
    renders = write_tones(tmp_path / "renders", ["viola", "oboe"])
    return renders, write_tones(tmp_path / "held-out", ["viola", "oboe"], pieces=1, notes=17)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_answers_help(
    name: str, play: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len((ROOT / "recipes" / name).read_text("utf-8").splitlines()) <= 60
    if name.endswith("_loop.py"):
        pytest.importorskip(name.removesuffix("_loop.py"))
    with pytest.raises(SystemExit, match=r"^0$"):
        play(name, "--help")
    assert capsys.readouterr().out.startswith(f"usage: {name}")


def test_toy_goes_from_tones_to_a_transfer(tmp_path: Path) -> None:
    succeed(ROOT / "recipes" / "toy.py", tmp_path, "--steps", 2)
    info = soundfile.info(tmp_path / "out" / "0.pipe.wav")
    assert (info.samplerate, info.duration) == (44_100, 8)


def test_unpaired_recipes_prepare_and_train(tmp_path: Path, play: Callable[..., str]) -> None:
    music = write_tones(tmp_path / "music", ["viola", "oboe"])
    said = play("urmp.py", music, tmp_path / "run", "--steps", 2, "--preset", "tiny")
    model = tmp_path / "run" / "model" / "checkpoint"
    assert said.endswith(f"2 steps, the budget is spent; the model is {model}\n")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_waveforms_and_log_mels_are_trained_and_judged(
    tones: tuple[Path, Path], tmp_path: Path, play: Callable[..., str]
) -> None:
    run, (renders, held_out) = tmp_path / "run", tones
    said = play(
        "waveform.py", renders, run, "--steps", 3, "--domains", "viola", "oboe", "--test", held_out
    )
    for features in ("waveform", "logmel"):
        assert f"{features}: transfer, log-spectral distance " in said
        header = json.loads((run / features / "checkpoint" / "config.json").read_text())
        assert header["config"]["audio"]["features"] == features
        assert header["provenance"]["init"]["steps"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_wavenets_go_from_log_mels_to_one_for_all_and_part(
    tones: tuple[Path, Path], tmp_path: Path, play: Callable[..., str]
) -> None:
    run, (renders, held_out) = tmp_path / "run", tones
    said = play(
        "wavenet.py", renders, run, "--steps", 3, "--domains", "viola", "oboe", "--test", held_out
    )
    assert "transfer, log-spectral distance " in said
    header = json.loads((run / "apart" / "checkpoint" / "config.json").read_text())
    assert header["config"]["model"]["decoder"] == "wavenet"
    assert header["domains"] == ["oboe", "viola"]
    assert header["config"]["model"]["share"] == "none"
    together = header["provenance"]["init"]
    assert (together["steps"], together["init"]["steps"]) == (2, 1)


@pytest.mark.nightly
@pytest.mark.usefixtures("small")
def test_members_of_the_family_are_compared(
    tones: tuple[Path, Path], tmp_path: Path, play: Callable[..., str]
) -> None:
    run, (renders, held_out) = tmp_path / "run", tones
    members = ["kl", "adversarial, mixture, no noise"]
    said = play(
        "family.py",
        renders,
        run,
        "--sketch-steps",
        1,
        "--steps",
        1,
        "--members",
        *members,
        "--test",
        held_out,
    )
    names = {line.partition(": ")[0] for line in said.splitlines()[-3:]}
    assert names == {"copy", "model", members[1]}
    header = json.loads(
        (run / "adversarial-mixture-no-noise" / "checkpoint" / "config.json").read_text()
    )
    assert header["config"]["model"]["posterior"] == "deterministic"


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_translation_goes_from_one_decoder_to_each_domains_own(
    tones: tuple[Path, Path], tmp_path: Path, play: Callable[..., str]
) -> None:
    run, (music, held_out) = tmp_path / "run", tones
    said = play("translation.py", music, run, "--pool-steps", 2, "--steps", 2, "--test", held_out)
    assert "transfer, log-spectral distance: " in said
    header = json.loads((run / "apart" / "checkpoint" / "config.json").read_text())
    assert header["domains"] == ["oboe", "viola"]
    assert header["provenance"]["init"]["steps"] == 2
    assert len(list((run / "pool" / "all").glob("*/*.wav"))) == 6


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_orchestra_goes_through_its_stages(tmp_path: Path, play: Callable[..., str]) -> None:
    domains = ["piano", "flute"]
    renders = write_tones(tmp_path / "renders", [*domains, "x-viola"])
    held_out = write_tones(tmp_path / "held-out", domains, pieces=1, notes=17)
    out = tmp_path / "run"
    said = play(
        "orchestra.py", renders, out, "--sketch-steps", 2, "--steps", 2,
        "--apart-steps", 2, "--settled-steps", 2, "--vocoder-steps", 2, "--test", held_out,
        "--vocoder-rows", 2, "--domains", *domains,
    )  # fmt: skip
    assert "transfer, dB: " in said
    weights = out / "weights"
    header = json.loads((weights / "config.json").read_text())
    assert header["domains"] == sorted(domains)
    assert header["provenance"]["init"]["init"]["steps"] == 2
    assert (weights / "vocoder.safetensors").is_file() and (weights / "README.md").is_file()
    play(
        "live.py", out / "store", tmp_path / "live", "--rows", 1,
        "--sketch-steps", 2, "--steps", 2, "--settled-steps", 2, "--vocoder-steps", 2,
        "--domains", *domains,
    )  # fmt: skip
    header = json.loads((tmp_path / "live" / "weights" / "config.json").read_text())
    assert header["config"]["audio"]["causal"] and header["domains"] == sorted(domains)
