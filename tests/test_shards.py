"""`prepare --shards`: what webdataset reads, deterministic, resumable, and mended where damaged."""

from __future__ import annotations

import gc
import importlib.util
import io
import itertools
import json
import shutil
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from recordings import RATE, contents, make_folder, run_prepare, save, tone, write_groups
from sharded import LENGTHS, make_shards, silent_noise, write_ramps

from audiovae.cli import main
from audiovae.corpus import pack
from audiovae.corpus import prepare as prepare_module
from audiovae.corpus.adopt import index_shards
from audiovae.corpus.convert import cut
from audiovae.corpus.shard_reader import ShardReader
from audiovae.corpus.shards import Shards
from audiovae.corpus.store import Store
from audiovae.errors import ConfigError, CorpusError

needs_webdataset = pytest.mark.skipif(
    importlib.util.find_spec("webdataset") is None, reason="needs webdataset"
)


def read_all(url: str | list[str]) -> list[dict[str, Any]]:
    """Read shards by webdataset, which leaves their files for the garbage collector to close."""
    import webdataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = list(webdataset.WebDataset(url, shardshuffle=False))
        gc.collect()
    return found


def samples(shards: Shards) -> dict[str, dict[int, np.ndarray]]:
    """Every piece of every recording, as webdataset reads it."""
    found: dict[str, dict[int, np.ndarray]] = {}
    by_name = {shards.source.name(shard.file): shard for shard in shards.shards}
    for sample in read_all(list(by_name)):
        facts, shard = json.loads(sample["json"]), by_name[sample["__url__"]]
        audio, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")
        assert (rate, len(audio)) == (RATE, facts["frames"])
        assert (facts["domain"], facts["split"]) == (shard.domain, shard.split)
        found.setdefault(facts["path"], {})[facts["piece"]] = audio
    return found


@needs_webdataset
def test_webdataset_reads_in_shards_what_a_store_holds(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 5, 3.0)
    save(folder / "a/loud.wav", tone(2, 300, level=2.0), subtype="FLOAT")
    write_groups(folder, {"a/0.wav": "one", "b/0.wav": "one"})
    run_prepare(folder, tmp_path / "store", valid=0.3)
    shards, store = make_shards(folder, tmp_path / "out", valid=0.3), Store.open(tmp_path / "store")
    assert len(shards.of("a", "train")) > 1
    found = samples(shards)
    for domain in "ab":
        for entry in store.entries(domain):
            pieces = found.pop(entry.path)
            whole = np.concatenate([pieces[i] for i in range(len(pieces))])
            assert np.array_equal(whole, store.audio(entry, 0, entry.frames)), entry.path
        assert shards.hours(domain, "valid") == store.hours(domain, "valid") > 0
    assert not found
    assert shards.loudness("ab") == pytest.approx(store.loudness("ab"), abs=0.051)


def test_a_sample_says_where_it_is_from(tmp_path: Path) -> None:
    save(tmp_path / "in/a/x.wav", tone(2.6, 300, level=2.0), subtype="FLOAT")
    write_groups(tmp_path / "in", {"a/x.wav": "duet"})
    make_shards(tmp_path / "in", tmp_path / "out", shard_mb=1.0)
    with tarfile.open(tmp_path / "out/a-train-000000.tar") as tar:
        members = tar.getmembers()
        texts = [json.load(tar.extractfile(m)) for m in members if m.name.endswith("json")]
    assert all((m.mtime, m.uid, m.gid, m.uname) == (0, 0, 0, "") for m in members)
    texts.sort(key=lambda facts: facts["piece"])
    assert [facts["seconds"] for facts in texts] == [1.0, 1.0, 0.6]
    assert [facts["start"] for facts in texts] == [0.0, 1.0, 2.0]
    for facts in texts:
        assert (facts["path"], facts["group"], facts["pieces"]) == ("a/x.wav", "duet", 3)
        assert facts["gain"] == pytest.approx(0.5, rel=1e-3)
        assert facts["recording"]["loudness"] == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("frames", [1, 99, 100, 149, 150, 151, 1000, 1049, 1050])
