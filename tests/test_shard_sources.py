"""Shards from folders, commands and object stores; what fails names the shard and the mend."""

from __future__ import annotations

import functools
import http.server
import json
import shlex
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from sharded import make_shards, silent_noise, stream

from audiovae.cli import main
from audiovae.corpus import sources
from audiovae.corpus.kinds import open_corpus, open_recordings
from audiovae.corpus.shard_reader import ShardReader
from audiovae.corpus.shards import Shards
from audiovae.corpus.sources import Remote, find_source
from audiovae.errors import ConfigError, CorpusError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WAITS", (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    make_shards(silent_noise(root / "in", "ab", 6), root / "out", valid=0.2)
    return root / "out"


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    system = fsspec.filesystem("memory")
    system.put(str(folder), "/bucket/shards", recursive=True)
    yield "memory://bucket/shards"
    system.rm("/bucket", recursive=True)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def batches(place: str | Path) -> list[torch.Tensor]:
    loader = stream(Shards.open(place), rows=2, clip_samples=500)
    found = [torch.cat(list(loader.batch(step).values())) for step in (0, 3, 4, 5, 30)]
    loader.close()
    return found


def cat(folder: Path, name: str = "{}") -> str:
    """A command that gives a file, on any system."""
    code = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    return "pipe:" + shlex.join([sys.executable, "-c", code, f"{folder}/{name}"])


def test_every_source_gives_the_same_batches(folder: Path, memory: str, web: str) -> None:
    wanted, known = batches(folder), Shards.open(folder).fingerprint
    for place in (str(folder), memory, memory + "/", f"simplecache::{memory}", cat(folder), web):
        assert Shards.open(place).fingerprint == known
        assert all(torch.equal(a, b) for a, b in zip(batches(place), wanted, strict=True)), place
        assert isinstance(open_corpus(place, 8000), Shards)


def test_what_is_no_source_is_told(folder: Path, tmp_path: Path) -> None:
    for place, words in [
        ("pipe:", "expected a command with {}"),
        ("pipe:cat shards.json", "expected a command with {}"),
        ("pipe:{} x", "expected a command with {}"),
        ("pipe:cat '{}", "is no command"),
    ]:
        with pytest.raises(ConfigError, match=words):
            find_source(place)
    with pytest.raises(CorpusError, match=r"needs|can't be opened.*nothing|Protocol not known"):
        Shards.open("nothing://here/shards")
    with pytest.raises(CorpusError, match=r"shards\.json is not there: check the address"):
        Shards.open("memory://nowhere")
    with pytest.raises(CorpusError, match="'no-such-program' can't be run"):
        Shards.open("pipe:no-such-program {}")
    with pytest.raises(CorpusError, match=r"in 4 tries .*code 3: gone away"):
        code = "import sys; sys.stderr.write('gone away'); sys.exit(3)"
        Shards.open("pipe:" + shlex.join([sys.executable, "-c", code, "{}"]))
    with pytest.raises(CorpusError, match=r"in 4 tries \(.*check the address and the conn"):
        Shards.open("http://127.0.0.1:9/shards")
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars/a.tar").touch()
    with pytest.raises(CorpusError, match=r"holds tar files and no shards\.json"):
        open_corpus(tmp_path / "tars", 8000)
    with pytest.raises(CorpusError, match="asks for 16000"):
        open_corpus(folder, 16_000)
    with pytest.raises(CorpusError, match="give a store"):
        open_recordings(folder, 8000)


def test_without_fsspec_a_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(CorpusError, match=r"pip install 'audiovae\[remote\]'"):
        Shards.open("s3://bucket/shards")


# Safety


