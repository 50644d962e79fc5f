"""The routes of the web page: sounds come in, jobs go on, files go out."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive

from audiovae.apps.demo import shipped_phrases
from audiovae.apps.web.answers import (
    REFUSED,
    Lines,
    Said,
    declared_length,
    follow,
    give_file,
    lines_of,
    read_json,
    refuse,
    result_of,
)
from audiovae.apps.web.guard import Guard, client_of
from audiovae.apps.web.jobs import Busy, Job, Queue, Tell
from audiovae.apps.web.page import policy, show_page
from audiovae.apps.web.settings import HEADER_BYTES, WebSettings, room_of
from audiovae.apps.web.shelf import ARRIVING, SOURCE, Shelf, Sound
from audiovae.apps.web.studio import PICTURE, Studio

SWEEP = 5.0
"""Seconds between looks for what is too old."""
MOST_OPENING, OPENING_SECONDS = 16, 60.0
"""Uploads that wait to be decoded, and how long one may take."""
BY_MIDDLE = "audio/mpeg"
"""The one kind that may begin in the middle of a frame, so that its name must say what it is."""


class Web:
    """The page's server; `app` is the ASGI application.

    Args:
        studio: does the work.
        settings: limits.
    """

    def __init__(self, studio: Studio, settings: WebSettings) -> None:
        self.studio, self.settings = studio, settings
        self.phrases = shipped_phrases()
        paths = [] if studio.library is None else studio.library.paths
        self.neighbours = {str(number): path for number, path in enumerate(paths)}
        self.receiving: Counter[str] = Counter()
        """Uploads of each client that are coming in."""
        self.done = 0
        self.shelf: Shelf
        self.work: Queue
        self.opening: Queue
        self.page = show_page(studio, settings, self.phrases)
        routes = [
            Route("/", self.show),
            Route("/recorder.js", self.recorder),
            Route("/sounds", self.upload, methods=["POST"]),
            Route("/phrases/{number}", self.choose, methods=["POST"]),
            Route("/sounds/{name}", self.leave, methods=["DELETE"]),
            Route("/sounds/{name}/play", self.play, methods=["POST"]),
            Route("/sounds/{name}/embed", self.embed, methods=["POST"]),
            Route("/sounds/{name}/nearest", self.nearest, methods=["POST"]),
            Route("/sounds/{name}/{run}/{file}", self.file),
            Route("/library/{number}", self.neighbour),
        ]
        handlers: Any = dict.fromkeys((*REFUSED, OSError, Exception), refuse)
        inner = Starlette(routes=routes, lifespan=self.lifespan, exception_handlers=handlers)
        names = (settings.host, *settings.names)
        self.app: ASGIApp = Guard(inner, names, policy(self.page), settings.per_minute)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Have a private folder and threads while the server runs; nothing is left after."""
        settings = self.settings
        folder = Path(tempfile.mkdtemp(prefix="audiovae-web-"))
        size, seconds = round(settings.storage_megabytes * 1e6), 60 * settings.keep_minutes
        self.shelf = Shelf(folder / "sounds", settings.sounds, size, seconds)
        self.shelf.folder.mkdir()
        threads = max(1, torch.get_num_threads() // settings.concurrency)
        prepare = partial(torch.set_num_threads, threads)
        self.work = Queue(settings.concurrency, settings.waiting, settings.job_seconds, prepare)
        self.opening = Queue(1, MOST_OPENING, OPENING_SECONDS)
        sweeper = asyncio.create_task(self._sweep())
        self.work.add(partial(self.studio.warm, folder), lambda _: None)
        try:
            yield
        finally:
            sweeper.cancel()
            await asyncio.gather(self.work.close(), self.opening.close())
            shutil.rmtree(folder, ignore_errors=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.shelf.sweep()

    async def show(self, _: Request) -> Response:
        """Give the page."""
        return Response(self.page, media_type="text/html")

    async def recorder(self, _: Request) -> Response:
        """Give the script that takes sound from a microphone: browsers want it as a file."""
        script = resources.files("audiovae.apps.web").joinpath("recorder.js").read_bytes()
        return Response(script, media_type="text/javascript")

    async def upload(self, request: Request) -> Response:
        """Take the sound in the body, decode it and say what it is."""
        declared = declared_length(request)
        if declared is not None and declared > self.settings.max_bytes:
            raise self._too_large()
        self.opening.check()
        client = client_of(request.scope)
        most = self.settings.uploads
        # One client leaves places for others: it costs nothing to send slowly.
        if self.receiving.total() >= most or self.receiving[client] >= max(1, most // 2):
            raise Busy("too many uploads at once: try again a little later", 2)
        size = self.settings.max_bytes if declared is None else declared
        sound = self.shelf.add(size + self.settings.sound_bytes)
        by_middle = request.headers.get("content-type") == BY_MIDDLE
        path = sound.place(ARRIVING) / ("upload.mp3" if by_middle else "upload")
        self.receiving[client] += 1
        try:
            async with asyncio.timeout(self.settings.upload_seconds):
                await self._receive(request, path)
        except BaseException as error:
            self.shelf.end(sound, ARRIVING, None)
            if isinstance(error, TimeoutError):
                raise HTTPException(408, "the upload took too long") from None
            raise
        finally:
            self.receiving -= Counter([client])  # Those that have none are forgotten.
        return await self._open(request, sound, path)

    async def _receive(self, request: Request, path: Path) -> None:
        count = 0
        with open(path, "wb") as file:
            async for chunk in request.stream():
                count += len(chunk)
                if count > self.settings.max_bytes:
                    raise self._too_large()
                file.write(chunk)

    def _too_large(self) -> HTTPException:
        most = f"{self.settings.max_megabytes:g} MB"
        return HTTPException(413, f"the file is too large; expected at most {most}: cut it up")

    async def choose(self, request: Request) -> Response:
        """Take a phrase that ships with the package, as if it were uploaded."""
        known = {str(number): phrase.path for number, phrase in enumerate(self.phrases)}
        path = known.get(request.path_params["number"])
        if path is None:
            raise HTTPException(404, "there is no such phrase")
        self.opening.check()
        sound = self.shelf.add(path.stat().st_size + self.settings.sound_bytes)
        upload = sound.place(ARRIVING) / "upload"
        try:
            shutil.copyfile(path, upload)
        except OSError:
            self.shelf.end(sound, ARRIVING, None)
            raise
        return await self._open(request, sound, upload)

    async def _open(self, request: Request, sound: Sound, upload: Path) -> Response:
        folder = sound.place(ARRIVING)

        def after(job: Job[Any]) -> None:
            files = None
            if job.succeeded:
                _, wav = job.future.result()
                sound.seconds, sound.samples = wav.seconds, wav.frames * wav.channels
                files = {name: folder / name for name in (SOURCE, PICTURE)}
            self._end(sound, ARRIVING, files)

        try:
            job = self.opening.add(partial(self.studio.open, upload, folder), after)
        except Busy:
            self.shelf.end(sound, ARRIVING, None)
            raise
        try:
            async with contextlib.aclosing(follow(self.opening, job, request.receive)) as progress:
                async for _ in progress:
                    pass
            info, _ = result_of(job, sound.folder)
        except BaseException:
            self.shelf.drop(sound)
            raise
        facts = {
            "sound": sound.name,
            "seconds": round(info.seconds, 3),
            "sample_rate": info.sample_rate,
            "channels": info.channels,
            "format": info.format,
        }
        return JSONResponse(facts, 201)

    def _end(self, sound: Sound, run: int, files: dict[str, Path] | None) -> None:
        with contextlib.suppress(OSError):  # The folder is gone where the server ends.
            self.shelf.end(sound, run, files)

    async def leave(self, request: Request) -> Response:
        """Remove a sound and all that was made of it."""
        self.shelf.drop(self.shelf.get(request.path_params["name"]))
        return Response(status_code=204)

    async def play(self, request: Request) -> Response:
        """Play a sound on other instruments."""
        wish = self.studio.read(await read_json(request))
        sound = self._sound(request)
        # A loudness is known at the end: until then all lies there in floats as well.
        size = room_of(sound.samples) * wish.count * (3 if wish.keep_loudness else 1)
        return self._run(sound, size, lambda f, tell: self.studio.play(sound.source, f, wish, tell))

    async def embed(self, request: Request) -> Response:
        """Embed a sound."""
        sound, encoder = self._sound(request), self.studio.encoder
        size = 4 * (encoder.dimension + 2) * round(sound.seconds * encoder.rate + 2) + HEADER_BYTES
        return self._run(sound, size, lambda f, tell: self.studio.embed(sound.source, f, tell))

    async def nearest(self, request: Request) -> Response:
        """Find what is like a sound."""
        kind = self.studio.check_kind(await read_json(request))
        sound = self._sound(request)
        return self._run(sound, 0, lambda _, tell: self.studio.nearest(sound.source, kind, tell))

    def _sound(self, request: Request) -> Sound:
        sound = self.shelf.get(request.path_params["name"])
        if ARRIVING in sound.running:
            raise HTTPException(409, "this sound is not here yet")
        return sound

    def _run(self, sound: Sound, size: int, work: Callable[[Path, Tell], Said]) -> Response:
        """Put work into the queue, and answer with lines of JSON while it goes on."""
        self.work.check()
        run = self.shelf.begin(sound, size)

        def after(job: Job[Said]) -> None:
            self.done += job.succeeded
            files = job.future.result().get("files", {}) if job.succeeded else None
            self._end(sound, run, files)

        job = self.work.add(partial(work, sound.place(run)), after)

        async def give(receive: Receive) -> AsyncGenerator[Said, None]:
            async with contextlib.aclosing(
                lines_of(self.work, job, sound.folder, receive)
            ) as lines:
                async for line in lines:
                    yield {"run": run, **line}

        return Lines(give)

    async def file(self, request: Request) -> Response:
        """Give a file that was made of a sound."""
        asked = request.path_params
        sound = self.shelf.get(asked["name"])
        return give_file(sound.files.get((asked["run"], asked["file"])))

    async def neighbour(self, request: Request) -> Response:
        """Give a sound of the library by its number."""
        return give_file(self.neighbours.get(request.path_params["number"]))
