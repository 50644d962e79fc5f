"""Domains take turns: each as often as any other, and a step pays for those alone."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import TINY_RATE, tiny_config
from recordings import make_folder, write_groups

from audiovae.corpus.crops import Turns
from audiovae.corpus.loader import Loader
from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import Store
from audiovae.training.trainer import make_task, train

DOMAINS = tuple("abcdefg")


@pytest.mark.parametrize("count", range(1, 8))
def test_every_round_has_every_domain(count: int) -> None:
    turns = Turns(DOMAINS, count, seed=3)
    steps = -(-len(DOMAINS) // count)
    for rounds in range(20):
        chosen = [turns(rounds * steps + place) for place in range(steps)]
        assert all(len(step) == count and step == sorted(step) for step in chosen)
        counted = Counter(name for step in chosen for name in step)
        assert set(counted) == set(DOMAINS)
        assert max(counted.values()) <= 2 - (len(DOMAINS) % count == 0)
    assert [Turns(DOMAINS, count, seed=3)(step) for step in range(9)] == [
        turns(step) for step in range(9)
    ]


def test_rounds_differ_and_so_do_seeds() -> None:
    orders = {
        tuple(map(tuple, (Turns(DOMAINS, 1, seed)(s) for s in range(7)))) for seed in range(9)
    }
    assert len(orders) == 9
    turns = Turns(DOMAINS, 1, seed=0)
    assert [turns(step) for step in range(7)] != [turns(step) for step in range(7, 14)]
    assert Turns(DOMAINS, 0, 0)(5) == Turns(DOMAINS, 9, 0)(5) == list(DOMAINS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("turns")
    folder = make_folder(root / "in", "abc", 4, 1.0)
    prepare(folder, root / "store", sample_rate=TINY_RATE, valid=0.25, workers=1, progress=False)
    return root / "store"


@pytest.mark.parametrize("reader", ["memmap", "resident"])
def test_a_loader_cuts_what_it_would_cut_of_all(store: Path, reader: str) -> None:
    def make(turns: Turns | None) -> Loader:
        return Loader(
            Store.open(store), domains=list("abc"), split="train", rows=2, clip_samples=4000,
            seed=1, reader=reader, turns=turns,  # type: ignore[arg-type]
        )  # fmt: skip

    every, some = make(None), pickle.loads(pickle.dumps(make(Turns(tuple("abc"), 2, 0))))
    for step in (0, 1, 2, 7):
        whole, part = every.batch(step), some.batch(step)
        assert list(part) == Turns(tuple("abc"), 2, 0)(step)
        assert all(torch.equal(part[name], whole[name]) for name in part)
        assert list(some.batch(step, ["c"])) == ["c"]


@pytest.mark.parametrize("pairing", ["none", "aligned"])
def test_a_step_trains_those_whose_turn_it_is(pairing: str, store: Path, tmp_path: Path) -> None:
    config = tiny_config()
    training = dataclasses.replace(
        config.training, domains_a_step=1, pairing=pairing, rows=1, precision="fp32"
    )
    config = dataclasses.replace(config, training=training)
    source = aligned(store, tmp_path) if pairing == "aligned" else store
    task = make_task(source, tmp_path / "run", config, device="cpu")
    task.begin(6)
    seen = Counter()
    for step in range(3):
        before = {d: [p.clone() for p in task.model.decoder(d).parameters()] for d in "abc"}
        shadows = [s.clone() for s in task.average.shadow]
        clips = task.batch(step)
        assert list(clips.targets) == list(clips.rows) == task.feed.turns(step)
        task.step(step)
        (turn,) = task.feed.turns(step)
        seen[turn] += 1
        for name in "abc":
            now = list(task.model.decoder(name).parameters())
            same = all(torch.equal(a, b) for a, b in zip(before[name], now, strict=True))
            assert same == (name != turn)
        moved = {id(p) for p in task.optimiser.moved}
        for p, old, new in zip(task.average.parameters, shadows, task.average.shadow, strict=True):
            assert id(p) in moved or torch.equal(old, new)
    assert seen == Counter("abc")
    assert task.audio_a_step == task.clip


def aligned(store: Path, root: Path) -> Path:
    """Return a store of the same sounds whose domains share their scores."""
    folder = make_folder(root / "aligned", "abc", 4, 1.0)
    groups = {f"{p.parent.name}/{p.name}": p.stem[-1:] for p in folder.glob("*/*.wav")}
    write_groups(folder, groups)
    prepare(folder, root / "store", sample_rate=TINY_RATE, valid=0.25, workers=1, progress=False)
    return root / "store"


def test_it_resumes(store: Path, tmp_path: Path) -> None:
    config = tiny_config()
    training = dataclasses.replace(
        config.training, domains_a_step=2, rows=1, checkpoint_every=2, validate_every=2
    )
    config = dataclasses.replace(config, training=training)
    summary = train(store, tmp_path / "run", config, steps=4, progress=False, device="cpu")
    assert summary["steps"] == 4
