"""Visits of those who mean ill: what lies, trickles, floods, or asks for what is not theirs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from audiovae.apps.web.answers import JSON_SECONDS
from audiovae.apps.web.connections import HEAD_SECONDS
from audiovae.apps.web.guard import PATIENCE
from bench.web_http import Client
from bench.web_ledger import BUSY, LEFT
from bench.web_visits import Things, bring

NO_SOUND = (415,)
ANY_SOUND = (201, *NO_SOUND)
TARGETS = (
    "/sounds/../../etc/passwd", "/sounds/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd",
    "/sounds/x/0/..%2f..%2f..%2fetc%2fpasswd", "/library/..%2f..%2fetc%2fpasswd", "/library/-1",
    "/sounds/%00/0/source.wav", "/sounds/x/0/%ff%fe", "/phrases/9" + "9" * 5000, "//etc/passwd",
    "/sounds/x/0/source.wav%00.webp", "/%c0%ae%c0%ae/x", "/sounds/" + "a/" * 3000, "/.git/config",
)  # fmt: skip
WISHES = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 50_000, b'{"to": "%s"}', b'{"to": []}',
    b'{"to": ["../../etc"]}', b'{"to": [1]}', b'{"to": ["x"], "seed": 1}', b'{"a": ' * 5000,
    b'{"to": [], "mix": NaN}', b'{"blend": [["x", 1e999]]}', b'{"to": ["' + b"x" * 60_000 + b'"]}',
    b'{"to": ["x"], "mix": 1' + b"0" * 5000 + b"}",
)  # fmt: skip
NO_REQUESTS = (
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200),
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /sounds HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /sounds HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /sounds HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /sounds HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"\0" * 5000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
MARGIN = 5.0
"""Seconds that a busy server may take beside."""
HEAD_PATIENCE, JSON_PATIENCE = HEAD_SECONDS + MARGIN, JSON_SECONDS + PATIENCE + MARGIN
"""Seconds in which heads and wishes that trickle must be ended."""
CROWD = 300
"""Connections that one client opens at once."""


def brings_a_bad_file(client: Client, things: Things) -> None:
    """Upload something that is no sound, or lies."""
    line = client.connect()
    name = client.random.choice(sorted(things.bad))
    client.with_what = name
    headers = {"Content-Disposition": 'attachment; filename="../../../tmp/x.wav"'}
    if name.endswith(".mp3"):
        headers["Content-Type"] = "audio/mpeg"
    path = "/sounds?name=../../x.wav"
    client.ask(line, "POST", path, things.bad[name], headers, expected=ANY_SOUND)


def brings_too_much(client: Client, things: Things) -> None:
    """Upload more than is allowed: as it says, or in chunks of an untold number."""
    line = client.connect()
    if client.random.random() < 0.5:
        with client.raw(client.head("POST", "/sounds", "Content-Length: 99999999999")) as bare:
            bare.sendall(bytes(1 << 20))
            client.hear(bare, (413,))
        return
    client.ask(line, "POST", "/sounds", _zeros(things.settings.max_bytes), expected=(413, 0))


def _zeros(size: int) -> Iterator[bytes]:
    block = bytes(1 << 16)
    for _ in range(size // len(block) + 3):
        yield block


def brings_too_long_a_sound(client: Client, things: Things) -> None:
    """Upload a small file of more seconds than are allowed; some say that they are few."""
    line, body = client.connect(), bytearray(things.too_long)
    if client.random.random() < 0.5:
        # Of 36 bits the last 32 are there: samples that the header tells.
        body[22:26] = client.random.choice((0, 8000)).to_bytes(4, "big")
    answer = client.ask(line, "POST", "/sounds", bytes(body), expected=ANY_SOUND)
    if answer.status == 201 and answer.json["seconds"] > things.settings.max_seconds:
        client.ledger.wrong(client.doing, "a sound that is too long was taken")


def lies_about_its_length(client: Client, things: Things) -> None:
    """Say more bytes than come, and close; or fewer, so that sound stands for a request."""
    body = things.sound(client)
    told = len(body) + client.random.choice((1000, -len(body) // 2))
    with client.raw(client.head("POST", "/sounds", f"Content-Length: {told}") + body) as line:
        if told < len(body):
            client.hear(line, NO_SOUND)
        else:
            client.ledger.count(client.visit, LEFT)


def sends_tiny_chunks(client: Client, things: Things) -> None:
    """Upload a good sound in chunks of one byte, or one chunk that is said to be endless."""
    if client.random.random() < 0.5:
        line = client.connect()
        body = min(things.sounds, key=len)[:20_000]
        client.ask(line, "POST", "/sounds", (bytes([b]) for b in body), expected=ANY_SOUND)
        return
    head = client.head("POST", "/sounds", "Transfer-Encoding: chunked")
    with client.raw(head + b"FFFFFFFFFFFFFFF\r\n" + b"RIFF" * 1000):
        client.pause(1.0)
        client.ledger.count(client.visit, LEFT)


def wishes_nonsense(client: Client, things: Things) -> None:
    """Send what is no JSON, or no wish, for a sound that is there."""
    line = client.connect()
    name = bring(client, line, things.sound(client))
    for body in client.random.sample(WISHES, 4):
        client.ask(line, "POST", f"/sounds/{name}/play", body, expected=(400, 404))
    client.ask(line, "POST", f"/sounds/{name}/nearest", b'{"kind": "x"}', expected=(400,))
    client.ask(line, "POST", f"/sounds/{name}/play", b" " * 70_000, expected=(413,))


def asks_for_what_is_not_there(client: Client, things: Things) -> None:
    """Use wrong methods, unknown names, and paths that climb."""
    line = client.connect()
    for method, path in (("PUT", "/sounds"), ("BREW", "/"), ("GET", "/sounds"), ("TRACE", "/")):
        client.ask(line, method, path, expected=(405,))
    for path in client.random.sample(TARGETS, 4):
        client.ask(line, "GET", path, expected=(404, 405))
        client.ask(line, "POST", path, b"{}", expected=(404, 405))
    guess = client.random.randbytes(16).hex()
    body = json.dumps({"to": [things.domains[0]]}).encode()
    client.ask(line, "POST", f"/sounds/{guess}/play", body, expected=(404,))
    client.ask(line, "DELETE", f"/sounds/{guess}", expected=(404,))


def comes_from_another_site(client: Client, things: Things) -> None:
    """Come under another name (DNS rebinding), or by a page of another site."""
    line = client.connect()
    client.ask(line, "GET", "/", None, {"Host": "evil.example"}, expected=(421,))
    elsewhere = {"Origin": "http://evil.example"}
    client.ask(line, "POST", "/sounds", things.sound(client), elsewhere, expected=(403,))
    crossed = {"Sec-Fetch-Site": "cross-site"}
    client.ask(line, "POST", "/phrases/0", b"", crossed, expected=(403,))


def speaks_no_http(client: Client, things: Things) -> None:
    """Send what is no request at all."""
    for words in client.random.sample(NO_REQUESTS, 3):
        with client.raw(words) as line:
            line.settimeout(5.0)
            client.hear(line, (400, 421), own_headers=False)


def spoils_its_body(client: Client, things: Things) -> None:
    """Begin well and send a chunk that is none: at once, after the answer, or while a job goes on.

    The last two may be answered, or cut off.
    """
    spoilt, chunked = b"no chunk\r\n", "Transfer-Encoding: chunked"
    for path in ("/sounds", "/phrases/none"):
        with client.raw(client.head("POST", path, chunked) + spoilt) as line:
            client.hear(line, (400,), own_headers=False)
    with client.raw(client.head("GET", "/", chunked)) as line:
        line.recv(1000)
        line.sendall(spoilt)
        client.ledger.count(client.visit, LEFT)
    talk = client.connect()
    name = bring(client, talk, things.sound(client))
    if name is not None:
        with client.raw(client.head("POST", f"/sounds/{name}/embed", chunked)) as line:
            line.recv(1000)
            line.sendall(spoilt)
            client.ledger.count(client.visit, LEFT)


def trickles_a_head(client: Client, things: Things) -> None:
    """Send a request's head a few bytes at a time (slow loris)."""
    with client.raw(b"GET / HTTP/1.1\r\n") as line:
        client.trickle(line, b"X: y\r\n", things.slow_seconds, HEAD_PATIENCE)


