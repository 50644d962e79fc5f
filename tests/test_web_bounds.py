"""What bounds the web page's server: how often one may ask, and how much is kept."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from webs import Visit, left, serving, wav, web_of

from audiovae.apps.web import jobs
from audiovae.apps.web.answers import follow
from audiovae.apps.web.guard import MOST_CLIENTS, Rate
from audiovae.apps.web.jobs import Busy, Queue, Stopped
from audiovae.apps.web.settings import WebSettings
from audiovae.apps.web.shelf import ARRIVING, RUNS, Gone, Shelf
from audiovae.errors import ConfigError, UserError
from audiovae.model.autoencoder import AudioVAE

# How often.


def test_requests_of_a_client_are_counted(tiny_model: AudioVAE) -> None:
    with serving(web_of(tiny_model, per_minute=3)) as client:
        asked = [client.post("/phrases/no") for _ in range(4)]
        assert [a.status_code for a in asked] == [404, 404, 404, 429]
        assert 1 <= int(asked[-1].headers["retry-after"]) <= 20
        assert client.get("/").status_code == 200


def test_a_rate_by_hand() -> None:
    now = 0.0
    rate = Rate(60, lambda: now)
    assert [rate.wait("a") for _ in range(61)] == [0] * 60 + [1]
    assert rate.wait("b") == 0
    now = 1.0
    assert [rate.wait("a") for _ in range(2)] == [0, 1]
    now = 1000.0
    assert [rate.wait("a") for _ in range(61)] == [0] * 60 + [1]
    for number in range(2 * MOST_CLIENTS):
        rate.wait(str(number))
    assert len(rate.clients) == MOST_CLIENTS


# How much.


def put(shelf: Shelf, size: int = 10) -> str:
    sound = shelf.add(size)
    path = sound.place(ARRIVING) / "a"
    path.write_bytes(bytes(size))
    shelf.end(sound, ARRIVING, {"a": path})
    return sound.name


def test_sounds_are_kept_for_their_time(tmp_path: Path) -> None:
    now = 0.0
    shelf = Shelf(tmp_path, 10, 1000, 60, lambda: now)
    first, second = put(shelf), put(shelf)
    now = 50.0
    shelf.get(first)
    now = 100.0
    shelf.sweep()
    assert list(shelf.sounds) == [first] and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(Gone):
        shelf.get(second)
    run = shelf.begin(shelf.get(first), 0)
    now = 1000.0
    shelf.sweep()
    assert first in shelf.sounds, "a sound in use was removed"
    shelf.end(shelf.sounds[first], run, {})
    now = 2000.0
    shelf.sweep()
    assert not shelf.sounds and not list(tmp_path.iterdir())


def test_the_least_used_makes_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3, 100, 1e9, count().__next__)
    names = [put(shelf, 30) for _ in range(3)]
    shelf.get(names[0])
    fourth = put(shelf, 30)
    assert set(shelf.sounds) == {names[0], names[2], fourth} and shelf.taken == 90
    fifth = put(shelf, 70)
    assert set(shelf.sounds) == {fourth, fifth} and shelf.taken == 100
    with pytest.raises(Busy):
        shelf.add(101)
    assert set(shelf.sounds) == {fourth, fifth}, "room was made for what does not fit"
    for name in list(shelf.sounds):
        shelf.begin(shelf.sounds[name], 0)
    with pytest.raises(Busy):
        shelf.add(1)


def test_runs_of_a_sound_make_room_for_later_ones(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3, 100, 1e9)
    sound = shelf.sounds[put(shelf)]
    for number in range(1, RUNS + 4):
        run = shelf.begin(sound, 40)
        path = sound.place(run) / "b"
        path.write_bytes(bytes(20))
        shelf.end(sound, run, {"b": path})
        assert run == number and shelf.taken <= 100
    # 10 and four times 20 leave no room for 40 more, three times do not either.
    assert sound.ended == [RUNS + 1, RUNS + 2, RUNS + 3]
    assert (str(RUNS), "b") not in sound.files and (str(RUNS + 3), "b") in sound.files
    assert len(list(tmp_path.rglob("b"))) == 3
    small = Shelf(tmp_path, 3, 10_000, 1e9)
    sound = small.sounds[put(small)]
    for _ in range(RUNS + 4):
        small.end(sound, small.begin(sound, 1), {})
    assert len(sound.ended) == RUNS


def test_what_can_never_fit_is_said_at_once(tiny_model: AudioVAE, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3, 100, 1e9)
    sound = shelf.sounds[put(shelf, 30)]
    with pytest.raises(UserError, match="fewer domains"):
        shelf.begin(sound, 71)
    shelf.begin(sound, 60)
    with pytest.raises(Busy):
        shelf.begin(sound, 60)
    with pytest.raises(ConfigError, match="storage_megabytes"):
        WebSettings(storage_megabytes=150)
    WebSettings(storage_megabytes=150, max_megabytes=10, max_seconds=60)


def test_what_fails_leaves_no_room_taken(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3, 100, 1e9)
    sound = shelf.sounds[put(shelf)]
    run = shelf.begin(sound, 50)
    (sound.place(run) / "half").write_bytes(b"x")
    shelf.end(sound, run, None)
    assert shelf.taken == 10 and not list(tmp_path.rglob("half"))
    run = shelf.begin(sound, 50)
    shelf.drop(sound)
    with pytest.raises(Gone):
        shelf.get(sound.name)
    assert sound.place(run).exists(), "a folder in use was removed"
    shelf.end(sound, run, {})
    assert not list(tmp_path.iterdir()) and shelf.taken == 0


def test_jobs_run_in_order_and_so_many_at_once() -> None:
    order: list[int] = []

    async def visit(workers: int) -> list[int]:
        queue = Queue(workers, 10, 60)
        added = [queue.add(lambda _, n=n: order.append(n), lambda _: None) for n in range(5)]
        places = [queue.place(job) for job in added[1:]]
        await asyncio.gather(*(job.future for job in added))
        await queue.close()
        assert not queue.jobs
        return places

    assert asyncio.run(visit(1)) == [1, 2, 3, 4]
    assert order == [0, 1, 2, 3, 4]
    assert max(asyncio.run(visit(3))) <= 2


def test_many_at_once_get_what_one_gets(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model, concurrency=3)

    async def visit() -> list[bytes]:
        async with web.lifespan(None):  # type: ignore[arg-type]
            await Visit(web, "POST", "/sounds", wav()).task
            name = next(iter(web.shelf.sounds))
            body = b'{"to": ["flute", "piano"]}'
            asked = [Visit(web, "POST", f"/sounds/{name}/play", body) for _ in range(5)]
            await asyncio.gather(*(one.task for one in asked))
            assert all(b"times_real_time" in one.body for one in asked)
            return [path.read_bytes() for path in left(web) if path.name == "source.flute.wav"]

    made = asyncio.run(visit())
    assert len(made) == 5 and len(set(made)) == 1


def test_a_job_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE", 0.05)
    release, ends = threading.Event(), []

    async def visit() -> None:
        queue = Queue(1, 10, 0.05)
        job = queue.add(lambda _: release.wait(20), ends.append)
        with pytest.raises(Stopped):
            async for _ in follow(queue, job, asyncio.Queue().get):
                pass
        assert queue.jobs == [job], "its place is free only once it has ended"
        release.set()
        await asyncio.wait([job.future])
        assert ends == [job]
        await queue.close()

    asyncio.run(visit())


@pytest.mark.parametrize("ending", ["stopped", "wrong"])
def test_a_job_that_has_failed_holds_nothing(ending: str) -> None:
    held: list[weakref.ref] = []

    def read(tell: jobs.Tell) -> None:
        array = np.zeros(1000)
        held.append(weakref.ref(array))
        try:
            array[0] = float("no number")
        except ValueError as error:
            if ending == "wrong":
                raise UserError("no number") from error
        while True:
            tell(array[0])

    async def visit() -> None:
        queue = Queue(1, 10, 0.1)
        job = queue.add(read, lambda _: None)
        await asyncio.wait([job.future])
        assert isinstance(job.future.exception(), (Stopped, UserError))
        assert held[0]() is None
        await queue.close()

    gc.disable()
    try:
        asyncio.run(visit())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "wrong",
    [{"port": 0}, {"max_megabytes": 0}, {"max_seconds": 1e9}, {"concurrency": 0}, {"waiting": -1}],
)
def test_limits_have_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        WebSettings(**wrong)  # type: ignore[arg-type]
