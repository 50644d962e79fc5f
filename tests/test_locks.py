"""Two commands on one output folder: the second is refused, and a kill leaves nothing to clean."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import environment
from conftest import tiny_config
from recordings import contents, make_folder, needs_posix, run_prepare
from renders import render

from audiovae import cli
from audiovae.corpus.store import Store
from audiovae.errors import UserError
from audiovae.evaluation.evaluate import evaluate
from audiovae.locks import LOCK, holding, lock_beside, lock_in
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.add_domain import add_domain
from audiovae.training.notes import train_notes
from audiovae.training.sequence import fit_prior
from audiovae.training.trainer import train
from audiovae.training.vocoder import train_vocoder

PREPARE = """
import sys, time
from audiovae.corpus import prepare as module
def wait(*_):
    print("at work", flush=True)
    time.sleep(60)
module.run_processes = wait
module.prepare(sys.argv[1], sys.argv[2], sample_rate=8000, workers=1, progress=False)
"""
"""A `prepare` that stops at its conversions, for a minute."""


@contextmanager
def other_process(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run `PREPARE` in a process of its own until it is at work; kill it at the end."""
    command = [sys.executable, "-c", PREPARE, *map(str, words)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


# Two processes


def test_a_second_prepare_is_refused_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = make_folder(tmp_path / "in", count=2), tmp_path / "out"
    words = ["prepare", str(folder), "-o", str(output), "--sample-rate", "8000"]
    run_prepare(folder, tmp_path / "whole")
    with other_process(folder, output) as process:
        before = contents(output)
        stamps = {path: path.stat().st_mtime_ns for path in [output, *output.rglob("*")]}
        assert cli.main([*words, "--workers", "1"]) == 2
        said = capsys.readouterr().err
        assert said == (
            f"audiovae: {output} is in use by audiovae prepare, process {process.pid}: wait until "
            "that ends, or choose another output folder\n"
        )
        assert contents(output) == before
        assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
        # Another store is nobody's business.
        run_prepare(folder, tmp_path / "elsewhere")
        process.kill()
        process.wait()
    # The killed one's file is still there, and stands in nobody's way.
    assert (output / LOCK).is_file()
    assert cli.main([*words, "--workers", "1"]) == 0
    assert contents(output) == contents(tmp_path / "whole") == contents(tmp_path / "elsewhere")


@needs_posix
def test_a_prepare_that_is_told_to_end_leaves_no_lock(tmp_path: Path) -> None:
    folder, output = make_folder(tmp_path / "in", count=1), tmp_path / "out"
    with other_process(folder, output) as process:
        process.send_signal(signal.SIGINT)
        process.wait()
    assert not (output / LOCK).exists()
    assert run_prepare(folder, output).entries


def test_a_store_can_be_made_where_one_was_killed_as_soon_as_it_began(tmp_path: Path) -> None:
    folder, output = make_folder(tmp_path / "in", count=2), tmp_path / "out"
    output.mkdir()
    (output / LOCK).write_text('{"verb": "prepare"')
    run_prepare(folder, output)
    assert not (output / LOCK).exists() and Store.open(output).domains == ["a", "b"]


# Each verb


def test_each_training_holds_its_output(tmp_path: Path, tiny_model: AudioVAE) -> None:
    """All are refused before they look at anything: what they would read is not there."""
    gone, run, grown = tmp_path / "gone", tmp_path / "run", tmp_path / "grown"
    tiny_model.save_pretrained(run / "checkpoint")
    (run / "run.json").write_text("{}")
    config, one = tiny_config(), {"steps": 1, "progress": False}
    with holding(run, lock_beside(run / "checkpoint"), "train"):
        before = contents(run)
        for work in (
            lambda: train(gone, run, config, **one),
            lambda: train_vocoder(gone, run, config, **one),
            lambda: fit_prior(gone, run, **one),
            lambda: fit_prior(gone, run / "checkpoint", **one),
            lambda: add_domain(gone, "lute", tiny_model, run / "checkpoint", **one),
        ):
            with pytest.raises(UserError, match=r"is in use by audiovae train, process \d+: wait"):
                work()
        assert contents(run) == before
    with holding(grown, lock_beside(grown), "fit-prior"):
        for work in (
            lambda: add_domain(gone, "lute", tiny_model, grown, **one),
            lambda: train_notes(gone, gone, tiny_model, grown, **one),
            lambda: fit_prior(gone, run, grown, **one),
        ):
            with pytest.raises(UserError, match="in use by audiovae fit-prior"):
                work()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_an_evaluation_holds_its_report(tmp_path: Path, tiny_model: AudioVAE) -> None:
    test = render(tmp_path / "test", {"flute": 3, "piano": 8}, pieces=("x", "y"))
    with (
        holding(tmp_path / "out", lock_in(tmp_path / "out"), "evaluate"),
        pytest.raises(UserError, match="in use by audiovae evaluate"),
    ):
        evaluate(tiny_model, test, tmp_path / "out", scope="quick")
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_none_is_refused_before_its_lock_is_made(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    stamp = mine.stat().st_mtime_ns
    with pytest.raises(UserError, match=r"holds 'thesis\.txt' and is no run"):
        train(tmp_path, mine, tiny_config(), steps=1)
    assert mine.stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="is a file: choose a folder"):
        train(tmp_path, mine / "thesis.txt", tiny_config(), steps=1)


# The lock
