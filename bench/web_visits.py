"""Visits of those who mean well, some of whom go away in the middle."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import numpy as np
import soundfile

from audiovae.apps.web.settings import WebSettings
from bench.sounds import sound
from bench.web_http import PATIENCE, Client, hang_up
from bench.web_ledger import LEFT

KINDS = ("WAV", "FLAC", "OGG", "MP3")
RATES = (8000, 16_000, 22_050, 44_100, 48_000)
GONE = (404,)
"""A sound makes way where room is short: the page brings it again."""


def encode(audio: np.ndarray, rate: int, kind: str = "WAV") -> bytes:
    """Return a sound file."""
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format=kind)
    return file.getvalue()


@dataclass
class Things:
    """What visits bring along: made once, as making it would keep the clients busy.

    Args:
        domains: that can be asked for.
        settings: the server's.
        bad: files that are none or lie, by name.
        slow_seconds: for which slow clients go on.
    """

    domains: Sequence[str]
    settings: WebSettings
    bad: dict[str, bytes] = field(default_factory=dict)
    slow_seconds: float = 20.0

    def __post_init__(self) -> None:
        self.sounds: list[bytes] = []
        for number, seconds in enumerate((0.3, 0.5, 1.0, 1.5, 2.0, 3.0) * 2):
            rate, kind = RATES[number % len(RATES)], KINDS[number % len(KINDS)]
            mono = sound(round(seconds * rate), rate, number)
            audio = np.stack([mono, 0.5 * mono], axis=1) if number % 3 == 0 else mono
            self.sounds.append(encode(audio, rate, kind))
        long = min(60.0, 0.9 * self.settings.max_seconds)
        self.long = encode(np.tile(sound(48_000, 48_000), round(long)), 48_000, "FLAC")
        endless = np.zeros(round((self.settings.max_seconds + 1) * 8000), np.int16)
        self.too_long = encode(endless, 8000, "FLAC")

    def sound(self, client: Client) -> bytes:
        """Return a short one."""
        return client.random.choice(self.sounds)


def bring(client: Client, line: HTTPConnection, body: bytes) -> str | None:
    """Upload a sound, again where the server is busy; return its name, None for none."""
    for _ in range(4):
        answer = client.ask(line, "POST", "/sounds", body, kind="upload", expected=(201,))
        if answer.status == 201:
            return answer.json["sound"]
        if client.pause(min(5.0, float(answer.headers.get("retry-after", 1)))):
            break
    return None


class Followed:
    """Reads the lines of a job, and notes when each came."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.began = time.monotonic()
        self.last: dict[str, Any] = {}

    def __call__(self, got: HTTPResponse) -> bytes:
        """Read to the end."""
        ledger, running = self.client.ledger, 0.0
        for text in got:
            self.last = said = json.loads(text)
            now = time.monotonic()
            if "place" in said:
                ledger.places.append(said["place"])
            elif not running:
                running = now
                ledger.time("queue wait", now - self.began)
        if "error" in self.last:
            ledger.wrong(self.client.doing, f"a job ended with {self.last['error']!r}")
        elif "spent" in self.last:
            ledger.time("job", time.monotonic() - running)
            ledger.jobs.append(self.last)
        else:
            ledger.wrong(self.client.doing, f"a job ended with {self.last}")
        return text


def wish(client: Client, things: Things) -> bytes:
    """Return what is asked for: one to three domains, or a blend."""
    to = client.random.sample(list(things.domains), client.random.choice((1, 1, 2, 3)))
    asked: dict[str, Any] = {"to": to, "keep_loudness": client.random.random() < 0.2}
    if client.random.random() < 0.2:
        asked["blend"] = [[domain, 0.5] for domain in things.domains[:2]]
    return json.dumps(asked).encode()


def work(
    client: Client, line: HTTPConnection, name: str, what: str, body: bytes
) -> dict[str, Any] | None:
    """Have a job done; return its last line, None where the server was busy or has made room."""
    for _ in range(4):
        followed = Followed(client)
        path = f"/sounds/{name}/{what}"
        answer = client.ask(line, "POST", path, body, expected=(200, *GONE), take=followed)
        if answer.status == 200:
            return followed.last if "spent" in followed.last else None
        if answer.status in GONE or client.pause(
            min(5.0, float(answer.headers.get("retry-after", 1)))
        ):
            break
    return None


