"""What fuzzing found stays mended; and its seeds are good files."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import soundfile
from make_bad_files import KINDS, tone, whole
from mutations import in_time
from test_fuzz import checkpoint, scratch, small

from audiovae.audio.files import probe
from audiovae.errors import AudioError, CheckpointError
from audiovae.model.weights import load_model

__all__ = ["checkpoint", "scratch"]  # fixtures


def test_a_file_of_a_million_chunks_is_soon_refused(scratch: Path) -> None:
    path = scratch / "chunks.wav"
    head = b"RIFF\xff\xff\xff\x7fWAVE"
    path.write_bytes(head + (b"JUNK" + bytes(4)) * 3_000_000)
    with in_time(), pytest.raises(AudioError):
        probe(path)


def test_a_cut_of_au_w64_and_caf_is_told(scratch: Path) -> None:
    for kind in ("au", "w64", "caf"):
        path = scratch / f"cut.{kind}"
        content = whole(kind)
        path.write_bytes(content)
        assert probe(path).frames == len(tone())
        path.write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(AudioError, match="truncated"):
            probe(path)


def test_a_codec_that_nobody_knows_is_refused(scratch: Path) -> None:
    path, content = scratch / "codec.m4a", small("m4a")
    assert content.count(b"stsd") == 1  # which says how samples are coded
    path.write_bytes(content.replace(b"stsd", b"free"))
    with pytest.raises(AudioError, match="can't be decoded"):
        probe(path)


def test_what_safetensors_quotes_of_a_file_is_on_one_line(checkpoint: Path) -> None:
    path = checkpoint / "decoders" / "flute.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + size])
    table["ceiling"]["dtype"] = "\n"
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + content[8 + size :])
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        load_model(checkpoint, ["flute"])
    assert "\n" not in str(caught.value)


def test_sounds_are_as_they_were(scratch: Path) -> None:
    """The seeds of the fuzzing are good files, and not all the same."""
    sums = set()
    for kind in KINDS:
        path = scratch / f"seed.{kind}"
        path.write_bytes(whole(kind))
        sums.add(zlib.crc32(path.read_bytes()))
        assert soundfile.info(path).frames > 0
    assert len(sums) == len(KINDS)
