"""The main job at small scale: render, prepare, train for a minute, transfer, add a domain.

Steps and the small soundfont are the same on every machine, however busy it is: minutes and FluidR3
were not.
"""

from pathlib import Path

import pytest
from commands import last_json, succeed

import audiovae

PAIR = ("harpsichord=6", "strings=48")
PROGRAM = ("-m", "audiovae")
ALIGNED = ("training.pairing=aligned", "training.rows=4", "objective.confusion=none",
           "objective.beta=0.3")  # fmt: skip
"""What renders of one score in both domains teach soon: 600 steps gain 3.5 dB in a minute."""


def render(out: Path, *options: object) -> Path:
    """Render invented scores; needs a synthesiser."""
    synthesis = pytest.importorskip("synthesis")
    succeed(
        "data/render.py", out, "--scores", "invented", "--max-seconds", 30,
        "--soundfont", synthesis.known_soundfonts()[-1], "--workers", 2, *options,
    )  # fmt: skip
    return out


def train(work: Path, mode: str, pieces: int, steps: int, *options: str) -> Path:
    """Render a corpus of two domains and train on it from the command line; return the run."""
    synthesis = pytest.importorskip("synthesis")
    try:
        synthesis.open_synthesiser(synthesis.known_soundfonts()[-1])
    except Exception as error:
        pytest.skip(f"no synthesiser: {error}")
    music = render(work / "music", "--mode", mode, "--pieces", pieces, "--split", "train",
                   "--domains", *PAIR)  # fmt: skip
    succeed(*PROGRAM, "prepare", music, "-o", work / "store")
    words = ("--preset", "tiny", "--steps", steps, *(("--set", *options) if options else ()))
    succeed(*PROGRAM, "train", work / "store", "-o", work / "run", *words, timeout=3600)
    return work / "run"


def gain(work: Path) -> float:
    """Return by how many decibels transfers are nearer to the truth than their sources."""
    held_out = render(work / "held-out", "--mode", "aligned", "--pieces", 8, "--split", "test",
                      "--domains", *PAIR)  # fmt: skip
    model = audiovae.resolve_model(work / "run")
    report = audiovae.evaluate(model, held_out, work / "report", scope="quick", segments=24)
    lsd = {name: groups["transfer"]["lsd"] for name, groups in report["systems"].items()}
    print(lsd)
    return lsd["copy"]["mean"] - lsd["model"]["mean"]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder of work with the run of a two-domain model in it."""
    folder = tmp_path_factory.mktemp("slow")
    train(folder, "aligned", 40, 600, *ALIGNED)
    return folder


@pytest.mark.slow
def test_an_aligned_model_beats_a_copy_of_the_input_in_a_minute(work):
    assert gain(work) >= 1.7


@pytest.mark.nightly
def test_an_unpaired_model_beats_a_copy_of_the_input_in_minutes(tmp_path):
    train(tmp_path, "unpaired", 60, 2500)
    assert gain(tmp_path) >= 3.0


@pytest.mark.slow
def test_transfer_embed_and_a_new_domain_from_the_command_line(work):
    run_folder = work / "run"
    take = sorted((work / "music" / "strings").glob("*.flac"))[0]
    out = work / "out"
    succeed(*PROGRAM, "transfer", take, "--to", "harpsichord", "--model", run_folder, "-o", out)
    assert (out / f"{take.stem}.harpsichord.wav").stat().st_size > 10_000
    succeed(*PROGRAM, "embed", take, "--model", run_folder, "-o", out)
    assert (out / f"{take.stem}.npz").is_file()
    guitar = render(work / "guitar", "--pieces", 12, "--domains", "guitar=24") / "guitar"
    grown = work / "grown"
    printed = succeed(*PROGRAM, "add-domain", guitar, "--name", "guitar", "--model", run_folder,
                  "-o", grown, "--steps", 120, "--json")  # fmt: skip
    assert last_json(printed)["domain"] == "guitar"
    succeed(*PROGRAM, "transfer", take, "--to", "guitar", "--model", grown, "-o", out)
    assert (out / f"{take.stem}.guitar.wav").is_file()
