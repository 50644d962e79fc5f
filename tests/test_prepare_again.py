"""`prepare` once more: after an end, after a change, and after a kill at any moment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import RATE, contents, make_folder, needs_posix, run_prepare, save, tone

from audiovae.audio import files
from audiovae.corpus import prepare as prepare_module
from audiovae.corpus.store import Store
from audiovae.errors import AudioError, CorpusError
from audiovae.locks import LOCK

# Once more


def spy_on_convert(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    converted: list[str] = []
    original = prepare_module.convert

    def spy(task):
        converted.append(task.source.path)
        return original(task)

    monkeypatch.setattr(prepare_module, "convert", spy)
    return converted


def test_a_finished_store_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "in")
    save(folder / "a/silent.wav", np.zeros(800))
    first = run_prepare(folder, tmp_path / "out")
    assert not first.unchanged
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    converted = spy_on_convert(monkeypatch)
    again = run_prepare(folder, tmp_path / "out")
    assert again.unchanged and "unchanged" in again.table() and not converted
    assert (again.entries, again.skipped) == (first.entries, first.skipped)
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


def test_only_what_is_new_or_changed_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "in")
    run_prepare(folder, tmp_path / "out")
    converted = spy_on_convert(monkeypatch)
    stamp = (folder / "a/1.wav").stat()
    save(folder / "a/1.wav", tone(1.1, 333))
    os.utime(folder / "a/1.wav", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (folder / "a/1.wav").stat().st_size == stamp.st_size
    save(folder / "c/new.wav", tone(1, 99))
    (folder / "b/2.wav").unlink()
    (folder / "b/0.wav").rename(folder / "b/zero.wav")
    assert not run_prepare(folder, tmp_path / "out").unchanged
    assert sorted(converted) == ["a/1.wav", "c/new.wav"]
    run_prepare(folder, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    converted.clear()
    run_prepare(folder, tmp_path / "out", seed=9, valid=0.5)
    assert not converted
    shutil.rmtree(folder / "c")
    run_prepare(folder, tmp_path / "out", seed=9, valid=0.5)
    assert not converted and Store.open(tmp_path / "out").domains == ["a", "b"]
    run_prepare(folder, tmp_path / "out", sample_rate=RATE // 2)
    assert len(converted) == 7
    assert Store.open(tmp_path / "out").sample_rate == RATE // 2


def test_a_damaged_store_is_made_anew(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    run_prepare(folder, tmp_path / "out")
    whole = contents(tmp_path / "out")
    for name in ("audio/a.i16", "manifest.jsonl", "store.json"):
        path = tmp_path / "out" / name
        path.write_bytes(path.read_bytes()[:-10] if name != "store.json" else b"{")
        if name == "store.json":
            with pytest.raises(CorpusError, match="something else"):
                run_prepare(folder, tmp_path / "out")
        else:
            assert not run_prepare(folder, tmp_path / "out").unchanged
            assert contents(tmp_path / "out") == whole


def test_a_failure_that_may_pass_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "in", "a", 2)
    original = files.probe

    def probe(path, *arguments):
        if Path(path).name == "1.wav":
            raise AudioError(f"{path} needs a codec")
        return original(path, *arguments)

    monkeypatch.setattr(files, "probe", probe)
    assert run_prepare(folder, tmp_path / "out").skipped == [("a/1.wav", "the file needs a codec")]
    monkeypatch.undo()
    report = run_prepare(folder, tmp_path / "out")
    assert not report.skipped and len(report.entries) == 2


# Processes

SCRIPT = """
import sys
from pathlib import Path
from audiovae.corpus.prepare import prepare
if __name__ == "__main__":
    prepare(sys.argv[1], sys.argv[2], sample_rate=8000, workers=int(sys.argv[3]))
    print("done")
