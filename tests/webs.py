"""The web page's server for tests: a tiny model, a folder of tones, and requests by hand."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from commands import environment
from conftest import TINY_RATE, noise_samples

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.testclient import TestClient

from audiovae.apps.models import Resolved
from audiovae.apps.search import Library
from audiovae.apps.web.app import Web
from audiovae.apps.web.serve import make_web
from audiovae.apps.web.settings import WebSettings
from audiovae.model.autoencoder import AudioVAE

HOME = "http://127.0.0.1:8420"


def wav(seconds: float = 0.5, channels: int = 1, rate: int = TINY_RATE, **options: Any) -> bytes:
    """Return a sound file of noise."""
    file = io.BytesIO()
    options = {"format": "WAV", "subtype": "PCM_24"} | options
    soundfile.write(file, noise_samples(seconds, channels, rate).T, rate, **options)
    return file.getvalue()


def web_of(model: AudioVAE, library: Library | None = None, **settings: Any) -> Web:
    """Return the server of a model, which runs in fp32 and isn't warmed up."""
    resolved = Resolved(model, "tiny", "a tiny model")
    web = make_web(resolved, WebSettings(precision="fp32", **settings), library)
    web.studio.warm = lambda *_: None  # type: ignore[method-assign]
    return web


@contextmanager
def serving(web: Web) -> Iterator[TestClient]:
    """Give a client of a running server; errors of the server are answers."""
    with TestClient(web.app, HOME, raise_server_exceptions=False) as client:
        yield client
        folder = web.shelf.folder
    assert not folder.parent.exists(), "something is left after the server's end"


def upload(client: TestClient, body: bytes | None = None) -> str:
    """Upload a sound and return its name."""
    answer = client.post("/sounds", content=wav() if body is None else body)
    assert answer.status_code == 201, answer.text
    return answer.json()["sound"]


def lines(answer: Any) -> list[dict[str, Any]]:
    """Return the lines of a job's answer."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def left(web: Web) -> list[Path]:
    """Return all files that the server keeps of sounds."""
    return [path for path in web.shelf.folder.rglob("*") if path.is_file()]


@contextmanager
def running(*words: str, place: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run the verb with a temporary folder, `place/tmp`; give the process and its address.

    What it prints is in `place/out` and `place/err`.
    """
    command = [sys.executable, "-m", "audiovae", "web", "--json", "--threads", "1", *words]
    (place / "tmp").mkdir()
    variables = environment(TMPDIR=str(place / "tmp"))
    with open(place / "out", "w") as out, open(place / "err", "w") as err:
        process = subprocess.Popen(command, env=variables, stdout=out, stderr=err)
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"http://\S+", (place / "out").read_text())):
            assert process.poll() is None and time.monotonic() < end, (place / "err").read_text()
            time.sleep(0.05)
        yield process, found.group()
    finally:
        process.kill()
        process.wait()


class Held:
    """Work that goes on until it is let go or stopped."""

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), threading.Event()
        self.ended: list[str] = []

    def __call__(self, source: Path, folder: Path, wish: Any, tell: Any) -> dict[str, Any]:
        """Stand for `Studio.play`."""
        (folder / "half.wav").write_bytes(b"half written")
        self.began.set()
        try:
            while not self.go.wait(0.01):
                tell(0.5)
        except Exception as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("well")
        return {"files": {}, "sounds": [], "seconds": 0, "spent": 0, "times_real_time": 0}


class Visit:
    """One request by hand, whose client can go away; to be used where a loop runs."""

    def __init__(
        self,
        web: Web,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"127.0.0.1:8420"),),
        client: str = "127.0.0.1",
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "path": unquote(path), "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "server": ("127.0.0.1", 8420), "client": (client, 1),
            "headers": list(headers),
        }  # fmt: skip
        self.task = asyncio.ensure_future(web.app(scope, self.inbox.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        """Close the connection."""
        self.inbox.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        """Of the answer."""
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        """What was answered so far."""
        return b"".join(message.get("body", b"") for message in self.sent)


async def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait for what other tasks and threads do."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def samples(answer: Any) -> np.ndarray:
    """Return the sound of an answer."""
    return soundfile.read(io.BytesIO(answer.content), always_2d=True)[0].T
