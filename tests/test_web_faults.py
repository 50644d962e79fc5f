"""The web page's server where things go wrong: bugs, time, clients that leave, its own end."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

# After webs, which skips where the extra is missing.
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from webs import HOME, Held, Visit, left, lines, serving, until, upload, wav, web_of

from audiovae.apps.web import answers, guard
from audiovae.apps.web.answers import give_file, refuse
from audiovae.apps.web.app import Web
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def web(tiny_model: AudioVAE) -> Web:
    return web_of(tiny_model, per_minute=100_000)


@pytest.fixture
def client(web: Web) -> Iterator:
    with serving(web) as client:
        yield client


def test_bugs_are_told_to_the_log_alone(
    client, web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    name = upload(client)
    kept = left(web)
    monkeypatch.setattr(web.studio, "play", fail)
    monkeypatch.setattr(web.studio, "open", fail)
    last = lines(client.post(f"/sounds/{name}/play", json={"to": ["flute"]}))[-1]
    answer = client.post("/sounds", content=wav())
    assert answer.status_code == 500
    for said in (last["error"], answer.json()["error"]):
        assert "secret" not in said and "log" in said
    assert "nosniff" in answer.headers["x-content-type-options"]
    assert caplog.text.count("a secret") >= 2
    assert left(web) == kept


def test_files_that_have_vanished_are_missed_politely(client, web: Web, tmp_path: Path) -> None:
    web.neighbours["9"] = tmp_path / "gone.wav"
    assert client.get("/library/9").json()["error"]
    del web.neighbours["9"]


def test_a_file_that_is_removed_while_it_is_asked_for_is_missed_politely(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def remove(request: Request) -> Response:
        path = tmp_path / "a.wav"
        path.write_bytes(b"sound")
        answer = give_file(path)
        path.unlink()
        return answer

    app = Starlette(routes=[Route("/", remove)], exception_handlers={HTTPException: refuse})
    with TestClient(app, HOME, raise_server_exceptions=False) as client:
        for headers in ({}, {"range": "bytes=1-2"}, {"range": "bytes=0-1,3-4"}):
            answer = client.get("/", headers=headers)
            assert answer.status_code == 404 and list(answer.json()) == ["error"]
    assert not caplog.records


def test_parts_of_files(client, web: Web) -> None:
    path = f"/sounds/{upload(client)}/0/source.wav"
    whole = client.get(path).content
    for part, status in (("bytes=4-7", 206), ("bytes=99999999-", 416), ("bytes=x", 400)):
        answer = client.get(path, headers={"range": part})
        assert answer.status_code == status
        if status == 206:
            assert answer.content == whole[4:8]
        else:
            assert "no such part" in answer.json()["error"]


def test_whoever_goes_away_stops_the_job_and_leaves_nothing(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(web.studio, "play", held)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            sent = Visit(web, "POST", "/sounds", wav())
            await sent.task
            name = next(iter(web.shelf.sounds))
            kept = left(web)
            path, body = f"/sounds/{name}/play", b'{"to": ["flute"]}'
            first, second = (Visit(web, "POST", path, body) for _ in range(2))
            await until(held.began.is_set)
            await until(lambda: b'"place": 1' in second.body)
            assert len(web.work.jobs) == 2 and len(left(web)) > len(kept)
            second.leave()
            await second.task
            assert len(web.work.jobs) == 1
            first.leave()
            await first.task
            await until(lambda: not web.work.jobs)
            assert held.ended == ["Stopped"] and left(web) == kept
            assert b"error" not in first.body + second.body

    asyncio.run(visit())


def test_an_upload_that_breaks_off_leaves_nothing(web: Web) -> None:
    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            sent = Visit(web, "POST", "/sounds")
            sent.inbox = asyncio.Queue()
            sent.task.cancel()
            begun = Visit(web, "POST", "/sounds")
            begun.inbox.get_nowait()
            begun.inbox.put_nowait({"type": "http.request", "body": wav(), "more_body": True})
            await until(lambda: web.receiving.total() == 1 and left(web))
            begun.leave()
            await begun.task
            assert left(web) == [] and web.receiving.total() == 0 and not web.shelf.sounds

    asyncio.run(visit())


def test_a_slow_upload_ends(tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    web = web_of(tiny_model, upload_seconds=0.05)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            slow = Visit(web, "POST", "/sounds")
            slow.inbox.get_nowait()
            slow.inbox.put_nowait({"type": "http.request", "body": b"RIFF", "more_body": True})
            await slow.task
            assert slow.status == 408 and left(web) == []

    asyncio.run(visit())


def test_a_slow_wish_ends(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    monkeypatch.setattr(answers, "JSON_SECONDS", 0.05)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            slow = Visit(web, "POST", "/sounds/x/play")
            slow.inbox.get_nowait()
            slow.inbox.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
            await until(slow.task.done)
            assert slow.status == 408 and b"too long" in slow.body

    asyncio.run(visit())


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_takes_no_place(
    full: int, client, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = upload(client)
    kept, sounds, taken = left(web), set(web.shelf.sounds), web.shelf.taken

    def fail(*_: object, **__: object) -> None:
        raise OSError(full, "no room")

    def ask() -> None:
        for path in ("/phrases/0", f"/sounds/{name}/embed"):
            answer = client.post(path)
            assert answer.status_code == 507 and "disk is full" in answer.json()["error"]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", fail)
        ask()
    monkeypatch.setattr("shutil.copyfile", fail)
    assert client.post("/phrases/0").status_code == 507
    assert left(web) == kept and set(web.shelf.sounds) == sounds and web.shelf.taken == taken
    assert not any(sound.running for sound in web.shelf.sounds.values())


def test_the_end_of_the_server_stops_jobs_and_removes_all(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(web.studio, "play", held)

    async def visit() -> Path:
        async with web.lifespan(None):  # type: ignore[arg-type]
            await Visit(web, "POST", "/sounds", wav()).task
            name = next(iter(web.shelf.sounds))
            going = Visit(web, "POST", f"/sounds/{name}/play", b'{"to": ["flute"]}')
            await until(held.began.is_set)
        await going.task
        return web.shelf.folder.parent

    folder = asyncio.run(visit())
    assert held.ended == ["Stopped"] and not folder.exists()


def test_a_job_that_takes_too_long_ends(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = web_of(tiny_model, job_seconds=0.2)
    held = Held()
    with serving(web) as client:
        name = upload(client)
        kept = left(web)
        monkeypatch.setattr(web.studio, "play", held)
        last = lines(client.post(f"/sounds/{name}/play", json={"to": ["flute"]}))[-1]
        assert "took too long" in last["error"] and held.ended == ["Stopped"]
        assert left(web) == kept


def test_a_full_queue_says_when_to_come_again(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = web_of(tiny_model, waiting=1)
    held = Held()
    monkeypatch.setattr(web.studio, "play", held)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            await until(lambda: not web.work.jobs)
            await Visit(web, "POST", "/sounds", wav()).task
            name = next(iter(web.shelf.sounds))
            path, body = f"/sounds/{name}/play", b'{"to": ["flute"]}'
            first, second = (Visit(web, "POST", path, body) for _ in range(2))
            await until(lambda: len(web.work.jobs) == 2)
            kept = left(web)
            third = Visit(web, "POST", path, body)
            await third.task
            assert third.status == 503 and b"error" in third.body
            assert 1 <= int(dict(third.sent[0]["headers"])[b"retry-after"]) <= 120
            assert left(web) == kept
            held.go.set()
            await asyncio.gather(first.task, second.task)
            assert held.ended == ["well", "well"]

    asyncio.run(visit())


def test_too_many_uploads_at_once_are_turned_away(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model, uploads=1)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            first = Visit(web, "POST", "/sounds")
            first.inbox.get_nowait()
            await until(lambda: web.receiving.total() == 1)
            second = Visit(web, "POST", "/sounds", wav())
            await second.task
            assert second.status == 503
            first.leave()
            await first.task

    asyncio.run(visit())


def test_one_client_leaves_places_for_others(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model, uploads=4)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            held = [Visit(web, "POST", "/sounds") for _ in range(2)]
            for one in held:
                one.inbox.get_nowait()
            await until(lambda: web.receiving.total() == 2)
            third = Visit(web, "POST", "/sounds", wav())
            other = Visit(web, "POST", "/sounds", wav(), client="203.0.113.7")
            await asyncio.gather(third.task, other.task)
            assert (third.status, other.status) == (503, 201)
            for one in held:
                one.leave()
                await one.task
            assert not web.receiving

    asyncio.run(visit())


def test_a_sound_that_was_left_is_gone(client, web: Web) -> None:
    name = upload(client)
    assert client.delete(f"/sounds/{name}").status_code == 204
    assert left(web) == []
    assert client.get(f"/sounds/{name}/0/source.wav").status_code == 404
    answer = client.post(f"/sounds/{name}/play", json={"to": ["flute"]})
    assert answer.status_code == 404 and "choose it again" in answer.json()["error"]
