"""Fuzzing of shards and their index: read, or refused by an error that names the file."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from mutations import DEEP, EDITS, changes_of, edited, examples, in_time
from recordings import RATE
from sharded import make_shards, write_ramps

from audiovae.corpus.adopt import index_shards
from audiovae.corpus.kinds import make_loader
from audiovae.corpus.shard_reader import ShardReader
from audiovae.corpus.shards import Shards
from audiovae.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of one domain: an index and a tar file."""
    root = tmp_path_factory.mktemp("fuzz")
    make_shards(write_ramps(root / "in", "a"), root / "out", shard_mb=1.0)
    assert {path.name for path in (root / "out").iterdir()} == {"shards.json", "a-train-000000.tar"}
    return root / "out"


def train_on(folder: Path) -> None:
    """Open shards and read a batch, as a training does."""
    with contextlib.suppress(UserError):
        shards = Shards.open(folder)
        shards.loudness(shards.domains)
        loader = make_loader(
            shards, domains=shards.domains, split="train", rows=1, clip_samples=500, seed=0
        )
        with contextlib.closing(loader):
            loader.batch(0)


def test_indexes(folder: Path) -> None:
    index = folder / "shards.json"
    whole = index.read_bytes()

    def attempt(content: bytes) -> None:
        index.write_bytes(content)
        with in_time():
            train_on(folder)

    for text in DEEP:
        attempt(text.encode())

    @examples(0.05)
    @given(EDITS)
    def check_bytes(edits: list) -> None:
        attempt(edited(whole, edits))

    @examples(0.05)
    @given(changes_of(json.loads(whole)))
    def check_values(values: object) -> None:
        attempt(json.dumps(values).encode())

    check_bytes()
    check_values()
    index.write_bytes(whole)


def test_tar_files(folder: Path, tmp_path: Path) -> None:
    shards = Shards.open(folder)
    (shard,) = shards.shards
    whole, copy = (folder / shard.file).read_bytes(), tmp_path / shard.file

    @examples(0.05)
    @given(EDITS)
    def check(edits: list) -> None:
        content = edited(whole, edits)
        (folder / shard.file).write_bytes(content)
        copy.write_bytes(content)
        reader = ShardReader(shards.source, shard, RATE)
        with in_time():
            try:
                sounds = [len(reader.read(i)) for i in range(len(shard.frames))]
            except UserError as error:
                assert shard.file in str(error) and "\n" not in str(error)
            else:
                assert content == whole and sounds == shard.frames.tolist()
            finally:
                reader.close()
            with contextlib.suppress(UserError):
                index_shards(tmp_path, RATE)

    check()
    (folder / shard.file).write_bytes(whole)
    assert [p.name for p in tmp_path.iterdir() if p.suffix not in (".tar", ".json")] == []
