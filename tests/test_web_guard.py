"""Who may ask the web page's server, and what every answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from webs import HOME, Visit, serving, upload, wav, web_of

from audiovae.apps.web import guard
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def client(tiny_model: AudioVAE) -> Iterator:
    web = web_of(tiny_model, names=("music.example",), per_minute=10_000)
    with serving(web) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8420", True),
        ("localhost:8420", True),
        ("LOCALHOST", True),
        ("[::1]:8420", True),
        ("192.168.1.7:8420", True),
        ("music.example", True),
        ("Music.Example:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("music.example.evil.example", False),
        ("user@localhost", False),
        ("localhost/x", False),
        ("localhost:x", False),
        ("", False),
        ("[::1", False),
        ("127.0.0.1, evil.example", False),
    ],
)
def test_only_names_of_this_server_are_answered(client, host: str, known: bool) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == (200 if known else 421)
    assert known or set(answer.json()) == {"error"}


def test_two_hosts_or_none_are_refused(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model)

    async def visit(headers: list[tuple[bytes, bytes]]) -> int:
        asked = Visit(web, "GET", "/", headers=headers)
        await asked.task
        return asked.status

    host = (b"host", b"127.0.0.1")
    assert asyncio.run(visit([host])) == 200
    assert asyncio.run(visit([])) == asyncio.run(visit([host, host])) == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"origin": HOME}, 201),
        ({"origin": HOME, "sec-fetch-site": "same-origin"}, 201),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": f"{HOME}.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_other_sites_can_change_nothing(client, headers: dict[str, str], status: int) -> None:
    answer = client.post("/sounds", content=wav(), headers=headers)
    assert answer.status_code == status
    if status == 201:
        path = f"/sounds/{answer.json()['sound']}"
        assert client.delete(path, headers={"origin": "http://evil.example"}).status_code == 403
        assert client.delete(path, headers=headers).status_code == 204


def test_every_answer_has_its_headers_and_no_traceback(client) -> None:
    asked = [
        client.get("/"),
        client.get("/recorder.js"),
        client.get("/nothing"),
        client.put("/sounds"),
        client.get("/", headers={"host": "evil.example"}),
        client.post("/sounds", content=b"text"),
        client.get(f"/sounds/{upload(client)}/0/source.wav"),
    ]
    assert [a.status_code for a in asked] == [200, 200, 404, 405, 421, 415, 200]
    for answer in asked:
        headers = answer.headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "set-cookie" not in headers and "server" not in headers
        assert "Traceback" not in answer.text


def test_the_rest_of_what_is_refused_is_read_so_that_the_reason_is_heard(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = web_of(tiny_model)

    async def visit(rest: int) -> Visit:
        asked = Visit(web, "POST", "/sounds", headers=[(b"host", b"evil.example")])
        asked.inbox.get_nowait()
        for number in range(rest):
            more = number < 2
            asked.inbox.put_nowait({"type": "http.request", "body": b"x", "more_body": more})
        await asked.task
        assert asked.status == 421
        return asked

    assert asyncio.run(visit(4)).inbox.qsize() == 1
    # Whoever sends no more is not waited for.
    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    assert asyncio.run(visit(2)).inbox.qsize() == 0


def test_websockets_are_refused(client) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass
