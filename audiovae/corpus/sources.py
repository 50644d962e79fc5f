"""Where shards lie: in a folder, behind a command of the user's, or in an object store."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

from audiovae.errors import ConfigError, CorpusError

WAITS = (0.5, 1.0, 2.0)
"""Seconds before the second try to read from afar, the third, and the last."""
FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""A file's name as an index may have it: no folder, no option, nothing that a shell reads."""
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*::)*[A-Za-z][A-Za-z0-9+.-]+://|\w[\w+.-]+::")
PIPE = "pipe:"
HOLE = "{}"
"""What a command has in the place of a file's name."""
GRACE = 2.0
"""Seconds that a command has to end when its output is wanted no more."""
NEVER = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What another try won't mend."""
T = TypeVar("T")


class Broken(Exception):
    """Reading failed, and may not the next time."""


class Readable(Protocol):
    """A file that is read from its start to its end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, none at the end. Raises `Broken`."""

    def close(self) -> None:
        """End reading."""


@dataclass(frozen=True)
class Source:
    """A place that has files by name.

    Names come from an index that a stranger may have written, so they are held to `FILE`; what is
    run or asked comes from the user's own words alone.
    """

    place: str
    """As the user named it."""
    patient = False
    """Whether reading is tried again where it fails."""
    mend = "copy it again, or run the prepare command that made it, which mends it"

    def name(self, file: str) -> str:
        """Return what a message calls a file."""
        return str(Path(self.place) / file)

    def open(self, file: str) -> Readable:
        """Open a file. Raises `Broken`, and `CorpusError` where another try won't mend it."""
        try:
            return _Reading(self._open(file))
        except NEVER as error:
            behind = error.__cause__
            if behind is not None and not isinstance(behind, NEVER):
                # fsspec says of a host that it can't reach that the file is not there.
                raise Broken(_words(behind)) from None
            what = "is not there" if isinstance(error, FileNotFoundError) else _words(error)
            raise CorpusError(f"{self.name(file)} {what}: {self.mend}") from None
        except CorpusError:
            raise
        except Exception as error:
            raise Broken(_words(error)) from None

    def _open(self, file: str) -> IO[bytes]:
        return open(Path(self.place) / file, "rb")

    def fetch(self, file: str, most: int) -> bytes:
        """Return a file of up to `most` bytes. Raises `CorpusError`."""

        def read() -> bytes:
            reading, parts, left = self.open(file), [], most + 1
            try:
                while left and (part := reading.read(min(left, 1 << 20))):
                    parts.append(part)
                    left -= len(part)
            finally:
                reading.close()
            if not left:
                raise CorpusError(f"{self.name(file)} is longer than {most} bytes: {self.mend}")
            return b"".join(parts)

        return self.patiently(file, read)

    def patiently(self, file: str, action: Callable[[], T]) -> T:
        """Return what an action returns that reads a file, tried again where that may help.

        Raises `CorpusError` where all tries were in vain.
        """
        waits = list(WAITS) if self.patient else []
        for wait in [*waits, None]:
            try:
                return action()
            except Broken as error:
                if wait is None:
                    tries = f" in {len(waits) + 1} tries" if waits else ""
                    raise CorpusError(
                        f"{self.name(file)} can't be read{tries} ({error}): {self.mend}"
                    ) from None
                time.sleep(wait)
        raise AssertionError


class Command(Source):
    """`pipe:COMMAND`, whose standard output is a file; `{}` stands for the file's name.

    No shell reads the command.
    """

    patient = True
    mend = "check that the command gives it, then run this again"

    def name(self, file: str) -> str:
        """Return the command for a file."""
        return self.place.replace(HOLE, file)

    def _open(self, file: str) -> IO[bytes]:
        words = [w.replace(HOLE, file) for w in shlex.split(self.place.removeprefix(PIPE))]
        return _Output(words)  # type: ignore[return-value]


class Remote(Source):
    """A folder that fsspec opens: https://, s3://, gs://…, simplecache::https://…"""

    patient = True
    mend = "check the address and the connection, or upload it again; then run this again"

    def name(self, file: str) -> str:
        """Return the URL of a file."""
        return f"{self.place.rstrip('/')}/{file}"

    def _open(self, file: str) -> IO[bytes]:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise CorpusError(
                f"{self.place} needs fsspec: pip install 'audiovae[remote]'"
            ) from None
        try:
            system, path = url_to_fs(self.name(file))
        except (ImportError, ValueError) as error:
            # Its words name the package to install, or that the protocol is unknown.
            raise CorpusError(f"{self.place} can't be opened: {_words(error)}") from None
        return system.open(path, "rb")


def find_source(place: str | Path) -> Source:
    """Return the source that a folder's path, a URL or `pipe:COMMAND` names.

    Raises `ConfigError` on a command that can't be one.
    """
    text = os.fspath(place)
    if isinstance(place, str) and text.startswith(PIPE):
        try:
            words = shlex.split(text.removeprefix(PIPE))
        except ValueError as error:
            raise ConfigError(f"{text!r} is no command: {error}") from None
        if not words or not any(HOLE in word for word in words[1:]):
            raise ConfigError(
                f"{text!r}: expected a command with {HOLE} for a file's name, as in "
                f"'pipe:curl -sf https://host/shards/{HOLE}'"
            )
        return Command(text)
    if is_remote(place):
        return Remote(text)
    return Source(text)


def is_remote(place: str | Path) -> bool:
    """Say whether a place is a URL or a command, and not a path."""
    return isinstance(place, str) and bool(place.startswith(PIPE) or _URL.match(place))


class _Reading:
    """A file whose failures are `Broken`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:
            # Each backend of fsspec has errors of its own.
            raise Broken(_words(error)) from None

    def close(self) -> None:
        self._file.close()


class _Output:
    """The standard output of a command, which fails where the command does."""

    def __init__(self, words: list[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said
            )
        except OSError as error:
            self._said.close()
            raise CorpusError(f"pipe: {words[0]!r} can't be run: {error.strerror}") from None
        assert self._process.stdout is not None
        self._out = self._process.stdout

    def read(self, size: int = -1, /) -> bytes:
        data = self._out.read(size)
        if not data and self._process.wait():
            self._said.seek(0)
            last = self._said.read(10_000).decode("utf-8", "replace").strip().splitlines()
            raise OSError(
                f"the command ended with code {self._process.returncode}"
                + (f": {last[-1][:200]}" if last else "")
            )
        return data

    def close(self) -> None:
        self._out.close()
        try:
            self._process.terminate()
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


def _words(error: BaseException) -> str:
    """Return an error on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
