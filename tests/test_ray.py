"""Ray's actors do what one process does: rows, stores, errors, with actors killed on the way."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, tone_samples
from recordings import contents, make_folder, run_prepare, save

from audiovae.apps.embed import Encoder
from audiovae.apps.embed_files import embed_files
from audiovae.cli import main
from audiovae.corpus.engines import Failed, Place, find_engine
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE

pq = pytest.importorskip("pyarrow.parquet")
# Ray is heavy: it is imported by those who use it.
lacking = importlib.util.find_spec("ray") is None
pytestmark = [pytest.mark.slow, pytest.mark.skipif(lacking, reason="Ray is not installed")]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster on this machine, for all tests here."""
    import ray

    from audiovae.corpus.ray_engine import connect

    # What is defined here is sent along: the actors can't import it.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    connect()
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Noted:
    """Makes what notes in a folder who begins and ends which item, around what `make` makes."""

    make: Callable[[Any], Callable[[Any], Any]]
    folder: Path
    seconds: float

    def note(self, what: str) -> None:
        with open(self.folder / str(os.getpid()), "a") as file:
            file.write(f"{what}\n")

    def __call__(self, place: Any) -> Callable[[Any], Any]:
        self.note("made")
        work = self.make(place)

        def do(item: Any) -> Any:
            self.note(f"begin {item.path.name}")
            time.sleep(self.seconds)
            result = work(item)
            self.note(f"end {item.path.name}")
            return result

        return do


@dataclass(frozen=True)
class Watched:
    """An engine whose workers note what they do; after the first result one is killed at work."""

    folder: Path

    def run(self, make: Any, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        self.folder.mkdir()
        alive = True
        for pair in find_engine("ray").run(Noted(make, self.folder, 0.3), items):
            yield pair
            while alive:
                alive = not self._kill_one()

    def _kill_one(self) -> bool:
        for process, lines in self.notes().items():
            if lines[-1].startswith("begin"):
                os.kill(process, signal.SIGKILL)
                return True
        return False

    def notes(self) -> dict[int, list[str]]:
        """Return what each process wrote."""
        return {int(path.name): path.read_text().splitlines() for path in self.folder.iterdir()}


@pytest.fixture(scope="module")
def encoder(tiny_model: AudioVAE) -> Encoder:
    return Encoder(tiny_model, precision="fp32")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve sounds of several lengths in two folders, and two files that are none."""
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(12):
        path = folder / "ab"[i % 2] / f"{i:02}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone_samples(0.3 + 0.1 * (i % 3), hertz=200 + 40 * i)[0], TINY_RATE)
    (folder / "a" / "letter.wav").write_text("Dear Sir or Madam")
    (folder / "b" / "cut.wav").write_bytes((folder / "a" / "00.wav").read_bytes()[:2000])
    return folder


def test_an_actor_is_killed_and_the_rows_are_those_of_one_process(
    encoder: Encoder, sounds: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    watched = Watched(tmp_path / "notes")
    embed_files(encoder, [sounds], here)
    report = embed_files(encoder, [sounds], there, engine=watched)
    assert pq.read_table(there).equals(pq.read_table(here))
    errors = there.with_suffix(".errors.jsonl").read_text()
    assert errors == here.with_suffix(".errors.jsonl").read_text()
    assert len(report) == 12 and len(report.left_out) == errors.count("\n") == 2
    notes = watched.notes()
    assert os.getpid() not in notes
    # A model is made once in each process; every file was begun, and one once more.
    assert all(lines.count("made") == 1 for lines in notes.values())
    begun = [line for lines in notes.values() for line in lines if "begin" in line]
    assert len(set(begun)) == 14 and len(begun) > 14


@dataclass(frozen=True)
class Item:
    """An item of a size, and what its work does."""

    path: Path
    does: str = ""
    size: int = 1


def make_trouble(place: Any) -> Callable[[Item], str]:
    def work(item: Item) -> str:
        if item.does == "end":
            os._exit(7)
        if item.does == "raise":
            raise UserError("the disk is full")
        return f"{item.path} on {place.device}"

    return work


def test_a_file_that_ends_its_worker_costs_its_own_result_alone() -> None:
    troubles = {5: "end", 29: "raise"}
    items = [Item(Path(str(i)), troubles.get(i, "")) for i in range(30)]
    results = []
    with pytest.raises(UserError, match="the disk is full"):
        for pair in find_engine("ray", device="cpu", workers=1).run(make_trouble, items):
            results.append(pair)
    assert [item for item, _ in results] == items[:29]
    failed = results.pop(5)[1]
    assert isinstance(failed, Failed) and "ended, 3 times" in failed.error
    assert all(result == f"{item.path} on cpu" for item, result in results)


def test_prepare_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "in", "ab", 3)
    save(folder / "a/silent.wav", np.zeros(4000))
    (folder / "b/letter.wav").write_text("Dear Sir or Madam")
    here = run_prepare(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    there = run_prepare(Path("in"), Path("there"), engine="ray")
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert there.skipped == here.skipped and len(there.skipped) == 2


def test_the_command_line_says_how_many_were_left_out(
    sounds: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["embed", str(sounds), "--model", str(tiny_checkpoint), "--precision", "fp32"]
    for engine in ("local", "ray"):
        out = tmp_path / engine
        assert main([*words, "-o", str(out), "--threads", "1", "--engine", engine]) == 3
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"2 of 14 files left out: {out / '_errors.jsonl'}"
    ours, theirs = (contents(tmp_path / engine) for engine in ("local", "ray"))
    assert len(ours) == 13 and ours == theirs


class Lost(Exception):
    """What ends a process by raising."""


def test_a_device_that_is_lost_ends_its_worker_and_no_other_error_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from audiovae.corpus import ray_engine

    def work(item: Exception) -> None:
        raise item

    def end(code: int) -> None:
        raise Lost

    ended: list[Any] = []
    told = SimpleNamespace(remote=lambda file: 1), SimpleNamespace(remote=ended.append)
    monkeypatch.setattr(ray_engine.ray, "get", lambda value: value)
    monkeypatch.setattr(os, "_exit", end)
    worker = ray_engine._Worker([], SimpleNamespace(begin=told[0], end=told[1]), Place("cuda", 1))
    worker.work = work
    error = ValueError("an odd file")
    assert worker._do((0, 0), error).error is error and ended == [(0, 0)]
    with pytest.raises(Lost):
        worker._do((0, 1), torch.AcceleratorError("CUDA error"))
    assert ended == [(0, 0)]
