"""What a file holds by its first bytes, and whether its end is missing by its own account."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from audiovae.errors import AudioError

_SUFFIXES = "wav wave flac ogg oga opus mp3 aif aiff aifc m4a aac au caf w64"
AUDIO_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())
"""Suffixes, in lower case, of files that are taken for sound by their name."""
EXPECTED = "expected WAV, FLAC, Ogg, Opus, MP3, AIFF or M4A"
UNKNOWN = "unknown bytes"
HEAD = 1 << 16
"""Bytes looked at from a file's start."""
OGG_TAIL = 1 << 17
"""Bytes looked at from an Ogg file's end: more than two pages."""
MOST_CHUNKS = 10_000
"""Chunks of a file that are looked at: each takes 8 bytes, and a hostile one has a million."""
STREAMED = 0x7FFFF000
"""Chunk sizes from here on are written by programs that could not know the length."""

_AUDIO = (
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b"RF64", "WAV"),
    (b"RIFX", "WAV"),
    (b"riff", "W64"),
    (b".snd", "AU"),
    (b"caff", "CAF"),
)
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with 'git lfs pull'"),
    (b"MThd", "a MIDI score, which has to be rendered to sound first"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM film"),
    (b"RIFF", "a RIFF file without sound"),
    (b"0&\xb2u", "Windows Media"),
)


def check_file(path: Path) -> int:
    """Return the size in bytes of a readable regular file; raise `AudioError` for anything else."""
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a folder; expected a sound file: name one inside it")
        if not path.exists():
            raise AudioError(f"{path} does not exist; expected a sound file: check the name")
        if not path.is_file():
            raise AudioError(f"{path} is a device or pipe; expected a sound file on disk")
        size = path.stat().st_size
        if size and not os.access(path, os.R_OK):
            raise AudioError(f"{path} may not be read; change its permissions")
    except (OSError, UnicodeError) as error:
        raise AudioError(f"{path} can't be read: {error}; check the name") from None
    except ValueError as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{str(path)!r} is no file name: {error}") from None
    if size == 0:
        raise AudioError(f"{path} is empty (0 bytes); expected sound: copy or export it again")
    return size


def identify(path: Path, file: BinaryIO) -> str:
    """Return the kind of audio in `file`: WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, W64, M4A or AAC.

    Raises `AudioError` when it holds something else.
    """
    start = _skip_tag(file)
    head = file.read(HEAD)
    kind = _kind(head)
    if kind or start:
        return kind or "MP3"
    what = _describe(head)
    suffix = path.suffix.lower()
    if suffix == ".mp3" and what == UNKNOWN:
        return "MP3"  # Some begin in the middle of a frame, and the decoder finds the next.
    if suffix in AUDIO_SUFFIXES:
        raise AudioError(
            f"{path} is mislabelled: named {suffix}, but it holds {what}; {EXPECTED}: "
            "give the sound file itself"
        )
    raise AudioError(f"{path} is not audio: it holds {what}; {EXPECTED}")