def test_pieces_are_no_splinters(frames: int) -> None:
    lengths = cut(frames, 100)
    assert sum(lengths) == frames and max(lengths) < 150
    assert len(lengths) == 1 or min(lengths) >= 50


@needs_webdataset
def test_shards_have_one_size_and_names_for_braces(tmp_path: Path) -> None:
    folder = silent_noise(tmp_path / "in", "a", 40)
    shutil.move(folder / "a", folder / "ä {1,2}")
    shards = make_shards(folder, tmp_path / "out", shard_mb=0.03).of("ä {1,2}", "train")
    names = [shard.file for shard in shards]
    assert len(names) > 5 and max(shard.bytes for shard in shards) < 30_000 + 10_240 + 20_000
    stem = names[0].removesuffix("-train-000000.tar")
    assert stem.isascii() and not set(stem) & set(" {},")
    url = f"{tmp_path}/out/{stem}-train-{{000000..{len(names) - 1:06d}}}.tar"
    read = [s["__key__"] for s in read_all(url)]
    assert len(read) == len(set(read)) == sum(len(shard.frames) for shard in shards)
    # Neighbours are of any recordings.
    of = [key[:20] for key in read]
    assert sum(a == b for a, b in itertools.pairwise(of)) < len(of) / 10


# Again


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 4, 2.0)
    one = make_shards(folder, tmp_path / "one")
    two = make_shards(folder, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != make_shards(folder, tmp_path / "three", piece=1.5).fingerprint


def test_again_converts_and_writes_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "in", "ab", 6, 2.0)
    make_shards(folder, tmp_path / "out")
    converted, written = [], []
    convert, write = prepare_module.convert, pack._write
    monkeypatch.setattr(
        prepare_module,
        "convert",
        lambda task: (converted.append(task.source.path), convert(task))[1],
    )
    monkeypatch.setattr(
        pack, "_write", lambda target, *a: (written.append(target.name), write(target, *a))[1]
    )
    before = contents(tmp_path / "out")
    options = {"shards": True, "piece": 1.0, "shard_mb": 0.005, "valid": 0.0}
    report = run_prepare(folder, tmp_path / "out", **options)
    assert report.unchanged and not converted and not written
    assert "were there already and are unchanged" in report.table()
    save(folder / "b/new.wav", tone(2, 777))
    run_prepare(folder, tmp_path / "out", **options)
    assert converted == ["b/new.wav"] and all(name.startswith("b") for name in written)
    make_shards(folder, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    # One file is damaged, another one gone: what they held is converted anew.
    del converted[:], written[:]
    for domain in "ab":
        file = tmp_path / f"out/{domain}-train-000000.tar"
        data = bytearray(file.read_bytes())
        data[3000] ^= 1
        file.write_bytes(data) if domain == "a" else file.unlink()
    run_prepare(folder, tmp_path / "out", **options)
    assert 0 < len(converted) < 13 and {"a-train-000000.tar", "b-train-000000.tar"} <= set(written)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    (folder / "b/new.wav").unlink()
    run_prepare(folder, tmp_path / "out", **options)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("at", range(0, 12))
def test_stopped_at_any_shard_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    folder = make_folder(tmp_path / "in", "a", 3, 2.0)
    make_shards(folder, tmp_path / "whole")
    replace, moves, written = pack.os.replace, [], []

    def stop(a: Path, b: Path) -> None:
        if len(moves) == at:
            raise KeyboardInterrupt
        moves.append(b)
        replace(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(pack.os, "replace", stop)
        try:
            make_shards(folder, tmp_path / "out")
        except KeyboardInterrupt:
            assert not (tmp_path / "out/shards.json").exists()
            with pytest.raises(CorpusError):
                Shards.open(tmp_path / "out")
    add = pack._add
    monkeypatch.setattr(
        pack, "_add", lambda tar, name, data: (written.append(name), add(tar, name, data))
    )
    make_shards(folder, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    finished = [m for m in moves if m.suffix == ".tar" and ".parts" in str(m)]
    assert len(written) <= 12 - 2 * len(finished)


def test_another_form_and_wrong_settings_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "a", 2)
    run_prepare(folder, tmp_path / "store", valid=0.0)
    make_shards(folder, tmp_path / "out")
    with pytest.raises(CorpusError, match="something else than shards"):
        make_shards(folder, tmp_path / "store")
    with pytest.raises(CorpusError, match="something else than a store"):
        run_prepare(folder, tmp_path / "out")
    for options in ({"piece": 0.5}, {"piece": 500.0}, {"shard_mb": 0}, {"sample_rate": 700_000}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            make_shards(folder, tmp_path / "x", **options)


# Of others


def write_foreign(folder: Path, name: str, sounds: list[np.ndarray], facts: object = None) -> None:
    """Write a shard by webdataset, whose samples have a sound, and facts where they are given."""
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(folder / name)) as writer:
        for number, sound in enumerate(sounds):
            file = io.BytesIO()
            soundfile.write(file, sound, RATE, format="FLAC", subtype="PCM_16")
            sample = {"__key__": f"take/{number:03d}", "flac": file.getvalue(), "txt": "hello"}
            writer.write(sample | ({} if facts is None else {"json": facts}))


@needs_webdataset
def test_shards_that_webdataset_wrote_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "their shards"
    sounds = [rng.integers(-9999, 9999, 900 + i).astype(np.int16) for i in range(5)]
    write_foreign(folder, "oboe-000000.tar", sounds)
    write_foreign(folder, "oboe-valid-000000.tar", [sounds[0]])
    write_foreign(folder, "x.tar", [np.stack([sounds[1], sounds[1]], 1)], {"domain": "violin"})
    assert (
        main(["prepare", str(folder), "-o", str(folder), "--shards", "--sample-rate", "8000"]) == 0
    )
    assert "sounds: 5" in capsys.readouterr().out
    shards = Shards.open(folder)
    assert shards.domains == ["oboe", "violin"] and np.isnan(shards.loudness(["oboe"]))
    (shard,) = shards.of("oboe", "train")
    reader = ShardReader(shards.source, shard, RATE)
    assert all(np.array_equal(reader.read(i), sound) for i, sound in enumerate(sounds))
    reader.close()
    reader = ShardReader(shards.source, shards.of("violin")[0], RATE)
    assert np.array_equal(reader.read(0), sounds[1])
    reader.close()
    assert main(["info", str(folder)]) == 0
    assert "violin" in capsys.readouterr().out


@needs_webdataset
def test_what_fits_no_corpus_is_told(tmp_path: Path) -> None:
    def refused(name: str, *arguments: object) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write_foreign(folder, name, *arguments)  # type: ignore[arg-type]
        with pytest.raises(CorpusError) as told:
            index_shards(folder, RATE)
        return str(told.value)

    sound = np.zeros(900, np.int16)
    assert "rename it" in refused("a b.tar", [sound])
    assert "no sound" in refused("a.tar", [])
    assert "'nobody'" in refused("a.tar", [sound], {"split": "nobody"})
    assert "domain" in refused("a.tar", [sound], {"domain": ".."})
    (tmp_path / "cut").mkdir()
    write_foreign(tmp_path / "good", "a.tar", [sound] * 20)
    data = (tmp_path / "good/a.tar").read_bytes()
    (tmp_path / "cut/a.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorpusError, match="cut off"):
        index_shards(tmp_path / "cut", RATE)
    with pytest.raises(CorpusError, match="8000 Hz; expected 16000"):
        index_shards(tmp_path / "good", 2 * RATE)


def test_a_shard_of_two_domains_is_told(tmp_path: Path) -> None:
    write_ramps(tmp_path / "in")
    make_shards(tmp_path / "in", tmp_path / "out", shard_mb=1.0)
    with tarfile.open(tmp_path / "mixed.tar", "w") as out:
        for domain in "ab":
            with tarfile.open(tmp_path / f"out/{domain}-train-000000.tar") as tar:
                for member in tar:
                    out.addfile(member, tar.extractfile(member))
    (tmp_path / "mixed").mkdir()
    shutil.move(tmp_path / "mixed.tar", tmp_path / "mixed/mixed.tar")
    with pytest.raises(CorpusError, match=r"2 domains \(a, b…\)"):
        index_shards(tmp_path / "mixed", RATE)
    assert sum(LENGTHS) * 2 == sum(
        int(s.frames.sum()) for s in Shards.open(tmp_path / "out").shards
    )
