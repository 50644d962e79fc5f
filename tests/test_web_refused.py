"""The web page's server: what it refuses, in one line and leaving nothing."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from webs import Visit, left, serving, upload, wav, web_of

from audiovae.apps.web.app import Web
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def web(tiny_model: AudioVAE) -> Web:
    return web_of(tiny_model, per_minute=100_000)


@pytest.fixture
def client(web: Web) -> Iterator:
    with serving(web) as client:
        yield client


def cut(body: bytes) -> bytes:
    return body[: len(body) // 2]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 415, "empty"),
        (b"Dear Sir or Madam,\n" * 20, 415, "text"),
        (b"<script>alert(1)</script>" * 20, 415, "not audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 415, "PNG"),
        (b"PK\x03\x04" + bytes(100), 415, "ZIP"),
        (bytes(1000), 415, "zero bytes"),
        (b"\xff\xfb\x90" + bytes(1000), 415, "MPEG"),
        (cut(wav()), 415, "truncated"),
        (cut(wav(format="FLAC")), 415, "truncated"),
        (wav(1.3), 415, "lasts 1.3 seconds; expected at most 1.0 seconds"),
        (wav(0.1, 3), 415, "3 channels"),
        (wav(0.1, rate=500), 415, "sample rate of 500"),
        (wav(0.0), 415, "no frames"),
        (wav(1.0, 2, 48_000), 413, "larger than"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(
    tiny_model: AudioVAE, body: bytes, status: int, said: str
) -> None:
    web = web_of(tiny_model, max_seconds=1.0, max_megabytes=0.2)
    with serving(web) as client:
        answer = client.post("/sounds", content=body)
        assert answer.status_code == status, answer.text
        (error,) = answer.json().values()
        assert said.replace("larger than", "too large") in error and "\n" not in error
        assert "/" not in error and "Traceback" not in answer.text
        asyncio.run(asyncio.sleep(0.05))
        assert left(web) == [] and not web.shelf.sounds


def test_infinite_samples_and_lying_headers_are_refused(client, web: Web) -> None:
    broken = soundfile.read(io.BytesIO(wav()))[0]
    broken[100] = np.inf
    file = io.BytesIO()
    soundfile.write(file, broken, 16_000, "FLOAT", format="WAV")
    lying = bytearray(wav(format="FLAC"))
    # The length in samples of a FLAC file: 36 bits, the last of which end at byte 26.
    lying[22:26] = (1 << 31).to_bytes(4, "big")
    for body in (file.getvalue(), bytes(lying)):
        answer = client.post("/sounds", content=body)
        assert answer.status_code == 415 and "/" not in answer.json()["error"]
    assert left(web) == []


def test_an_upload_without_a_length_is_counted(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model, max_megabytes=0.05)
    with serving(web) as client:
        answer = client.post("/sounds", content=(bytes(1000) for _ in range(60)))
        assert answer.status_code == 413 and left(web) == []
        # Nor are its bytes taken before it is refused where it says them.
        headers = {"content-length": "9" * 30}
        assert client.post("/sounds", content=b"", headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b"[]", "table"),
        (b"null", "table"),
        (b'{"to": []}', "no target"),
        (b'{"to": "flute"}', "must be a list"),
        (b'{"to": [7]}', "expected str"),
        (b'{"to": ["no such"]}', "no domain"),
        (b'{"to": ["../flute"]}', "no domain"),
        (b'{"to": ["flute", "flute"]}', "twice"),
        (b'{"to": ["flute"], "seed": 1}', "unknown setting"),
        (b'{"to": ["flute"], "mix": 2}', "expected 0 to 1"),
        (b'{"to": ["flute"], "mix": NaN}', "NaN"),
        (b'{"to": ["flute"], "mix": 1' + b"0" * 5000 + b"}", "expected 0 to 1"),
        (b'{"to": ["flute"], "keep_loudness": 1}', "expected bool"),
        (b'{"to": ["flute"], "octave": "up"}', "expected one of"),
        (b'{"to": ["flute"], "octave": "auto"}', "ranges"),
        (b'{"blend": [["piano", 0]]}', "above 0"),
        (b'{"blend": [["piano", -1], ["flute", 2]]}', "above 0"),
        (b'{"blend": [["piano", Infinity]]}', "above 0"),
        (b'{"blend": [["piano", 1], ["piano", 1]]}', "twice"),
        (b'{"blend": [["piano"]]}', "2 entries"),
        (b'{"blend": {"piano": 1}}', "must be a list"),
    ],
)
def test_wishes_that_are_none_are_refused(client, body: bytes, said: str) -> None:
    name = upload(client)
    answer = client.post(f"/sounds/{name}/play", content=body)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]


def test_requests_that_are_too_long_are_refused(client) -> None:
    name = upload(client)
    answer = client.post(f"/sounds/{name}/play", content=b" " * 70_000)
    assert answer.status_code == 413


NAMES = (
    "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "%00", "a%0d%0ax: y", "-1", "1e9",
    "9" * 5000, "source.wav", "ä", "%ff%fe", "<script>", "0/../0", "CON", "." * 300,
)  # fmt: skip


@pytest.mark.parametrize("hostile", NAMES)
def test_names_from_a_browser_lead_nowhere(client, web: Web, hostile: str) -> None:
    name = upload(client)
    kept = left(web)
    paths = {
        f"/library/{hostile}": "GET",
        f"/sounds/{hostile}/0/source.wav": "GET",
        f"/sounds/{name}/{hostile}/source.wav": "GET",
        f"/sounds/{name}/0/{hostile}x": "GET",
        f"/sounds/{name}/0/../../{hostile}": "GET",
        f"/sounds/{hostile}/play": "POST",
        f"/phrases/{hostile}": "POST",
        f"/sounds/{hostile}": "DELETE",
    }

    async def visit() -> None:
        for path, method in paths.items():
            # Not by the client, which would tidy the path.
            asked = Visit(web, method, path, b'{"to": ["flute"]}')
            await asked.task
            assert asked.status in (404, 405), path
            assert list(json.loads(asked.body)) == ["error"]

    asyncio.run(visit())
    assert left(web) == kept


def test_a_name_of_an_upload_is_not_used(client, web: Web) -> None:
    headers = {"content-disposition": 'filename="../../x"', "content-type": "audio/mpeg"}
    answer = client.post("/sounds?name=../../x", content=wav(), headers=headers)
    assert answer.status_code == 201
    assert {path.name for path in left(web)} == {"source.wav", "source.webp"}
