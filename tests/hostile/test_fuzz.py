"""Fuzzing: whatever is read from a stranger is read, or refused by an error of the package."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_bad_files import KINDS, tone, whole
from mutations import DEEP, EDITS, VALUES, changes_of, edited, examples, in_time
from webs import serving, web_of

from audiovae.audio.files import probe, read, stream
from audiovae.config_files import load_config
from audiovae.corpus.manifest import Entry, format_entry, parse_entry, read_manifest
from audiovae.errors import AudioError, CheckpointError, ConfigError, CorpusError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.weights import load_model
from audiovae.tables import to_dict

ENTRY = Entry("a/b.wav", "a", "0" * 64, 100, 8000, 1, -20.0, "train", None, 0)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# Sound


def small(kind: str) -> bytes:
    """Return a short sound, in a format of libsndfile or as AAC."""
    if kind in KINDS:
        return whole(kind)
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format={"m4a": "mp4", "aac": "adts"}[kind]) as out:
        to = out.add_stream("aac", rate=8000)
        samples = tone(0.25).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in [*to.encode(frame), *to.encode(None)]:
            out.mux(packet)
    return buffer.getvalue()


def go_through(path: Path) -> None:
    try:
        probe(path)
        read(path, frames=500)
        for _ in stream(path, 1 << 12, 16_000):
            pass
    except AudioError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", [*KINDS, "m4a", "aac"])
def test_sounds(kind: str, scratch: Path) -> None:
    content, path = small(kind), scratch / f"fuzzed.{kind}"
    path.write_bytes(content)
    assert probe(path).frames > 0

    @examples(0.055)
    @given(EDITS)
    def check(edits: list) -> None:
        path.write_bytes(edited(content, edits))
        with in_time():
            go_through(path)

    check()


def test_any_bytes_by_any_name(scratch: Path) -> None:
    @examples(0.06)
    @given(
        st.sampled_from([b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"ID3", b"FORM", b"caff", b""]),
        st.binary(max_size=400),
        st.sampled_from([*KINDS, "m4a", "aac"]),
    )
    def check(head: bytes, rest: bytes, kind: str) -> None:
        path = scratch / f"any.{kind}"
        path.write_bytes(head + rest)
        with in_time():
            go_through(path)

    check()


# Tables


def try_manifest(text: bytes, path: Path) -> None:
    path.write_bytes(text)
    with contextlib.suppress(CorpusError):
        read_manifest(path)


def test_manifests(scratch: Path) -> None:
    line, path = format_entry(ENTRY), scratch / "manifest.jsonl"
    for text in DEEP:
        try_manifest(text.encode(), path)

    @examples(0.06)
    @given(EDITS)
    def check_bytes(edits: list) -> None:
        with in_time():
            try_manifest(edited(f"{line}\n".encode() * 3, edits), path)

    @examples(0.06)
    @given(changes_of(json.loads(line)))
    def check_values(values: object) -> None:
        with contextlib.suppress(CorpusError):
            parse_entry(json.dumps(values), "here")

    check_bytes()
    check_values()


def try_config(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        load_config(path)


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_settings(suffix: str, scratch: Path) -> None:
    path = scratch / f"settings.{suffix}"
    preset = resources.files("audiovae").joinpath("presets", "tiny.toml").read_bytes()
    table = to_dict(load_config("tiny"))
    content = preset if suffix == "toml" else json.dumps(table).encode()
    for text in DEEP:
        try_config((f"a = {text}" if suffix == "toml" else text).encode(), path)

    @examples(0.04)
    @given(EDITS)
    def check_bytes(edits: list) -> None:
        with in_time():
            try_config(edited(content, edits), path)

    @examples(0.06)
    @given(changes_of(table))
    def check_values(values: object) -> None:
        with in_time():
            try_config(json.dumps(values).encode(), scratch / "settings.json")

    check_bytes()
    check_values()


# Checkpoints


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the tiny model that lists no checksums: nothing hides what is in its files."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    header = json.loads((folder / "config.json").read_text())
    del header["files"]
    (folder / "config.json").write_text(json.dumps(header))
    yield folder
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def try_checkpoint(folder: Path) -> None:
    try:
        load_model(folder, ["flute"])
    except (CheckpointError, ConfigError) as error:
        assert "\n" not in str(error)


def test_headers_of_checkpoints(checkpoint: Path) -> None:
    path = checkpoint / "config.json"
    content = path.read_bytes()
    assert load_model(checkpoint).domains
    for text in DEEP:
        path.write_text(text)
        try_checkpoint(checkpoint)

    @examples(0.03)
    @given(EDITS)
    def check_bytes(edits: list) -> None:
        path.write_bytes(edited(content, edits))
        with in_time():
            try_checkpoint(checkpoint)

    @examples(0.06)
    @given(changes_of(json.loads(content)))
    def check_values(values: object) -> None:
        path.write_text(json.dumps(values))
        with in_time():
            try_checkpoint(checkpoint)

    check_bytes()
    check_values()


def test_safetensors(checkpoint: Path) -> None:
    path = checkpoint / "decoders" / "flute.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + size])

    @examples(0.03)
    @given(EDITS)
    def check_bytes(edits: list) -> None:
        path.write_bytes(edited(content, [(k, w % (size + 16), p) for k, w, p in edits]))
        with in_time():
            try_checkpoint(checkpoint)

    @examples(0.03)
    @given(changes_of(table), VALUES)
    def check_values(values: object, length: object) -> None:
        head = json.dumps(values).encode("utf-8", "replace")
        said = length if isinstance(length, int) and 0 <= length < 1 << 64 else len(head)
        path.write_bytes(said.to_bytes(8, "little") + head + content[8 + size :])
        with in_time():
            try_checkpoint(checkpoint)

    check_bytes()
    check_values()


# The web page


def test_uploads(tiny_model: AudioVAE) -> None:
    sounds = [whole(kind) for kind in ("wav", "flac", "ogg", "mp3")]
    web = web_of(tiny_model, per_minute=100_000, max_seconds=5.0)
    with serving(web) as client:
        assert client.post("/sounds", content=sounds[0]).status_code == 201

        @examples(0.08)
        @given(st.sampled_from(sounds), EDITS)
        def check(sound: bytes, edits: list) -> None:
            with in_time():
                answer = client.post("/sounds", content=edited(sound, edits))
            assert answer.status_code in (201, 413, 415, 422), answer.text
            assert "Traceback" not in answer.text
            if answer.status_code == 201:
                assert client.delete(f"/sounds/{answer.json()['sound']}").status_code == 204
            else:
                (error,) = answer.json().values()
                assert "\n" not in error and str(web.shelf.folder) not in error

        check()
