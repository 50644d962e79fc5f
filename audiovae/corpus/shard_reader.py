"""One shard, read from its start to its end: its sounds decoded, and whether it is whole."""

from __future__ import annotations

import hashlib
import tarfile
from typing import IO, Any, cast

import numpy as np

from audiovae.audio.flac import decode_flac
from audiovae.corpus.shards import Shard
from audiovae.corpus.sources import Broken, Readable, Source
from audiovae.errors import AudioError, CorpusError

AT_ONCE = 1 << 20
"""Bytes asked for at once."""
SOUND = "flac"
"""What comes after the first dot in a sound's name, as webdataset reads names."""
_HEADER = 1 << 16
"""Bytes of a FLAC file beside its samples, at most."""
UNREADABLE = (tarfile.TarError, EOFError, ValueError, OverflowError)
"""What a stream that is no tar file leads to."""


class ShardReader:
    """Gives the sounds of a shard in the order they lie.

    Where reading fails it is opened again, as often as its source allows. When the last sound is
    read the whole file is compared with the index. Nothing is written, whatever a shard holds.
    """

    def __init__(self, source: Source, shard: Shard, sample_rate: int) -> None:
        self.source, self.shard, self.sample_rate = source, shard, sample_rate
        self.name = source.name(shard.file)
        self._next = 0
        """Number of the sound that comes next."""
        self._tar: tarfile.TarFile | None = None
        self._bytes: _Counted | None = None

    def read(self, number: int) -> np.ndarray:
        """Return the samples of a sound, int16 (frames,); those before it are passed over.

        Going back means to begin anew. Raises `CorpusError` that names the shard.
        """
        return self.source.patiently(self.shard.file, lambda: self._read(number))

    def close(self) -> None:
        """End reading."""
        if self._tar is not None:
            self._tar.close()
        if self._bytes is not None:
            self._bytes.close()
        self._tar, self._bytes, self._next = None, None, 0

    def _read(self, number: int) -> np.ndarray:
        try:
            if self._tar is None or number < self._next:
                self._open()
            while self._next < number:
                self._find()
            member = self._find()
            assert self._tar is not None
            file = self._tar.extractfile(member)
            data = b"" if file is None else file.read()
            if self._next == len(self.shard.frames):
                self._finish()
        except UNREADABLE as error:
            self.close()
            raise Broken(f"it is cut off, or no tar file: {error}") from None
        except (Broken, CorpusError):
            self.close()
            raise
        try:
            return decode_flac(data, int(self.shard.frames[number]), self.sample_rate)
        except AudioError as error:
            self.close()
            raise CorpusError(
                f"{self.name}: of {member.name[:100]!r}, {error}: {self.source.mend}"
            ) from None

    def _open(self) -> None:
        self.close()
        self._bytes = _Counted(self.source.open(self.shard.file), self._spoilt, self.shard.bytes)
        stream = cast(IO[bytes], self._bytes)
        self._tar = tarfile.open(fileobj=stream, mode="r|", bufsize=AT_ONCE)  # noqa: SIM115

    def _find(self) -> tarfile.TarInfo:
        """Go to the next sound."""
        assert self._tar is not None
        most = int(8 * self.shard.frames.max()) + _HEADER
        while (member := self._tar.next()) is not None:
            if is_sound(member):
                if member.size > most:
                    raise self._spoilt(f"has a sound of {member.size} bytes, {member.name[:100]!r}")
                self._next += 1
                return member
        raise Broken(f"it ends after {self._next} of {len(self.shard.frames)} sounds")

    def _finish(self) -> None:
        """Read on to the end, and compare the file with the index."""
        assert self._bytes is not None
        while self._bytes.read(AT_ONCE):
            pass
        if self._bytes.count < self.shard.bytes:
            raise Broken(f"it ends after {self._bytes.count} of {self.shard.bytes} bytes")
        found = self._bytes.digest.hexdigest()
        if found != self.shard.sha256:
            raise self._spoilt(
                f"has the SHA-256 {found[:12]}… where the index has {self.shard.sha256[:12]}…"
            )

    def _spoilt(self, what: str) -> CorpusError:
        return CorpusError(f"{self.name} is not what was written, it {what}: {self.source.mend}")


def is_sound(member: tarfile.TarInfo) -> bool:
    """Say whether a member of a shard is a sound."""
    return member.isfile() and member.name.rpartition("/")[2].partition(".")[2] == SOUND


class _Counted:
    """Bytes as they pass by: their number, which has a limit, and their SHA-256."""

    def __init__(self, file: Readable, spoilt: Any, most: int) -> None:
        self._file, self._spoilt, self._most = file, spoilt, most
        self.count, self.digest = 0, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        if self.count > self._most:
            raise self._spoilt(f"has more than the {self._most} bytes that the index says")
        self.digest.update(data)
        return data

    def close(self) -> None:
        self._file.close()
