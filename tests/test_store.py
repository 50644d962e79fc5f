"""A store gives back its samples or says what is wrong with it; a folder of files does as well."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import RATE, make_folder, ramp, save, tone, write_groups

from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import FilesStore, Store
from audiovae.errors import CorpusError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = make_folder(tmp_path / "in", "ba", 3)
    save(folder / "a/ramp.wav", ramp(100, 5000))
    prepare(folder, tmp_path / "out", sample_rate=RATE, workers=1, progress=False)
    return tmp_path / "out"


def test_a_store_gives_its_recordings(place: Path) -> None:
    store = Store.open(place)
    assert store.sample_rate == RATE and store.domains == ["a", "b"]
    entry = store.entries("a")[-1]
    assert entry.path == "a/ramp.wav" and entry.offset == sum(
        e.frames for e in store.entries("a")[:-1]
    )
    sound = store.audio(entry, 10, 20)
    assert sound.dtype == np.int16 and sound.tolist() == list(range(110, 130))
    assert not sound.flags.owndata and not sound.flags.writeable
    total = sum(len(store.entries("a", split)) for split in ("train", "valid", "test"))
    assert total == len(store.entries("a")) == 4
    seconds = (3 + 0.3) + 5000 / RATE
    assert store.hours("a") == pytest.approx(seconds / 3600)
    assert store.hours("a", "train") + store.hours("a", "valid") == pytest.approx(store.hours("a"))


def test_reading_beyond_a_recording_is_no_sound_of_the_next(place: Path) -> None:
    store = Store.open(place)
    entry = store.entries("a")[0]
    for start, frames in [(0, entry.frames + 1), (-1, 10), (entry.frames, 1), (5, -1)]:
        with pytest.raises(IndexError, match=r"a/0\.wav"):
            store.audio(entry, start, frames)
    assert len(store.audio(entry, entry.frames, 0)) == 0


def test_a_store_travels_to_another_process_without_its_samples(place: Path) -> None:
    store = Store.open(place)
    entry = store.entries("a")[0]
    sound = store.audio(entry, 0, 100)
    data = pickle.dumps(store)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert np.array_equal(copy.audio(entry, 0, 100), sound)
    assert copy.fingerprint == store.fingerprint
    save(place.parent / "in/a/more.wav", tone(0.2))
    prepare(place.parent / "in", place, sample_rate=RATE, workers=1, progress=False)
    with pytest.raises(CorpusError, match="prepared anew"):
        pickle.loads(data)


def test_the_fingerprint_tells_stores_apart(place: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "in", tmp_path / "same", sample_rate=RATE, workers=1, progress=False)
    save(tmp_path / "in/a/more.wav", tone(0.2))
    prepare(tmp_path / "in", tmp_path / "other", sample_rate=RATE, workers=1, progress=False)
    prints = [Store.open(p).fingerprint for p in (place, tmp_path / "same", tmp_path / "other")]
    assert prints[0] == prints[1] != prints[2] and len(prints[0]) == 64


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_no_whole_store_is_refused(place: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(place, tmp_path / name))

    with pytest.raises(CorpusError, match="is no folder"):
        Store.open(tmp_path / "missing")
    with pytest.raises(CorpusError, match="holds no store"):
        Store.open(tmp_path / "in")
    (broken("unfinished") / "store.json").rename(tmp_path / "unfinished/.parts")
    (tmp_path / "unfinished/.parts").unlink()
    (tmp_path / "unfinished/.parts").mkdir()
    with pytest.raises(CorpusError, match="unfinished"):
        Store.open(tmp_path / "unfinished")
    (broken("short") / "audio/a.i16").write_bytes(b"12")
    with pytest.raises(CorpusError, match=r"a\.i16 has 2 bytes"):
        Store.open(tmp_path / "short")
    (broken("gone") / "audio/b.i16").unlink()
    with pytest.raises(CorpusError, match=r"b\.i16 has 0 bytes"):
        Store.open(tmp_path / "gone")
    (broken("bare") / "manifest.jsonl").unlink()
    with pytest.raises(CorpusError, match="manifest"):
        Store.open(tmp_path / "bare")
    lines = (place / "manifest.jsonl").read_text().splitlines(keepends=True)
    (broken("mixed") / "manifest.jsonl").write_text("".join(lines[::-1]))
    with pytest.raises(CorpusError, match="damaged"):
        Store.open(tmp_path / "mixed")
    for changes, words in [
        ({"version": 99}, "version 99"),
        ({"format": "zip"}, "not an audiovae store"),
        ({"sample_rate": "fast"}, "sample_rate"),
    ]:
        edit(broken(words) / "store.json", **changes)
        with pytest.raises(CorpusError, match=words):
            Store.open(tmp_path / words)


def test_an_unknown_domain_is_an_error_that_names_the_known(place: Path) -> None:
    with pytest.raises(CorpusError, match="the domains are a, b"):
        Store.open(place).entries("c")


# Straight from files


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = make_folder(tmp_path / "in", "ab", 5)
    rng = np.random.default_rng(0)
    for i, rate in enumerate((44_100, 22_050, 48_000, 7999, 96_000)):
        noise = 0.1 * rng.standard_normal((3 * rate, 1 + i % 2))
        save(folder / f"a/{rate}.wav", noise + tone(3, 440, rate)[:, None], rate)
    save(folder / "b/x.flac", tone(2, 300, 16_000), 16_000)
    save(folder / "b/x.ogg", tone(3, 300, 32_000), 32_000)
    shutil.copy(folder / "a/0.wav", folder / "b/copy.wav")
    (folder / "b/broken.wav").write_text("no sound")
    write_groups(folder, {"a/1.wav": "one", "b/1.wav": "one"})
    prepare(folder, tmp_path / "out", sample_rate=RATE, workers=1, progress=False, valid=0.3)
    return folder


def test_files_give_what_the_store_holds(mixed: Path, tmp_path: Path) -> None:
    store, direct = Store.open(tmp_path / "out"), FilesStore(mixed, sample_rate=RATE, valid=0.3)
    assert direct.domains == store.domains
    assert [path for path, _ in direct.skipped] == ["b/broken.wav", "b/copy.wav"]
    rng = np.random.default_rng(1)
    for domain in store.domains:
        pairs = zip(store.entries(domain), direct.entries(domain), strict=True)
        for held, there in pairs:
            for name in ("path", "sha256", "frames", "sample_rate", "channels", "split", "group"):
                assert getattr(held, name) == getattr(there, name), (held, name)
            ranges = [(0, 700), (held.frames - 500, 500), (0, held.frames), (held.frames, 0)]
            ranges += [(int(rng.integers(held.frames - 900)), 900) for _ in range(6)]
            for start, frames in ranges:
                a = store.audio(held, start, frames).astype(int)
                b = direct.audio(there, start, frames).astype(int)
                exact = held.sample_rate == RATE and held.channels == 1
                assert len(a) == len(b) == frames
                assert np.abs(a - b).max(initial=0) <= (0 if exact else 1), (held.path, start)


def test_files_refuse_what_a_store_would(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        FilesStore(tmp_path / "in")
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "in/a/x.wav").write_text("no sound")
    with pytest.raises(CorpusError, match="no recording can be read"):
        FilesStore(tmp_path / "in")
    save(tmp_path / "in/a/y.wav", tone(1))
    direct = FilesStore(tmp_path / "in", sample_rate=RATE)
    with pytest.raises(IndexError):
        direct.audio(direct.entries("a")[0], 0, RATE + 1)