def listen(client: Client, things: Things) -> None:
    """Open the page, bring a sound, have it played, hear and see what came; some tidy up."""
    line = client.connect()
    client.ask(line, "GET", "/", kind="page")
    name = bring(client, line, things.sound(client))
    if name is None:
        return
    if client.random.random() < 0.5:
        _fetch(client, line, f"/sounds/{name}/0/source.webp")
    result = work(client, line, name, "play", wish(client, things))
    for one in (result or {}).get("sounds", []):
        answer = _fetch(client, line, f"/sounds/{name}/{result['run']}/{one['sound']}")
        if answer is not None and abs(seconds_of(answer) - result_seconds(result)) > 0.1:
            client.ledger.wrong(client.doing, "a sound of another length came back")
        _fetch(client, line, f"/sounds/{name}/{result['run']}/{one['picture']}")
    if client.random.random() < 0.5:
        client.ask(line, "DELETE", f"/sounds/{name}", expected=(204, *GONE))


def result_seconds(result: dict[str, Any]) -> float:
    """Return the seconds of each sound of a job."""
    return result["seconds"] / len(result["sounds"])


def seconds_of(content: bytes) -> float:
    """Return the length of a sound file."""
    return soundfile.info(io.BytesIO(content)).duration


def _fetch(client: Client, line: HTTPConnection, path: str) -> bytes | None:
    answer = client.ask(line, "GET", path, kind="download", expected=(200, *GONE))
    return answer.body if answer.status == 200 else None


def embed(client: Client, things: Things) -> None:
    """Embed a sound."""
    line = client.connect()
    name = bring(client, line, things.sound(client))
    result = name and work(client, line, name, "embed", b"")
    if result:
        _fetch(client, line, f"/sounds/{name}/{result['run']}/embedding.npz")


def phrase(client: Client, things: Things) -> None:
    """Take a phrase of the page's own, and parts of it, some of which are none."""
    line = client.connect()
    answer = client.ask(line, "POST", "/phrases/0", kind="upload", expected=(201,))
    if answer.status == 201:
        path = f"/sounds/{answer.json['sound']}/0/source.wav"
        for part, status in (("bytes=0-999", 206), ("bytes=9999999999-", 416), ("bytes=x", 400)):
            client.ask(line, "GET", path, None, {"Range": part}, expected=(status, *GONE))


def leaves_an_upload(client: Client, things: Things) -> None:
    """Go away in the middle of an upload, some without a goodbye."""
    body = things.sound(client)
    head = client.head("POST", "/sounds", f"Content-Length: {len(body)}")
    with client.raw(head + body[: len(body) // 2]) as line:
        client.pause(client.random.choice((0, 0.1, 0.5)))
        _leave(client, line)


def leaves_a_job(client: Client, things: Things) -> None:
    """Go away while a job waits or goes on."""
    line = client.connect()
    name = bring(client, line, things.sound(client))
    if name is None:
        return
    body = json.dumps({"to": list(things.domains)}).encode()
    head = client.head("POST", f"/sounds/{name}/play", f"Content-Length: {len(body)}")
    with client.raw(head + body) as bare:
        client.pause(client.random.choice((0, 0.05, 0.3)))
        _leave(client, bare)


def leaves_a_download(client: Client, things: Things) -> None:
    """Go away in the middle of a download."""
    line = client.connect()
    name = bring(client, line, things.long)
    if name is None:
        return
    with client.raw(client.head("GET", f"/sounds/{name}/0/source.wav")) as bare:
        bare.recv(10_000)
        _leave(client, bare)


def _leave(client: Client, line: Any) -> None:
    client.ledger.count(client.visit, LEFT)
    if client.random.random() < 0.5:
        hang_up(line)


def never_reads(client: Client, things: Things) -> None:
    """Ask for a large file and take nothing of it for long."""
    line = client.connect()
    name = bring(client, line, things.long)
    if name is None:
        return
    with client.raw() as bare:
        bare.sendall(client.head("GET", f"/sounds/{name}/0/source.wav"))
        client.pause(things.slow_seconds)
        client.ledger.count(client.visit, LEFT)


def removes_what_it_fetches(client: Client, things: Things) -> None:
    """Ask for a file again and again on some lines, and remove the sound meanwhile."""
    line = client.connect()
    name = bring(client, line, things.sound(client))
    if name is None:
        return
    heads = client.head("GET", f"/sounds/{name}/0/source.wav") * 3
    with client.raw(heads) as first, client.raw(heads) as second:
        client.ask(line, "DELETE", f"/sounds/{name}", expected=(204, *GONE))
        for bare in (first, second):
            bare.settimeout(PATIENCE)
            client.hear(bare, (200, *GONE))
