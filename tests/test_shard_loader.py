"""Shards in streams: once a pass, whoever shares it; resumed by the step; pure arithmetic."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from recordings import load, make_store, numbers, save, tone
from sharded import LENGTHS, SMALL, make_shards, silent_noise, stream, write_ramps

from audiovae.corpus.crops import Turns
from audiovae.corpus.kinds import make_loader
from audiovae.corpus.lanes import TurnCount
from audiovae.corpus.shard_loader import KEPT, ShardLoader
from audiovae.corpus.shards import Shards
from audiovae.errors import ConfigError, CorpusError

Batch = dict[str, torch.Tensor]


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    root = tmp_path_factory.mktemp("ramps")
    return make_shards(write_ramps(root / "in"), root / "out")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    root = tmp_path_factory.mktemp("noise")
    return make_shards(silent_noise(root / "in"), root / "out", valid=0.2)


def one_pass(loaders: list[ShardLoader], domain: str, number: int) -> list[np.ndarray]:
    """Return the clips that all ranks' batches give of a domain in a pass."""
    clips = []
    for loader in loaders:
        each = loader.rows // loader.workers
        shares = [loader.lane(domain, worker).share for worker in range(loader.workers)]
        for step in range((number + 1) * max(shares) // each + 1):
            batch = numbers(loader.batch(step)[domain])
            for row, clip in enumerate(batch):
                position = step * each + row % each
                if position // shares[row // each] == number:
                    clips.append(clip)
        loader.close()
    return clips


# Without overlap or loss


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_all_ranks_and_workers_together_read_the_corpus_once_a_pass(
    ramps: Shards, world: int, workers: int
) -> None:
    assert len(ramps.of("a")) > 2
    for number in (0, 2):
        loaders = [
            stream(ramps, rows=2, clip_samples=SMALL, rank=rank, world=world, workers=workers,
                   shuffle=0.3, draws=0)
            for rank in range(world)
        ]  # fmt: skip
        for domain, base in (("a", -32_000), ("b", -32_000 + sum(LENGTHS))):
            clips = one_pass(loaders, domain, number)
            heard = np.sort(np.concatenate(clips))
            assert np.array_equal(heard, base + np.arange(sum(LENGTHS)))
            assert not np.array_equal(np.concatenate(clips), heard)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_drawn_places_are_one_in_each_part_of_a_sound(
    ramps: Shards, world: int, workers: int
) -> None:
    loaders = [
        stream(ramps, rows=4, clip_samples=SMALL, rank=rank, world=world, workers=workers, draws=1)
        for rank in range(world)
    ]
    clips = one_pass(loaders, "a", 1)
    assert len(clips) == loaders[0].clips("a") == sum(LENGTHS) // SMALL
    # Pieces are of whole clips here, so a part of one is as long as a clip, nearly.
    parts = Counter((int(clip[0]) + 32_000 + SMALL // 2) // SMALL for clip in clips)
    assert sum(parts.values()) == len(clips) and max(parts.values()) <= 2
    places = {int(clip[0]) % SMALL for clip in clips}
    assert len(places) > SMALL // 3


def test_passes_differ_and_domains_are_balanced(ramps: Shards) -> None:
    loader = stream(ramps, clip_samples=SMALL, draws=0)
    share = loader.clips("a") // 3
    batches = [loader.batch(step) for step in range(2 * share)]
    loader.close()
    for domain in "ab":
        clips = [numbers(batch[domain]) for batch in batches]
        assert {len(part) for part in clips} == {3}
        firsts = np.concatenate(clips)[:, 0].tolist()
        one, two = firsts[: 3 * share], firsts[3 * share :]
        assert one != two and sorted(one) == sorted(set(one))
    shuffled = [int(clip[0, 0]) for clip in (numbers(batch["a"]) for batch in batches[:9])]
    assert sorted(shuffled) != shuffled


# By step


def test_a_resumed_run_gets_the_batches_of_an_unbroken_one(noise: Shards) -> None:
    whole = stream(noise, rows=4, workers=2, shuffle=0.5)
    batches = [whole.batch(step) for step in range(60)]
    again = stream(noise, rows=4, workers=2, shuffle=0.5)
    for step in (47, 48, 49, 5, 0, 2, 59, 58, 6):
        assert same(again.batch(step), batches[step]), step
    whole.close()
    again.close()
    assert same(again.batch(33), batches[33])
    again.close()


def test_a_resume_passes_over_a_part_of_a_shard_alone(
    noise: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    whole = type(noise.source).open
    monkeypatch.setattr(
        type(noise.source), "open", lambda self, file: (opened.append(file), whole(self, file))[1]
    )
    loader = stream(noise, domains=["a"], clip_samples=SMALL)
    loader.batch(150)
    loader.close()
    # The one that the step is in, and one that is read ahead.
    assert loader.clips("a") < 3 * 150 and 1 <= len(opened) <= 2 < len(noise.of("a", "train"))


def test_two_ranks_draw_what_one_with_twice_the_rows_and_workers_does(noise: Shards) -> None:
    one = stream(noise, rows=4, workers=2, shuffle=0.5)
    ranks = [stream(noise, rows=2, rank=rank, world=2, shuffle=0.5) for rank in range(2)]
    for step in (*range(12), 40):
        whole, parts = one.batch(step), [rank.batch(step) for rank in ranks]
        assert same(whole, {d: torch.cat([part[d] for part in parts]) for d in whole})
    for loader in (one, *ranks):
        loader.close()


def test_a_loader_travels_without_its_samples(noise: Shards) -> None:
    loader = stream(noise)
    batch = loader.batch(7)
    data = pickle.dumps(loader)
    assert len(data) < 2000
    copy = pickle.loads(data)
    assert same(copy.batch(7), batch)
    copy.close()
    loader.close()


def test_seed_and_domain_change_the_clips_and_other_domains_do_not(noise: Shards) -> None:
    loader, other = stream(noise), stream(noise, seed=2)
    alone = stream(noise, domains=["b"])
    for step in (0, 9):
        batch = loader.batch(step)
        assert batch["a"].shape == (3, 1000) and batch["a"].dtype == torch.float32
        assert torch.equal(alone.batch(step)["b"], batch["b"])
        assert not torch.equal(batch["a"], batch["b"])
        assert not torch.equal(other.batch(step)["a"], batch["a"])
    assert stream(noise, rows=0).batch(0)["a"].shape == (0, 1000)
    for one in (loader, other, alone):
        one.close()


@pytest.mark.parametrize("count", [1, 2])
def test_a_domain_goes_on_where_it_was_when_its_turn_comes(noise: Shards, count: int) -> None:
    turns = Turns(("a", "b", "c"), count, 7)
    every, some = stream(noise), stream(noise, turns=turns)
    had = Counter[str]()
    found = []
    for step in range(24):
        found.append(some.batch(step))
        assert list(found[-1]) == turns(step)
        for domain, clips in found[-1].items():
            assert torch.equal(clips, every.batch(had[domain], [domain])[domain])
        had.update(turns(step))
    assert some.batch(0, ["c", "a"]).keys() == {"a", "c"}
    resumed = stream(noise, turns=turns)
    for step in (20, 0, 21, 22, 3):
        assert same(resumed.batch(step), found[step])
    for loader in (every, some, resumed):
        loader.close()


def test_turns_are_counted_as_they_come() -> None:
    for many in range(1, 6):
        for count in range(7):
            turns, had = Turns(tuple("abcde"[:many]), count, 3), Counter(dict.fromkeys("abcde", 0))
            counted = TurnCount()
            for step in range(150):
                wanted = {domain: had[domain] for domain in turns.domains}
                assert counted.before(turns, step) == wanted
                if step % 50 == 0:
                    assert turns.before(step) == TurnCount().before(turns, step) == wanted
                    assert counted.before(turns, 0) == dict.fromkeys(turns.domains, 0)
                had.update(turns(step))


def test_held_out_clips_are_read_once(noise: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = stream(noise, split="valid")
    first = [loader.batch(step) for step in range(KEPT)]
    first[0]["a"].zero_()
    monkeypatch.setattr(type(noise.source), "open", None)
    again = [loader.batch(step) for step in range(KEPT)]
    assert all(same(a, b) for a, b in zip(first[1:], again[1:], strict=True))
    assert again[0]["a"].abs().max() > 0


def test_silent_crops_are_drawn_again(noise: Shards) -> None:
    def silent(draws: int) -> int:
        loader = stream(noise, draws=draws)
        rows = [clip for step in range(30) for c in loader.batch(step).values() for clip in c]
        loader.close()
        return sum(clip.square().mean().item() < 1e-5 for clip in rows)

    assert silent(9) < silent(1) / 3


def test_clips_have_the_levels_of_the_stores(tmp_path: Path) -> None:
    folder = silent_noise(tmp_path / "in", "a", 12)
    shards, store = make_shards(folder, tmp_path / "out"), make_store(folder, valid=0.0)
    loader = stream(shards, rows=8, draws=1)
    ours = torch.cat([loader.batch(step)["a"] for step in range(40)]).square().mean()
    theirs = torch.cat([load(store, rows=8).batch(step)["a"] for step in range(40)]).square().mean()
    loader.close()
    assert ours / theirs == pytest.approx(1, abs=0.35)


def test_every_kind_of_loader_knows_its_rows_among_all(noise: Shards, tmp_path: Path) -> None:
    store = make_store(silent_noise(tmp_path / "in", "a", 4), valid=0.0)
    for corpus in (noise, store):
        loader = make_loader(
            corpus, domains=["a"], split="train", rows=2, clip_samples=100, seed=0, rank=1, world=3
        )
        assert (loader.row_offset, loader.processes, loader.rows) == (2, 3, 2)
        loader.close()


# What can't be


def test_settings_that_do_not_fit_are_one_line(noise: Shards, tmp_path: Path) -> None:
    common = {"domains": ["a"], "split": "train", "rows": 2, "clip_samples": 100, "seed": 0}
    for options, words in [
        ({"pairing": "aligned"}, "side by side"),
        ({"reader": "memmap"}, "set it to auto"),
        ({"split": "exam"}, "split is 'exam'"),
        ({"rank": 2, "world": 2}, "rank is 2 of 2"),
        ({"shuffle": 0.0}, "shuffle above 0"),
        ({"streams": 3}, "2 rows of a domain can't be dealt to 3 streams"),
        ({"domains": ["a", "a"]}, "each named once"),
        ({"domains": ["z"]}, "no domain 'z' here; the domains are a, b, c"),
    ]:
        with pytest.raises((ConfigError, CorpusError), match=words):
            make_loader(noise, **(common | options))  # type: ignore[arg-type]
    save(tmp_path / "in/a/x.wav", tone(1))
    few = make_shards(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match=r"1\.00 s of train audio, less than one clip of 1\.25 s"):
        make_loader(few, **(common | {"clip_samples": 10_000}))  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="for each of 4 streams"):
        make_loader(few, **(common | {"clip_samples": 4000}), world=4)  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="no valid recording"):
        stream(few, split="valid").batch(0)


# Arithmetic