def trickles_an_upload(client: Client, things: Things) -> None:
    """Send a sound a few bytes at a time."""
    with client.raw(client.head("POST", "/sounds", "Content-Length: 90000") + b"RIFF") as line:
        client.trickle(line, b"0123", things.slow_seconds)


def trickles_a_wish(client: Client, things: Things) -> None:
    """Send a request in JSON a byte at a time."""
    with client.raw(client.head("POST", "/sounds/x/play", "Content-Length: 900")) as line:
        client.trickle(line, b" ", things.slow_seconds, JSON_PATIENCE)


def trickles_after_the_answer(client: Client, things: Things) -> None:
    """Ask for the page with a body that never ends."""
    with client.raw(client.head("GET", "/", "Content-Length: 999999")) as line:
        client.trickle(line, b"x" * 100, things.slow_seconds, HEAD_PATIENCE)


def floods(client: Client, things: Things) -> None:
    """Ask as often as it goes, twice as often as is allowed."""
    line = client.connect()
    refused = 0
    for _ in range(130):
        answer = client.ask(line, "POST", "/phrases/none", b"", expected=(404,))
        refused += answer.status in BUSY
        if client.over.is_set():
            return
    if not refused:
        client.ledger.wrong(client.visit, "130 requests at once were all let in")


def comes_in_a_crowd(client: Client, things: Things) -> None:
    """Open more connections than there may be, and say nothing."""
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(client.raw())
        client.pause(things.slow_seconds / 2)
    client.ledger.count(client.visit, LEFT)
