"""Disks full or closed, signals during a save, two at once, sources that change, leaping clocks."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Ended, Forks, check_whole, digests
from recordings import needs_posix
from worlds import FIRST, VERBS, Verb, make_world

pytestmark = [pytest.mark.faults, needs_posix]
NOBODY = 65534
Wholes = Callable[[Verb], tuple[Ended, Path, object]]
OF = {verb.name: verb for verb in VERBS}
QUICK = [OF[name] for name in ("prepare", "prepare-shards", "transfer", "train-vocoder")]
AT_NIGHT = int(os.environ.get("AUDIOVAE_KILLS", "0")) >= 200
by_name = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
by_quick = pytest.mark.parametrize("verb", VERBS if AT_NIGHT else QUICK, ids=lambda verb: verb.name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def forks(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks"), FIRST.replace("{}", str(world)).split()) as forks:
        yield forks


@pytest.fixture(scope="module")
def wholes(world: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Wholes:
    """A function that gives a verb's unbroken run: how it ended, where it lies, its result."""

    @functools.cache
    def run(verb: Verb) -> tuple[Ended, Path, object]:
        place = tmp_path_factory.mktemp(verb.name)
        ended = forks.run(verb.words(world), place)
        assert ended.code == 0, ended.err
        return ended, place, verb.result(place)

    return run


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def one_line(ended: Ended) -> str:
    """Return the error of a command that ended with one, after its progress."""
    assert ended.code == 2, (ended.code, ended.err)
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("audiovae: ") and len(last) < 500
    assert ended.err.count("audiovae: ") == 1
    return last


def no_litter(place: Path) -> None:
    """Check that a command which could put its halves away did so."""
    halves = [p.name for p in place.rglob("*") if p.name.endswith((".part", ".tmp"))]
    assert not [name for name in halves if name.startswith(".")], halves


# Signals


