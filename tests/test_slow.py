"""The main job at small scale: render, prepare, train for minutes, transfer, add a domain.

`AUDIOVAE_SLOW_STEPS` shortens the training; the bound follows it. Steps and the small soundfont
are the same on every machine, however busy it is: minutes and FluidR3 were not.
"""

import os
from pathlib import Path

import pytest
from commands import last_json, succeed

import audiovae

pytestmark = pytest.mark.slow
FULL = 2500
"""Steps that take two quiet cores five minutes."""
STEPS = int(os.environ.get("AUDIOVAE_SLOW_STEPS", FULL))
GAIN_DB = 3.0 if STEPS >= FULL else 1.5
"""Least improvement over copying the input: the aim after five minutes; half of what 1000 give."""
PAIR = ("harpsichord=6", "strings=48")


def render(out: Path, *options: object) -> Path:
    """Render invented scores; needs a synthesiser."""
    synthesis = pytest.importorskip("synthesis")
    succeed(
        "data/render.py", out, "--scores", "invented", "--max-seconds", 30,
        "--soundfont", synthesis.known_soundfonts()[-1], "--workers", 2, *options,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of work and the run of a two-domain model, trained from the command line."""
    synthesis = pytest.importorskip("synthesis")
    try:
        synthesis.open_synthesiser(synthesis.known_soundfonts()[-1])
    except Exception as error:
        pytest.skip(f"no synthesiser: {error}")
    work = tmp_path_factory.mktemp("slow")
    music = render(work / "music", "--mode", "unpaired", "--pieces", 60, "--split", "train",
                   "--domains", *PAIR)  # fmt: skip
    command = ("-m", "audiovae")
    succeed(*command, "prepare", music, "-o", work / "store")
    succeed(*command, "train", work / "store", "-o", work / "run", "--preset", "tiny",
        "--steps", STEPS, timeout=3600)  # fmt: skip
    return work, work / "run"


def test_a_model_of_minutes_beats_a_copy_of_the_input(trained):
    work, run_folder = trained
    held_out = render(work / "held-out", "--mode", "aligned", "--pieces", 8, "--split", "test",
                      "--domains", *PAIR)  # fmt: skip
    model = audiovae.resolve_model(run_folder)
    report = audiovae.evaluate(model, held_out, work / "report", scope="quick", segments=24)
    lsd = {name: groups["transfer"]["lsd"] for name, groups in report["systems"].items()}
    print(lsd)
    assert lsd["copy"]["mean"] - lsd["model"]["mean"] >= GAIN_DB, lsd


def test_transfer_embed_and_a_new_domain_from_the_command_line(trained):
    work, run_folder = trained
    command = ("-m", "audiovae")
    take = sorted((work / "music" / "strings").glob("*.flac"))[0]
    out = work / "out"
    succeed(*command, "transfer", take, "--to", "harpsichord", "--model", run_folder, "-o", out)
    assert (out / f"{take.stem}.harpsichord.wav").stat().st_size > 10_000
    succeed(*command, "embed", take, "--model", run_folder, "-o", out)
    assert (out / f"{take.stem}.npz").is_file()
    guitar = render(work / "guitar", "--pieces", 12, "--domains", "guitar=24") / "guitar"
    grown = work / "grown"
    printed = succeed(*command, "add-domain", guitar, "--name", "guitar", "--model", run_folder,
                  "-o", grown, "--steps", STEPS // 5, "--json")  # fmt: skip
    assert last_json(printed)["domain"] == "guitar"
    succeed(*command, "transfer", take, "--to", "guitar", "--model", grown, "-o", out)
    assert (out / f"{take.stem}.guitar.wav").is_file()
