"""Writes some two hundred sound files that are none, lie, end early, or have names that bite.

`python tests/hostile/make_bad_files.py FOLDER` makes FOLDER/bad with all of them, FOLDER/outside
with what links lead to. What it makes depends on nothing but libsndfile's version.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
KINDS = {
    "wav": {"format": "WAV"},
    "flac": {"format": "FLAC"},
    "ogg": {"format": "OGG"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
    "aiff": {"format": "AIFF"},
    "au": {"format": "AU"},
    "caf": {"format": "CAF"},
    "w64": {"format": "W64"},
}
HOUR = 3600


def tone(seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 330 * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray, rate: int = RATE, **options: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **options)
    return buffer.getvalue()


def whole(kind: str) -> bytes:
    """Return half a second of a tone in one of `KINDS`."""
    return encoded(tone(), **KINDS[kind])


def wav(
    data: bytes = b"\0\0" * 800,
    *,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    align: int | None = None,
    data_says: int | None = None,
    riff_says: int | None = None,
    before: bytes = b"",
    magic: bytes = b"RIFF",
) -> bytes:
    """Return a WAV file whose header says what it is told to."""
    align = channels * bits // 8 if align is None else align
    form = struct.pack(
        "<HHIIHH", tag & 0xFFFF, channels & 0xFFFF, rate & 0xFFFFFFFF,
        rate * align & 0xFFFFFFFF, align & 0xFFFF, bits & 0xFFFF,
    )  # fmt: skip
    size = len(data) if data_says is None else data_says
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", 16) + form
    body += b"data" + struct.pack("<I", size) + data
    said = len(body) if riff_says is None else riff_says
    return magic + struct.pack("<I", said & 0xFFFFFFFF) + body


def aiff(
    *, frames: int = 800, channels: int = 1, bits: int = 16, rate: bytes = b"", data: bytes = b""
) -> bytes:
    """Return an AIFF file whose header says what it is told to; 80 bits are its rate."""
    rate = rate or struct.pack(">HQ", 16383 + 12, 8000 << 51)
    comm = struct.pack(">hIh", channels, frames & 0xFFFFFFFF, bits) + rate
    ssnd = struct.pack(">II", 0, 0) + (data or b"\0\0" * 800)
    body = b"AIFFCOMM" + struct.pack(">I", len(comm)) + comm
    body += b"SSND" + struct.pack(">I", len(ssnd)) + ssnd
    return b"FORM" + struct.pack(">I", len(body)) + body


def cut_and_spoilt() -> Iterator[tuple[str, bytes]]:
    """Give every kind cut at several places, with bytes changed, doubled, and under other names."""
    for kind in KINDS:
        full = whole(kind)
        for share in (0.02, 0.3, 0.6, 0.97):
            yield f"cut-{share}.{kind}", full[: max(1, int(share * len(full)))]
        generator = np.random.default_rng(len(full))
        for number in range(3):
            spoilt = bytearray(full)
            top = 64 if number == 0 else len(full)
            for place in generator.integers(0, min(top, len(full)), 12):
                spoilt[place] = generator.integers(256)
            yield f"spoilt-{number}.{kind}", bytes(spoilt)
        yield f"zeros-inside.{kind}", full[: len(full) // 3] + bytes(2000) + full[len(full) // 2 :]
        yield f"twice.{kind}", full + full
        other = "wav" if kind != "wav" else "mp3"
        yield f"{kind}-by-name.{other}", full
        yield f"head-alone.{kind}", full[:12]
        yield f"empty.{kind}", b""


def lying() -> Iterator[tuple[str, bytes]]:
    """Give headers that say what can't be."""
    for rate in (0, 1, 999, 4_000_000_000, 0xFFFFFFFF):
        yield f"rate-{rate}.wav", wav(rate=rate)
    for channels in (0, 65, 1000, 0xFFFF):
        yield f"channels-{channels}.wav", wav(b"\0\0" * 4000, channels=channels)
    for bits in (0, 1, 7, 33, 64, 0xFFFF):
        yield f"bits-{bits}.wav", wav(bits=bits)
    for tag in (0, 2, 3, 6, 7, 0x11, 0x55, 0xFFFE, 0xFFFF):
        yield f"tag-{tag}.wav", wav(tag=tag)
    for says in (0, 1, 3, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFF0, 0xFFFFFFFF):
        yield f"data-says-{says}.wav", wav(data_says=says)
        yield f"riff-says-{says}.wav", wav(riff_says=says)
    yield "align-0.wav", wav(align=0)
    yield "align-9.wav", wav(align=9)
    yield "no-format.wav", b"RIFF" + struct.pack("<I", 412) + b"WAVEdata" + bytes(404)
    yield "no-data.wav", wav()[:36]
    yield "chunks.wav", wav(before=(b"JUNK" + bytes(4)) * 200_000)
    yield "chunk-of-4-GiB.wav", wav(before=b"LIST" + b"\xff" * 4)
    yield "zero-frames.wav", wav(b"")
    yield "zero-frames.aiff", aiff(frames=0, data=b"\0\0")
    for kind in ("flac", "ogg", "au", "caf", "w64"):
        yield f"zero-frames.{kind}", encoded(np.zeros(0), **KINDS[kind])
    for frames in (1, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"frames-{frames}.aiff", aiff(frames=frames)
    for channels in (-1, 0, 1000, 0x7FFF):
        yield f"channels-{channels}.aiff", aiff(channels=channels)
    for name, rate in (("zero", bytes(10)), ("nan", b"\x7f\xff" + b"\xff" * 8), ("huge", b"\x7f")):
        yield f"rate-{name}.aiff", aiff(rate=rate.ljust(10, b"\xfe"))
    full = bytearray(whole("flac"))
    for name, place, value in (
        ("rate-0", 18, b"\0\0\x02"), ("rate-655350", 18, b"\x9f\xff\x62"),
        ("frames-2-36", 21, b"\xff" * 5), ("block-0", 8, bytes(4)),
    ):  # fmt: skip
        yield f"{name}.flac", bytes(full[:place]) + value + bytes(full[place + len(value) :])
    page = bytearray(whole("ogg"))
    for name, place, value in (
        ("serial", 14, b"\xff" * 4), ("segments", 26, b"\xff"), ("rate", 40, b"\xff" * 4),
        ("rate-0", 40, bytes(4)), ("channels", 39, b"\xff"), ("granule", 6, b"\x7f" * 8),
    ):  # fmt: skip
        yield f"{name}.ogg", bytes(page[:place]) + value + bytes(page[place + len(value) :])


def odd_sounds() -> Iterator[tuple[str, bytes]]:
    """Give well-formed files of sound that is none, too long, too loud, or under a pile of tags."""
    for name, value in (("nan", np.nan), ("inf", np.inf), ("loud", 1e30), ("denormal", 1e-40)):
        samples = tone()
        samples[100] = value
        yield f"{name}.wav", encoded(samples, format="WAV", subtype="FLOAT")
        yield f"{name}.aiff", encoded(samples, format="AIFF", subtype="DOUBLE")
    yield "silence-of-an-hour.flac", encoded(np.zeros(HOUR * RATE, np.int16), format="FLAC")
    yield "silence.wav", encoded(np.zeros(RATE), format="WAV")
    yield "one-sample.wav", encoded(np.ones(1) / 2, format="WAV")
    yield "one-sample.flac", encoded(np.ones(1) / 2, format="FLAC")
    yield "constant.wav", encoded(np.full(RATE, 0.5), format="WAV")
    yield "square.wav", encoded(np.sign(tone()), format="WAV", subtype="FLOAT")
    yield "channels-64.wav", encoded(np.tile(tone(0.1)[:, None], 64), format="WAV")
    cancelling = tone()[:, None] * [1, -1]
    yield "cancels.wav", encoded(cancelling, format="WAV")
    mp3 = whole("mp3")
    for name, size in (("half-a-megabyte", 1 << 19), ("more-than-all", (1 << 28) - 1)):
        shifts = [size >> shift & 0x7F for shift in (21, 14, 7, 0)]
        tag = b"ID3\x04\0\0" + bytes(shifts) + bytes(min(size, 1 << 19))
        yield f"tag-{name}.mp3", tag + mp3
    yield "tags-of-tags.mp3", (b"ID3\x04\0\0\0\0\0\0") * 1000 + mp3
    yield "sync-words.mp3", b"\xff\xfb\x90\x64" * 5000
    yield "sync-words-far-apart.mp3", (b"\xff\xfb\x90\x64" + bytes(5000)) * 40
    comment = struct.pack("<I", 0xFFFFFFF0) + b"x" * 500
    yield "comment-of-4-GiB.flac", b"fLaC\x04\0\x02\0" + comment
    yield "picture-of-16-MiB.flac", whole("flac")[:42] + b"\x86\xff\xff\xff" + bytes(500)


def no_sounds() -> Iterator[tuple[str, bytes]]:
    """Give other things under the names of sounds."""
    things = {
        "text": b"Dear Sir or Madam,\n" * 40,
        "nul": bytes(1000),
        "html": b"<!DOCTYPE html><script>alert(1)</script>",
        "json": b'{"a": ' * 400,
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "zip": b"PK\x03\x04" + bytes(300),
        "gzip": b"\x1f\x8b\x08" + bytes(300),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(300),
        "midi": b"MThd" + bytes(300),
        "mp4": b"\0\0\0\x20ftypM4A " + bytes(300),
        "adts": b"\xff\xf1\x50\x80\x02\x1f\xfc" * 60,
        "matroska": b"\x1aE\xdf\xa3" + bytes(300),
        "utf-16": "sound".encode("utf-16") * 50,
        "playlist": b"#EXTM3U\nfile:///etc/passwd\nhttp://127.0.0.1:1/x\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "script": b"#!/bin/sh\ntouch broken-into\n",
        "random": np.random.default_rng(0).bytes(4000),
    }
    for what, content in things.items():
        for suffix in ("wav", "mp3", "m4a") if what != "random" else ("wav", "mp3", "flac", "m4a"):
            yield f"{what}.{suffix}", content


def odd_names() -> Iterator[tuple[bytes, bytes]]:
    """Give a good sound under names that are legal on POSIX and bite elsewhere."""
    names = (
        b"new\nline.wav", b"return\rof.wav", b"tab\t.wav", b"bell\a.wav", b"\x1b[31mred\x1b[0m.wav",
        b"not-utf8-\xff\xfe.wav", b"latin-\xe9.wav", "right-\u202eot-left\u202c.wav".encode(),
        "שלום.wav".encode(), "zero\u200bwidth.wav".encode(), "e\u0301.wav".encode(),
        b"..wav", b"...wav", b"-rf.wav", b"--help.wav", b"$(touch broken-into).wav",
        b"`id`.wav", b"a;b|c&d.wav", b"%s%n%d.wav", b"{0}.wav", b"..%2f..%2fx.wav",
        b"..\\..\\x.wav", b"con.wav", b"nul.wav", b"a:b.wav", b"'quote\".wav", b" space .wav",
        b"x" * 240 + b".wav", "🎺.wav".encode(), b"CAPS.WAV", b"two.wav.flac", b"*.wav", b"~.wav",
        b"https:.wav", b"<b>.wav",
    )  # fmt: skip
    for number, name in enumerate(names):
        # Each a sound of its own: equal ones would be left out as such.
        yield name, encoded(tone() * (0.5 + number / 100), format="WAV")


def make(folder: Path) -> list[bytes]:
    """Write everything; return the paths of the files, relative to `folder/bad`."""
    bad, outside = os.fsencode(folder / "bad"), folder / "outside"
    os.makedirs(bad)
    outside.mkdir()
    soundfile.write(outside / "secret.wav", tone(), RATE)
    (outside / "folder").mkdir()
    soundfile.write(outside / "folder" / "more.wav", 0.9 * tone(), RATE)
    made: list[bytes] = []
    for group, files in (
        ("cut", cut_and_spoilt()), ("lying", lying()), ("odd", odd_sounds()), ("none", no_sounds()),
        ("names", odd_names()),
    ):  # fmt: skip
        os.mkdir(os.path.join(bad, group.encode()))
        for name, content in files:
            plain = name if isinstance(name, bytes) else name.encode()
            path = os.path.join(group.encode(), plain)
            with open(os.path.join(bad, path), "xb") as file:
                file.write(content)
            made.append(path)
    return made + _links(bad, outside)


def _links(bad: bytes, outside: Path) -> list[bytes]:
    os.mkdir(os.path.join(bad, b"links"))
    targets = {
        b"out.wav": os.fsencode(outside / "secret.wav"),
        b"climbs.wav": b"../../outside/secret.wav",
        b"broken.wav": b"nowhere.wav",
        b"itself.wav": b"itself.wav",
        b"passwd.wav": b"/etc/passwd",
        b"zero.wav": b"/dev/zero",
        b"tty.wav": b"/dev/tty",
        b"folder.wav": os.fsencode(outside / "folder"),
        b"up": b"..",
    }
    for name, target in targets.items():
        os.symlink(target, os.path.join(bad, b"links", name))
    os.mkfifo(os.path.join(bad, b"links", b"pipe.wav"))
    os.mkdir(os.path.join(bad, b"links", b"is-a-folder.wav"))
    names = [*targets, b"pipe.wav", b"is-a-folder.wav"]
    return [os.path.join(b"links", name) for name in names]


if __name__ == "__main__":
    print(len(make(Path(sys.argv[1]))), "files")