"""


def start(tmp_path: Path, script: str, *arguments: object) -> subprocess.Popen[str]:
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py"), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_many_processes_make_the_store_of_one(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    run_prepare(folder, tmp_path / "one")
    output, _ = start(tmp_path, SCRIPT, folder, tmp_path / "many", 2).communicate(timeout=60)
    assert output == "done\n"
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@needs_posix
def test_killed_while_it_converts_it_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 6)
    for i, path in enumerate(sorted(folder.rglob("*.wav"))):
        soundfile.write(path, tone(40, 300 + 10 * i, 48_000), 48_000)
    run_prepare(folder, tmp_path / "whole")
    process = start(tmp_path, SCRIPT, folder, tmp_path / "out", 2)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.parts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    # The pipe ends when the last worker has: an orphan would hold it open.
    process.communicate(timeout=20)
    with pytest.raises(CorpusError, match="unfinished"):
        Store.open(tmp_path / "out")
    done = {p: p.stat().st_mtime_ns for p in tmp_path.glob("out/.parts/*.json")}
    assert 0 < len(done) < 12
    run_prepare(folder, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


KILLED = """
import os, signal, sys
from audiovae.corpus.prepare import prepare

def main(folder, output):
    replace, unlink = os.replace, os.unlink
    calls = 0
    def deadly(function):
        def call(*arguments, **options):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*arguments, **options)
        return call
    os.replace, os.unlink = deadly(replace), deadly(unlink)
    prepare(folder, output, sample_rate=8000, workers=1, progress=False)

# Each child dies before one more of the steps that change a name, in a folder of its own.
for step in range(1000):
    left = step
    child = os.fork()
    if not child:
        main(sys.argv[1], f"{sys.argv[2]}/{step}")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status)
print(step)
"""


@needs_posix
def test_killed_before_any_step_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 2, 0.2)
    save(folder / "a/silent.wav", np.zeros(800))
    (tmp_path / "outs").mkdir()
    output, _ = start(tmp_path, KILLED, folder, tmp_path / "outs").communicate(timeout=60)
    steps = int(output)
    assert steps > 12
    whole = contents(tmp_path / "outs" / str(steps))
    samples = {f"audio/{name}.{kind}" for name in "ab" for kind in ("i16", "crc32")}
    assert set(whole) == {"store.json", "manifest.jsonl", *samples}
    for step in range(steps):
        place = tmp_path / "outs" / str(step)
        try:
            Store.open(place)
        except CorpusError as error:
            assert "unfinished" in str(error)
        else:
            left = contents(place)
            del left[LOCK]
            assert {k: v for k, v in left.items() if ".parts" not in k} == whole
        run_prepare(folder, place)
        assert contents(place) == whole


@needs_posix
def test_killed_while_it_updates_a_store_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 2, 0.2)
    run_prepare(folder, tmp_path / "old")
    (tmp_path / "outs").mkdir()
    for step in range(40):
        shutil.copytree(tmp_path / "old", tmp_path / "outs" / str(step))
    save(folder / "a/more.wav", tone(0.3, 77))
    (folder / "b/0.wav").unlink()
    run_prepare(folder, tmp_path / "whole")
    output, _ = start(tmp_path, KILLED, folder, tmp_path / "outs").communicate(timeout=60)
    for step in range(int(output) + 1):
        place = tmp_path / "outs" / str(step)
        try:
            Store.open(place)
        except CorpusError as error:
            assert "unfinished" in str(error)
        run_prepare(folder, place)
        assert contents(place) == contents(tmp_path / "whole")


def test_a_worker_that_dies_is_an_error_with_its_mend(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    script = SCRIPT.replace("import sys\n", "import os, sys\n") + "else:\n    os._exit(3)\n"
    output, _ = start(tmp_path, script, folder, tmp_path / "out", 2).communicate(timeout=60)
    assert "CorpusError: a process that converts recordings ended" in output


def test_a_script_on_standard_input_works(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "a", 2)
    script = SCRIPT.replace("sys.argv[1], sys.argv[2]", f"{str(folder)!r}, {str(tmp_path / 'o')!r}")
    script = script.replace("int(sys.argv[3])", "2")
    done = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "done\n", done.stderr
