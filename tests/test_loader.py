"""Batches are a pure function of the step: the same from any reader, process, rank and order."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from recordings import CLIP, RATE, load, make_store, numbers, ramp, save, write_groups

from audiovae.corpus import loader as loader_module
from audiovae.corpus.loader import Loader
from audiovae.corpus.store import FilesStore, Store
from audiovae.errors import ConfigError, CorpusError


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of many lengths, some shorter than a clip, half of each recording silent."""
    folder = tmp_path_factory.mktemp("loader") / "in"
    rng = np.random.default_rng(0)
    for domain in ("a", "b", "c"):
        for i in range(12):
            noise = 3000 * rng.standard_normal(int(rng.integers(300, 6000)))
            noise[: len(noise) // 2] = 0
            save(folder / domain / f"{i}.wav", noise.astype(np.int16))
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return make_store(folder)


def test_a_batch_has_as_many_rows_of_each_domain(store: Store) -> None:
    batch = load(store).batch(0)
    assert list(batch) == ["a", "b", "c"]
    for clips in batch.values():
        assert clips.shape == (3, CLIP) and clips.dtype == torch.float32
        assert clips.is_contiguous() and 0.01 < clips.abs().max() < 1
        assert np.array_equal(clips.numpy() * 32768, numbers(clips))
    assert load(store, rows=0).batch(0)["b"].shape == (0, CLIP)
    assert list(load(store, domains=["c", "a"]).batch(0)) == ["c", "a"]


def test_a_domains_clips_do_not_depend_on_the_others(store: Store) -> None:
    assert torch.equal(load(store).batch(4)["b"], load(store, domains=["b", "a"]).batch(4)["b"])


def test_steps_in_any_order_give_the_same_batches(store: Store) -> None:
    ahead, back = load(store), load(store)
    first = [ahead.batch(step) for step in range(12)]
    for step in (11, 3, 4, 0, 10, 9, 9, 7):
        assert same(back.batch(step), first[step])
    assert same(ahead.batch(0), first[0])


def test_ranks_share_the_rows_of_one_batch(store: Store) -> None:
    whole = load(store, rows=4).batch(5)
    for rank in range(2):
        part = load(store, rows=2, row_offset=2 * rank).batch(5)
        assert all(torch.equal(part[d], whole[d][2 * rank : 2 * rank + 2]) for d in whole)


def test_seed_step_row_and_domain_change_the_clip(store: Store) -> None:
    batch = load(store, rows=3).batch(0)
    seen = {clip.numpy().tobytes() for clips in batch.values() for clip in clips}
    for other in (load(store).batch(1), load(store, seed=2).batch(0)):
        seen |= {clip.numpy().tobytes() for clips in other.values() for clip in clips}
    assert len(seen) == 27


@pytest.mark.parametrize("pairing", ["none", "aligned"])
def test_all_readers_give_the_same_batches(tmp_path: Path, folder: Path, pairing: str) -> None:
    folder = Path(shutil.copytree(folder, tmp_path / "in"))
    paths = [p.relative_to(folder).as_posix() for p in folder.rglob("*.wav")]
    write_groups(folder, {path: Path(path).stem for path in paths})
    store, direct = make_store(folder), FilesStore(folder, sample_rate=RATE, valid=0.2)
    memmap = load(store, pairing=pairing, reader="memmap")
    resident = load(store, pairing=pairing, reader="resident")
    files = load(direct, pairing=pairing)
    device = load(store, pairing=pairing, reader="resident")
    assert (load(store).reader, files.reader) == ("memmap", "files")
    for step in range(8):
        expected = memmap.batch(step)
        assert same(resident.batch(step), expected)
        assert same(files.batch(step), expected)
        on_device = device._cut_on_device(step, [0, 1, 2]).view(3, 3, CLIP)
        assert np.array_equal(on_device, np.stack([numbers(c) for c in expected.values()]))


def batches(loader: Loader, steps: list[int]) -> list[dict[str, np.ndarray]]:
    return [{k: v.numpy() for k, v in loader.batch(step).items()} for step in steps]


def test_another_process_draws_the_same(store: Store, folder: Path) -> None:
    direct = FilesStore(folder, sample_rate=RATE, valid=0.2)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for loader in (load(store), load(store, reader="resident"), load(direct)):
            loader.batch(0)
            there = pool.submit(batches, loader, [6, 2]).result(timeout=60)
            for step, batch in zip([6, 2], there, strict=True):
                assert same({k: torch.from_numpy(v) for k, v in batch.items()}, loader.batch(step))


def test_a_loader_travels_without_its_samples(store: Store) -> None:
    loader = load(store, reader="resident")
    loader.batch(0)
    assert len(pickle.dumps(loader)) < 2000


def test_batches_are_never_written_again(store: Store) -> None:
    loader = load(store)
    first = loader.batch(0)
    kept = {k: v.clone() for k, v in first.items()}
    for step in range(1, 5):
        for clips in loader.batch(step).values():
            clips.zero_()
    assert same(first, kept) and same(loader.batch(0), kept)


# Silence


def test_silent_crops_are_drawn_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(loader: Loader) -> int:
        rows = [clip for step in range(40) for c in loader.batch(step).values() for clip in c]
        return sum(clip.square().mean().item() < 1e-5 for clip in rows)

    assert silent(load(store)) <= 2
    monkeypatch.setattr(loader_module, "ATTEMPTS", 1)
    assert silent(load(store)) > 30


# Aligned


@pytest.fixture
def duets(tmp_path: Path) -> Store:
    """Ramps that tell the piece (thousands) and moment; `b` is its negative, `c` in two takes."""
    groups = {}
    for piece in range(1, 7):
        for domain, take, frames in [
            ("a", "", 1500), ("b", "", 1900), ("c", "x", 1600), ("c", "y", 1700),
        ]:  # fmt: skip
            sign = -1 if domain == "b" else 1
            name = f"{domain}/{piece}{take}.wav"
            noise = {"": 0, "x": 1, "y": 2}[take]
            save(tmp_path / "in" / name, sign * (ramp(4000 * piece, frames)) + noise)
            groups[name] = f"piece {piece}"
    save(tmp_path / "in/a/alone.wav", ramp(30_000, 2500))
    save(tmp_path / "in/b/alone.wav", -ramp(30_000, 2500))
    save(tmp_path / "in/c/other.wav", ramp(28_000, 2500))
    groups |= {"a/alone.wav": "alone", "b/alone.wav": "alone"}
    write_groups(tmp_path / "in", groups)
    return make_store(tmp_path / "in")


def test_aligned_rows_are_one_moment_of_one_score(duets: Store) -> None:
    loader = load(duets, pairing="aligned", rows=50)
    assert all(ring.total % 1500 == 0 for ring in loader.rings)
    seen = set()
    for step in range(4):
        a, b, c = (numbers(clips) for clips in loader.batch(step).values())
        assert (np.diff(a) == 1).all() and np.array_equal(a, -b)
        takes = c - a
        assert (takes == takes[:, :1]).all()
        seen |= set(zip(a[:, 0] // 4000, takes[:, 0], strict=True))
        assert a.max() < 28_000 and (a % 4000 < 1500).all()
    training = {int(e.group[6:]) for e in duets.entries("a", "train") if e.group != "alone"}
    assert seen == {(piece, take) for piece in training for take in (1, 2)}


def test_aligned_groups_are_those_of_the_domains_asked_for(duets: Store) -> None:
    split = next(e.split for e in duets.entries("a") if e.group == "alone")
    loader = load(duets, pairing="aligned", domains=["b", "a"], split=split, rows=200)
    b, a = (numbers(clips) for clips in loader.batch(0).values())
    assert np.array_equal(a, -b) and a.max() > 30_000


def test_alignment_needs_a_score_in_common(store: Store) -> None:
    with pytest.raises(CorpusError, match="no group has a train recording in each of a, b, c"):
        load(store, pairing="aligned")


# What is refused


def test_too_little_audio_is_told_at_the_start(tmp_path: Path) -> None:
    save(tmp_path / "in/a/x.wav", ramp(1000, 3000))
    save(tmp_path / "in/b/x.wav", ramp(5000, 900))
    store = make_store(tmp_path / "in")
    load(store, domains=["a"]).check()
    load(store, clip_samples=900).check()
    with pytest.raises(CorpusError, match=r"'b' has 0\.11 s of train audio, .* 0\.12 s"):
        load(store).check()
    with pytest.raises(CorpusError, match=r"'a' has 0\.00 s of valid audio"):
        load(store, split="valid").check()
    with pytest.raises(CorpusError, match="'a' has no valid recording"):
        load(store, split="valid").batch(0)
    with pytest.raises(CorpusError, match="no domain 'z'"):
        load(store, domains=["a", "z"])


@pytest.mark.parametrize(
    "setting",
    [
        {"reader": "files"},
        {"reader": "tape"},
        {"pairing": "twins"},
        {"split": "dev"},
        {"domains": []},
        {"domains": ["a", "a"]},
        {"rows": -1},
        {"row_offset": -1},
        {"clip_samples": 0},
    ],
)
def test_settings_that_do_not_fit_are_refused(store: Store, setting: dict) -> None:
    with pytest.raises(ConfigError):
        load(store, **setting)


def test_memmap_needs_a_store(folder: Path) -> None:
    with pytest.raises(ConfigError, match="audiovae prepare"):
        load(FilesStore(folder, sample_rate=RATE), reader="memmap")
