"""How a job is followed and what is answered: files, lines of JSON, errors in one plain line."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from audiovae.apps.web.jobs import Busy, Job, Queue, Stopped
from audiovae.apps.web.shelf import Gone
from audiovae.errors import AudioError, UserError

T = TypeVar("T")
Said = dict[str, Any]
BEAT = 0.1
"""Seconds between looks at a job."""
MOST_JSON, JSON_SECONDS = 1 << 16, 10.0
"""Bytes of a request in JSON, and seconds in which they must be there."""
TYPES = {
    ".wav": "audio/wav", ".wave": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".m4a": "audio/mp4",
    ".aac": "audio/aac", ".webp": "image/webp",
}  # fmt: skip
"""Media types by suffix, of what browsers show and play."""
NO_FILE = "there is no such file, or no longer"
log = logging.getLogger(__name__)


def explain(error: BaseException) -> tuple[int, str, int]:
    """Return status, reason in one line and, where waiting helps, seconds to wait."""
    if isinstance(error, Busy):
        return 503, str(error), error.seconds
    if isinstance(error, Gone):
        return 404, str(error), 0
    if isinstance(error, Stopped):
        return 504, "this took too long and was ended: try a shorter sound or fewer domains", 0
    if isinstance(error, HTTPException):
        return error.status_code, error.detail, 0
    if isinstance(error, UserError):
        status = 415 if isinstance(error, AudioError) else 400
        return status, " ".join(str(error).split()), 0
    if isinstance(error, ClientDisconnect):
        return 400, "the request ended early", 0
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 507, "the server's disk is full", 0
    log.error("a request failed", exc_info=error)
    return 500, "something went wrong on the server; its log says more", 0


REFUSED = (Busy, Gone, Stopped, HTTPException, UserError, ClientDisconnect)
"""What is answered without a word in the server's log."""


async def refuse(_: Request, error: Exception) -> Response:
    """Answer with an error."""
    status, reason, seconds = explain(error)
    headers = {"retry-after": str(seconds)} if seconds else {}
    headers |= dict(getattr(error, "headers", None) or {})
    # What is left of the request was perhaps not read.
    return JSONResponse({"error": reason}, status, headers | {"connection": "close"})


async def read_json(request: Request) -> Any:
    """Return the JSON value of a request. Raises `HTTPException`."""
    body = bytearray()
    try:
        async with asyncio.timeout(JSON_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_JSON:
                    raise HTTPException(
                        413, f"the request is too large; expected {MOST_JSON} bytes"
                    )
    except TimeoutError:
        raise HTTPException(408, "the request took too long") from None
    try:
        # Whole numbers of any length become floats, too.
        return json.loads(body, parse_int=float)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request is no JSON") from None


def declared_length(request: Request) -> int | None:
    """Return the bytes that a request says it has."""
    said = request.headers.get("content-length", "")
    return int(said) if re.fullmatch("[0-9]{1,18}", said) else None


class File(FileResponse):
    """A file, or a part of it. Nothing is sent before it is open: it may be removed meanwhile."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises `HTTPException`."""
        start: list[Message] = []

        async def opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    raise HTTPException(message["status"], "there is no such part of the file")
                start.append(message)
                return
            while start:
                await send(start.pop())
            await send(message)

        try:
            await super().__call__(scope, receive, opened)
        except FileNotFoundError:
            raise HTTPException(404, NO_FILE) from None


def give_file(path: Path | None) -> Response:
    """Answer with a file. Raises `HTTPException`."""
    try:
        facts = None if path is None else path.stat()
    except OSError:
        facts = None
    if path is None or facts is None or not stat.S_ISREG(facts.st_mode):
        raise HTTPException(404, NO_FILE)
    kind = TYPES.get(path.suffix.lower(), "application/octet-stream")
    return File(path, media_type=kind, stat_result=facts)


async def follow(queue: Queue, job: Job[Any], receive: Receive) -> AsyncGenerator[Said, None]:
    """Say where a job is until it has ended; whoever goes away meanwhile stops it.

    Raises `ClientDisconnect`, and `Stopped` where a job hangs.
    """
    gone = asyncio.ensure_future(_until_gone(receive))
    said: Said = {}
    try:
        while not job.future.done():
            if gone.done():
                raise ClientDisconnect
            if job.overdue:
                raise Stopped
            place = queue.place(job)
            now: Said = {"place": place} if place > 0 else {"share": round(job.share, 3)}
            if now != said:
                said = now
                yield said
            waited = (job.future, gone)
            await asyncio.wait(waited, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not job.future.done():
            queue.stop(job)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def result_of(job: Job[T], folder: Path) -> T:
    """Return what a job gave, or raise what it raised; paths in `folder` are not told."""
    if job.future.cancelled():
        raise Stopped
    try:
        return job.future.result()
    except UserError as error:
        raise type(error)(
            re.sub(re.escape(str(folder)) + r"\S*", "the sound", str(error))
        ) from None


class Lines(Response):
    """Lines of JSON, each sent when it is there; an error is the last of them.

    Args:
        give: the lines; it is called with what tells of a client that goes away.
    """

    def __init__(self, give: Callable[[Receive], AsyncGenerator[Said, None]]) -> None:
        super().__init__(media_type="application/x-ndjson")
        self.give = give

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        kept = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        start = {"status": self.status_code, "headers": kept}
        await send({"type": "http.response.start", **start})
        try:
            async with aclosing(self.give(receive)) as lines:
                async for line in lines:
                    await _send_line(send, line)
        except ClientDisconnect:
            return
        except Exception as error:
            await _send_line(send, {"error": explain(error)[1]})
        await send({"type": "http.response.body", "body": b""})


async def _send_line(send: Send, line: Mapping[str, Any]) -> None:
    body = json.dumps(line, allow_nan=False).encode() + b"\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def lines_of(
    queue: Queue, job: Job[Said], folder: Path, receive: Receive
) -> AsyncGenerator[Said, None]:
    """Say where a job is, and at last what it gave; paths are not told."""
    async with aclosing(follow(queue, job, receive)) as progress:
        async for said in progress:
            yield said
    result = {key: value for key, value in result_of(job, folder).items() if key != "files"}
    yield {"waited": round(max(0.0, job.begun - job.entered), 3), **result}
