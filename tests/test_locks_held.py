"""A lock by itself: shared, inherited by nobody, of systems that have none."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from recordings import contents, make_folder, needs_posix, run_prepare

from audiovae import locks
from audiovae.corpus.prepare import prepare_share
from audiovae.corpus.share import Share
from audiovae.errors import UserError
from audiovae.locks import LOCK, holding, lock_in


def held(folder: Path, verb: str = "train") -> contextmanager:
    return holding(folder, lock_in(folder), verb)


def shared(folder: Path) -> contextmanager:
    return holding(folder, lock_in(folder), "prepare --shard", shared=True)


def test_jobs_that_divide_the_work_share_it_and_exclude_all_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = pytest.raises(UserError, match="in use by audiovae prepare --shard: wait")
    with shared(out):
        with shared(out), refused, held(out):
            raise AssertionError("it was shared and held")
        # The first of them still has it, though the file is as the second left it.
        with refused, held(out):
            raise AssertionError("it was shared and held")
        with shared(out):
            pass
        assert (out / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []
    with (
        held(out, "prepare"),
        pytest.raises(UserError, match=r"in use by audiovae prepare, process"),
        shared(out),
    ):
        raise AssertionError("it was held and shared")


def test_a_share_of_the_work_keeps_the_whole_out(tmp_path: Path) -> None:
    folder, out = make_folder(tmp_path / "in", count=2), tmp_path / "out"
    run_prepare(folder, tmp_path / "whole")
    with shared(out):
        for number in (0, 1):
            prepare_share(
                folder, out, Share(number, 2), sample_rate=8000, workers=1, progress=False
            )
        before = contents(out)
        with pytest.raises(UserError, match="in use by audiovae prepare --shard"):
            run_prepare(folder, out)
        assert contents(out) == before
    run_prepare(folder, out)
    assert contents(out) == contents(tmp_path / "whole")


def test_what_a_lock_made_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    with held(folder):
        facts = json.loads((folder / LOCK).read_text())
        assert facts["verb"] == "train" and facts["process"] == str(os.getpid())
    assert list(tmp_path.iterdir()) == []
    with held(folder):
        (folder / "mine").write_text("stays")
    assert contents(tmp_path) == {"a/b/mine": b"stays"}
    with pytest.raises(RuntimeError), held(tmp_path / "c"):
        raise RuntimeError
    assert not (tmp_path / "c").exists()


def test_threads_exclude_each_other_and_one_at_a_time_gets_it(tmp_path: Path) -> None:
    """Eight threads take it in turn, while its folder comes and goes: no two are in at once."""
    inside, most, turns, refused = 0, 0, [], []

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            try:
                with held(tmp_path / "out"):
                    inside += 1
                    most = max(most, inside)
                    turns.append(1)
                    inside -= 1
            except UserError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and len(turns) + len(refused) == 400 and turns
    assert all("is in use by a" in text for text in refused)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@needs_posix
def test_a_lock_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(UserError, match="out can't be written"), held(tmp_path / "out"):
        raise AssertionError("it was held")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '{"process": 1, "host": "y"}', "[" * 2000]
)
def test_who_holds_it_need_not_be_known(tmp_path: Path, text: str) -> None:
    with held(tmp_path):
        (tmp_path / LOCK).write_text(text)
        with pytest.raises(UserError, match="in use by another command: wait"), held(tmp_path):
            raise AssertionError("it was held twice")


def test_a_holder_on_another_machine_is_named(tmp_path: Path) -> None:
    with held(tmp_path):
        facts = {"verb": "prepare", "process": 7, "host": "node-3"}
        (tmp_path / LOCK).write_text(json.dumps(facts))
        known = "in use by audiovae prepare, process 7 on node-3: wait"
        with pytest.raises(UserError, match=known), held(tmp_path):
            raise AssertionError("it was held twice")


def test_where_there_are_no_locks_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(descriptor: int, shared: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", no_locks)
    with held(tmp_path / "out"):
        (tmp_path / "out" / "work").write_text("goes on")
    assert capsys.readouterr().err == (
        f"{tmp_path / 'out'} is not locked (No locks available): run nothing else on it meanwhile\n"
    )
    assert contents(tmp_path) == {"out/work": b"goes on"}
    # A system without either kind, as a browser's.
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    with held(tmp_path / "out"):
        assert "is not locked (this system has no locks)" in capsys.readouterr().err


def test_windows_locks_a_byte_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `msvcrt` does it: at the position of the descriptor, refused with EACCES."""
    taken: dict[tuple[int, int], int] = {}

    def locking(descriptor: int, mode: int, count: int) -> None:
        place = (os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR))
        assert mode == 2 and place[1] >= locks.PLACE
        wanted = {(place[0], place[1] + i) for i in range(count)}
        if wanted & taken.keys():
            raise PermissionError(errno.EACCES, "Permission denied")
        taken.update(dict.fromkeys(wanted, descriptor))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with held(tmp_path / "out", "prepare"):
        assert (tmp_path / "out" / LOCK).stat().st_size < 1000
        known = "in use by audiovae prepare, process"
        with pytest.raises(UserError, match=known), held(tmp_path / "out"):
            raise AssertionError("it was held twice")
    assert len(taken) == locks.SHARES and list(tmp_path.iterdir()) == []
    taken.clear()
    with shared(tmp_path / "out"), shared(tmp_path / "out"):
        known = "in use by audiovae prepare --shard: wait"
        with pytest.raises(UserError, match=known), held(tmp_path / "out"):
            raise AssertionError("it was shared and held")
    assert len(taken) == 2


def test_a_closed_place_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on a read-only disk is still told to be unchanged."""
    folder = make_folder(tmp_path / "in", count=1)
    run_prepare(folder, tmp_path / "out")
    before = contents(tmp_path / "out")

    def closed(path: object, *_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(locks.os, "open", closed)
    assert run_prepare(folder, tmp_path / "out").unchanged
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / LOCK).write_bytes(b"")  # Of another user.
    with pytest.raises(UserError, match="out can't be written: Read-only"):
        run_prepare(folder, tmp_path / "out")