def _skip_tag(file: BinaryIO) -> int:
    """Go behind an ID3 tag at the start, or to the start; return the place."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        a, b, c, d = (byte & 0x7F for byte in head[6:])  # The tag's length, 7 bits a byte.
        start = 10 + (a << 21 | b << 14 | c << 7 | d)
    return file.seek(start)


def _kind(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[4:8] == b"ftyp":
        return "M4A"
    for magic, kind in _AUDIO:
        if head.startswith(magic):
            return kind
    if len(head) >= 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if head[1] & 0xF6 == 0xF0:
            return "AAC"  # ADTS: MPEG's sync word with layer 0.
        version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
        if version != 1 and layer != 0 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3:
            return None if _is_text(head) else "MP3"
    return None


def _describe(head: bytes) -> str:
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return what
    if not head.strip(b"\0"):
        return "zero bytes only"
    return "text" if _is_text(head) else UNKNOWN


def _is_text(head: bytes) -> bool:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    printable = sum(byte >= 32 or byte in b"\t\n\r\f" for byte in head[:4096])
    if printable < len(head[:4096]):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return True


def is_cut(kind: str, file: BinaryIO, size: int) -> bool:
    """Return whether a file of `size` bytes says that it has more; FLAC, M4A and AAC show it later.

    libsndfile corrects or believes such headers without a word.
    """
    if kind == "WAV":
        file.seek(0)
        order = ">" if file.read(4) == b"RIFX" else "<"
        return _is_wav_cut(file, size, order)
    if kind == "AIFF":
        return _is_aiff_cut(file, size)
    if kind == "Ogg":
        return _is_ogg_cut(file, size)
    if kind == "MP3":
        return _is_mp3_cut(file, size)
    if kind == "AU":
        return _is_au_cut(file, size)
    if kind == "W64":
        return _is_w64_cut(file, size)
    if kind == "CAF":
        return _is_caf_cut(file, size)
    return False


def _chunks(file: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Give (name, first byte, length) of each chunk of a RIFF or FORM file."""
    offset = 12
    for _ in range(MOST_CHUNKS):
        if offset + 8 > size:
            return
        file.seek(offset)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, offset + 8, length
        offset += 8 + length + length % 2


def _is_wav_cut(file: BinaryIO, size: int, order: str) -> bool:
    long_length: int | None = None
    for name, start, length in _chunks(file, size, order):
        if name == b"ds64" and length >= 16 and start + 16 <= size:
            file.seek(start + 8)
            long_length = struct.unpack(f"{order}Q", file.read(8))[0]
        if name == b"data":
            if length == 0xFFFFFFFF and long_length is not None:
                return start + long_length > size
            return length < STREAMED and start + length > size
    return False


def _is_aiff_cut(file: BinaryIO, size: int) -> bool:
    file.seek(8)
    compressed = file.read(4) == b"AIFC"
    expected = 0
    for name, start, length in _chunks(file, size, ">"):
        if name == b"COMM" and start + 8 <= size and not compressed:
            file.seek(start)
            channels, frames, bits = struct.unpack(">hIh", file.read(8))
            expected = channels * frames * ((bits + 7) // 8)
        if name == b"SSND":
            return start + length > size or expected > length - 8
    return False


def _is_ogg_cut(file: BinaryIO, size: int) -> bool:
    start = max(0, size - OGG_TAIL)
    file.seek(start)
    tail = file.read(OGG_TAIL)
    page = tail.rfind(b"OggS\0")
    if page < 0:
        return False
    if len(tail) < page + 27 or len(tail) < page + 27 + tail[page + 26]:
        return True
    table = tail[page + 27 : page + 27 + tail[page + 26]]
    return page + 27 + len(table) + sum(table) > len(tail)


def _is_au_cut(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    head = file.read(8)
    if len(head) < 8:
        return True
    start, length = struct.unpack(">II", head)
    return length != 0xFFFFFFFF and start + length > size  # Else it was streamed.


def _is_w64_cut(file: BinaryIO, size: int) -> bool:
    file.seek(16)  # Behind the 16 bytes that name the chunk which is all of the file.
    head = file.read(8)
    return len(head) < 8 or struct.unpack("<Q", head)[0] > size


def _is_caf_cut(file: BinaryIO, size: int) -> bool:
    offset = 8
    for _ in range(MOST_CHUNKS):
        file.seek(offset)
        head = file.read(12)
        if len(head) < 12:
            return False
        name, length = struct.unpack(">4sq", head)
        if name == b"data" and length != -1:  # Else it was streamed.
            return offset + 12 + length > size
        if length < 0:
            return False
        offset += 12 + length
    return False


def _is_mp3_cut(file: BinaryIO, size: int) -> bool:
    start = _skip_tag(file)
    frame = file.read(256)
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0 or len(frame) < tag + 16 or not frame[tag + 7] & 2:
        return False
    place = tag + (12 if frame[tag + 7] & 1 else 8)
    return start + struct.unpack_from(">I", frame, place)[0] > size