def test_an_index_names_plain_files_alone(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    index = tmp_path / "out/shards.json"
    whole = json.loads(index.read_text())
    canary = tmp_path / "canary"

    def refused(words: str, **facts: Any) -> None:
        values = json.loads(json.dumps(whole))
        values["shards"][0] |= facts
        index.write_text(json.dumps(values))
        for place in (tmp_path / "out", cat(tmp_path / "out")):
            with pytest.raises(CorpusError, match=words):
                batches(place)

    names = (
        "../a.tar", "/etc/passwd.tar", f"pipe:touch {canary};.tar", f"$(touch {canary}).tar",
        "-rf.tar", ".hidden.tar", "a b.tar", "s3://bucket/a.tar", "a.tar\n", "a.txt", "", "é.tar",
    )  # fmt: skip
    for file in names:
        refused("a shard's file is", file=file)
    refused("SHA-256|twice|not what", file=whole["shards"][1]["file"])
    refused("sha256 must", sha256="abc")
    refused("split must", split="all")
    refused("domain", domain="../x")
    refused("bytes must", bytes=True)
    for frames in ([], [0], [1 << 60], [1.5], "many", [True]):
        refused("sound", frames=frames)
    for text in ("", "[]", "{}", "[" * 100_000, '{"format": "audiovae-shards", "version": 99}'):
        index.write_text(text)
        with pytest.raises(CorpusError, match=r"anew|make one"):
            Shards.open(tmp_path / "out")
    assert not canary.exists()


# What breaks


def spoil(folder: Path, copy: Path, change: Any) -> Shards:
    """Open a copy of shards, and then change one of its files."""
    shutil.copytree(folder, copy)
    shards = Shards.open(copy)
    file = copy / shards.shards[0].file
    change(file, bytearray(file.read_bytes()))
    return shards


def read_first(shards: Shards) -> int:
    """Read the first shard to its end."""
    reader = ShardReader(shards.source, shards.shards[0], shards.sample_rate)
    try:
        return sum(len(reader.read(i)) for i in range(len(shards.shards[0].frames)))
    finally:
        reader.close()


def flip(place: int) -> Any:
    def change(file: Path, data: bytearray) -> None:
        data[place] ^= 4
        file.write_bytes(data)

    return change


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("vanished", lambda file, data: file.unlink(), "is not there"),
        ("cut", lambda file, data: file.write_bytes(data[: len(data) // 3]), "cut off"),
        ("end", lambda file, data: file.write_bytes(data[:-10_240]), "cut off|ends after"),
        ("empty", lambda file, data: file.write_bytes(b""), "cut off"),
        ("zeros", lambda file, data: file.write_bytes(bytes(len(data))), "cut off|ends after"),
        ("longer", lambda file, data: file.write_bytes(data + bytes(512)), "more than the"),
        ("sound", flip(512 + 900), "can't be decoded|damaged|SHA-256"),
        ("name", flip(3), "cut off|SHA-256"),
        ("end of the file", flip(-1), "SHA-256"),
        ("other", lambda file, data: file.write_text("no tar" * 999), "cut off"),
    ],
)
def test_a_spoilt_shard_is_named_with_its_mend(
    folder: Path, tmp_path: Path, name: str, change: Any, words: str
) -> None:
    shards = spoil(folder, tmp_path / "out", change)
    with pytest.raises(CorpusError, match=words) as told:
        read_first(shards)
    text = str(told.value)
    assert shards.shards[0].file in text and "run the prepare command" in text
    assert "\n" not in text and len(text) < 500
    if name in ("vanished", "cut", "end", "empty", "longer"):
        with pytest.raises(CorpusError, match=r"is not there|has \d+ bytes, not \d+"):
            Shards.open(tmp_path / "out")


def test_every_flipped_bit_is_told(folder: Path, tmp_path: Path) -> None:
    whole = read_first(Shards.open(folder))
    shutil.copytree(folder, tmp_path / "out")
    shards = Shards.open(tmp_path / "out")
    file = tmp_path / "out" / shards.shards[0].file
    data = file.read_bytes()
    for place in range(5, len(data), 97):
        flip(place)(file, bytearray(data))
        with pytest.raises(CorpusError, match="prepare command"):
            read_first(shards)
    file.write_bytes(data)
    assert read_first(shards) == whole


class Flaky:
    """A file that breaks off after some bytes."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.file, self.left = file, most

    def read(self, size: int = -1, /) -> bytes:
        if self.left <= 0:
            raise TimeoutError("the line went dead")
        data = self.file.read(min(size, self.left))
        self.left -= len(data)
        return data

    def close(self) -> None:
        self.file.close()


def test_reading_from_afar_is_tried_again_and_goes_on(
    memory: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, whole, opened = batches(folder), Remote._open, Counter[str]()

    def flaky(self: Remote, file: str) -> Any:
        """Break off at once, then after some sounds, and then not."""
        opened[file] += 1
        found = whole(self, file)
        return found if opened[file] > 2 else Flaky(found, 0 if opened[file] == 1 else 5000)

    monkeypatch.setattr(Remote, "_open", flaky)
    assert all(torch.equal(a, b) for a, b in zip(batches(memory), wanted, strict=True))
    assert min(opened[file] for file in opened if file.endswith(".tar")) >= 3
    monkeypatch.setattr(Remote, "_open", lambda self, file: Flaky(whole(self, file), 0))
    with pytest.raises(
        CorpusError, match=r"json can't be read in 4 tries \(TimeoutError: the line"
    ):
        Shards.open(memory)


def test_a_shard_that_vanishes_from_afar_is_told(memory: str) -> None:
    shards = Shards.open(memory)
    fsspec.filesystem("memory").rm("/bucket/shards/a-train-000000.tar")
    with pytest.raises(CorpusError, match=r"a-train-000000\.tar is not there: check the address"):
        read_first(shards)


def test_the_command_line_tells_it_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], web: str
) -> None:
    assert main(["info", web]) == 0
    assert "shards" in capsys.readouterr().out
    for words in (
        ["train", f"{web}/nothing", "-o", str(tmp_path / "run"), "--steps", "1"],
        ["train", "memory://nothing", "-o", str(tmp_path / "run"), "--steps", "1"],
        ["train", str(folder), "-o", str(tmp_path / "run"), "--steps", "1"],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("audiovae: ") and said.count("\n") == 1
