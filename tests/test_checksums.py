"""A store notices damage where it is read, and the same prepare command mends it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from recordings import RATE, make_folder

from audiovae.corpus import checksums
from audiovae.corpus.loader import Loader
from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import Store
from audiovae.errors import CorpusError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two domains of three recordings, whose samples take several blocks."""
    monkeypatch.setattr(checksums, "BLOCK", 2048)
    return make_folder(tmp_path / "in", "ab", 3)


def made(folder: Path) -> Path:
    """Prepare a folder, again where it was prepared; return the store."""
    place = folder.parent / "out"
    prepare(folder, place, sample_rate=RATE, workers=1, progress=False)
    return place


def contents(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


def test_each_block_of_a_file_has_a_checksum(folder: Path) -> None:
    samples = made(folder) / "audio/a.i16"
    data = samples.read_bytes()
    sums = [zlib.crc32(data[at : at + 2048]) for at in range(0, len(data), 2048)]
    assert len(sums) == -(-samples.stat().st_size // 2048) > 3
    assert np.array_equal(np.fromfile(samples.with_suffix(".crc32"), "<u4"), sums)
    known = json.loads((folder.parent / "out/store.json").read_text())["checksums"]
    assert known["a"] == checksums.sum_of_sums(np.array(sums, "<u4")) != known["b"]


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 10_000])
def test_what_comes_in_pieces_has_the_sums_of_the_whole(folder: Path, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    whole, pieces = checksums.Summing(), checksums.Summing()
    whole.update(data)
    for at in range(0, size, 777):
        pieces.update(data[at : at + 777])
    assert np.array_equal(pieces.sums, whole.sums) and len(whole.sums) == -(-size // 2048)


def test_a_flipped_bit_is_an_error_where_it_is_read_and_nowhere_else(folder: Path) -> None:
    place = made(folder)
    last = Store.open(place).entries("a")[-1]
    flip(place / "audio/a.i16", 2 * (last.offset + last.frames) - 1)
    store = Store.open(place)
    first = store.entries("a")[0]
    assert len(store.audio(first, 0, first.frames)) == first.frames
    with pytest.raises(CorpusError, match=rf"a\.i16 is damaged in {last.path}: run the same prep"):
        store.audio(last, last.frames - 1, 1)
    assert len(store.audio(last, 0, 100)) == 100
    assert [store.is_whole(e) for e in store.entries("a")] == [True, True, False]


@pytest.mark.parametrize("reader", ["memmap", "resident"])
def test_training_does_not_go_on_with_damaged_samples(folder: Path, reader: str) -> None:
    place = made(folder)
    for position in range(1000, (place / "audio/b.i16").stat().st_size, 2000):
        flip(place / "audio/b.i16", position)
    loader = Loader(
        Store.open(place), domains=["a", "b"], split="train", rows=1, clip_samples=200, seed=0,
        pairing="none", reader=reader, device="cpu",
    )  # fmt: skip
    with pytest.raises(CorpusError, match=r"b\.i16 is damaged"):
        loader.batch(0)


@pytest.mark.parametrize(
    ("file", "position"), [("a.i16", 0), ("a.i16", -1), ("b.crc32", 2), ("a.crc32", -1)]
)
def test_the_same_command_mends_what_is_damaged(folder: Path, file: str, position: int) -> None:
    place = made(folder)
    whole = contents(place)
    flip(place / "audio" / file, position)
    assert contents(place) != whole
    made(folder)
    assert contents(place) == whole


def test_checksums_that_are_gone_are_told_and_mended(folder: Path) -> None:
    place = made(folder)
    whole = contents(place)
    (place / "audio/a.crc32").unlink()
    store = Store.open(place)
    with pytest.raises(CorpusError, match=r"a\.crc32 is damaged: run the same prepare command"):
        store.audio(store.entries("a")[0], 0, 1)
    assert len(store.audio(store.entries("b")[0], 0, 1)) == 1
    made(folder)
    assert contents(place) == whole


def test_a_store_from_before_checksums_is_read_and_gets_them(folder: Path) -> None:
    place = made(folder)
    whole = contents(place)
    settings = json.loads((place / "store.json").read_text())
    del settings["checksums"]
    (place / "store.json").write_text(json.dumps(settings))
    for file in (place / "audio").glob("*.crc32"):
        file.unlink()
    store = Store.open(place)
    assert len(store.audio(store.entries("a")[0], 0, 100)) == 100
    assert store.fingerprint == Store.open(made(folder)).fingerprint
    assert contents(place) == whole


@pytest.mark.parametrize("value", [[], "a", {"a": 3}])
def test_checksums_that_are_none_are_refused(folder: Path, value: object) -> None:
    place = made(folder)
    settings = json.loads((place / "store.json").read_text())
    (place / "store.json").write_text(json.dumps(settings | {"checksums": value}))
    with pytest.raises(CorpusError, match="checksums"):
        Store.open(place)