@by_quick
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_during_a_save_is_one_line_and_the_command_goes_on(
    kind: signal.Signals, verb: Verb, world: Path, forks: Forks, wholes: Wholes, tmp_path: Path
) -> None:
    words = verb.words(world)
    whole, _, wanted = wholes(verb)
    place = new_folder(tmp_path / "place")
    code = {signal.SIGTERM: 143, signal.SIGINT: 130}[kind]
    ended = forks.run(words, place, event=whole.events * 2 // 3, signal=int(kind))
    assert ended.code == code, (ended.code, ended.err)
    assert ended.err.splitlines()[-1].endswith("run it again") and "Traceback" not in ended.err
    check_whole(place)
    no_litter(place)
    if not (verb.name == "export" and (place / "out").exists()):
        assert forks.run(words, place).code == 0
    assert verb.result(place) == wanted


# Two at once

HOLDERS = [OF[name] for name in ("prepare", "train", "train-vocoder", "add-domain")]


@pytest.mark.parametrize("verb", HOLDERS, ids=lambda verb: verb.name)
def test_the_second_of_two_at_once_is_one_line_and_a_kill_lets_it_in(
    verb: Verb, world: Path, forks: Forks, wholes: Wholes, tmp_path: Path
) -> None:
    words = verb.words(world)
    whole, _, wanted = wholes(verb)
    place = new_folder(tmp_path / "place")
    with forks.stopped(words, place, whole.events // 2) as first:
        before = digests(place)
        said = one_line(forks.run(words, place))
        assert f"out is in use by audiovae {verb.name}, process {first}: wait" in said
        assert digests(place) == before
    assert forks.run(words, place).code == 0
    assert verb.result(place) == wanted
    assert not list(place.rglob("*.lock"))


# Disks


@by_name
def test_a_file_too_long_for_the_disk_is_one_line_and_then_goes_on(
    verb: Verb, world: Path, forks: Forks, wholes: Wholes, tmp_path: Path
) -> None:
    words = verb.words(world)
    _, there, wanted = wholes(verb)
    inputs = digests(world)
    sizes = sorted({path.stat().st_size for path in there.rglob("*") if path.is_file()})
    place = new_folder(tmp_path / "place")
    # Half of the longest file; and one byte too few for it.
    for most in (sizes[-1] // 2, sizes[-1] - 1):
        said = one_line(forks.run(words, place, most_bytes=most))
        assert "free some space and run it again" in said and "out" in said
        check_whole(place)
        no_litter(place)
    assert forks.run(words, place).code == 0
    assert verb.result(place) == wanted and digests(world) == inputs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own in memory, of half a megabyte."""
    disk = new_folder(tmp_path / "disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small disk: {error}")
    if done.returncode != 0:
        pytest.skip(f"no small disk: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@by_quick
def test_a_full_disk_is_one_line_and_then_goes_on(
    verb: Verb, world: Path, forks: Forks, wholes: Wholes, small_disk: Path
) -> None:
    place = new_folder(small_disk / "place")
    # Some of it is there already: nothing here fits on what is left.
    (small_disk / "ballast").write_bytes(bytes(400 << 10))
    said = one_line(forks.run(verb.words(world), place))
    assert "free" in said
    check_whole(place)
    no_litter(place)
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert forks.run(verb.words(world), place).code == 0
    assert verb.result(place) == wholes(verb)[2]


@by_name
def test_a_place_that_is_closed_is_one_line(
    verb: Verb, world: Path, forks: Forks, tmp_path: Path
) -> None:
    as_root = os.geteuid() == 0
    if as_root:  # Whom nothing is closed to: the command runs as another user.
        for folder in (world, *world.parents):
            if folder.stat().st_mode & 0o055 != 0o055 and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
    closed = new_folder(tmp_path / "closed")
    closed.chmod(0o555)
    try:
        said = one_line(forks.run(verb.words(world), closed, user=NOBODY if as_root else None))
    finally:
        closed.chmod(0o755)
    assert "write" in said or "ermission" in said
    assert list(closed.iterdir()) == []


# Sources


@pytest.mark.parametrize("name", ["prepare", "transfer"])
@pytest.mark.parametrize("how", ["vanishes", "changes"])
def test_a_source_that_goes_half_way_is_told(
    how: str, name: str, forks: Forks, tmp_path: Path
) -> None:
    world, verb = make_world(tmp_path / "world"), OF[name]
    words = verb.words(world)
    whole = forks.run(words, new_folder(tmp_path / "whole"))
    assert whole.code == 0
    victim = world / "music/viola/2.wav"
    kept = victim.read_bytes()
    shorter = kept[:44] + kept[44 : 44 + 2000]
    spoil = {"vanishes": None, "changes": shorter.hex()}[how]
    place = new_folder(tmp_path / "place")
    # In `prepare` after its hash was taken, in `transfer` after it was looked at.
    before_change = {"prepare": 2, "transfer": 3}[name]
    ended = forks.run(words, place, spoil=[before_change, str(victim), spoil])
    if name == "prepare":
        assert ended.code == 0 and "viola/2.wav" in ended.out, ended.err
        assert any(word in ended.out for word in ("changed", "vanish", "truncated", "not exist"))
    else:
        said = one_line(ended)
        assert str(victim) in said
    check_whole(place)
    no_litter(place)
    victim.write_bytes(kept)
    assert forks.run(words, place).code == 0
    assert verb.result(place) == verb.result(tmp_path / "whole")
    shutil.rmtree(world)


# Time


@by_quick
def test_clocks_that_leap_change_nothing(
    verb: Verb, world: Path, forks: Forks, wholes: Wholes, tmp_path: Path
) -> None:
    ended = forks.run(verb.words(world), new_folder(tmp_path / "place"), clock=1)
    assert ended.code == 0, ended.err
    assert verb.result(tmp_path / "place") == wholes(verb)[2]
