"""kill -9 at seeded moments: the same command goes on, and ends as if nothing had been.

AUDIOVAE_KILLS is the number of kills in all: 36 when left out, 240 and more for a night.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import KILL, Forks, check_whole, digests, moments
from recordings import needs_posix
from worlds import FIRST, VERBS, Verb, make_world

pytestmark = [pytest.mark.faults, needs_posix]
SHARES = {
    "prepare": 6,
    "prepare-shards": 6,
    "transfer": 7,
    "export": 4,
    "train": 4,
    "train-vocoder": 5,
    "add-domain": 4,
}
"""Kills of each verb, of 36."""
KILLS = int(os.environ.get("AUDIOVAE_KILLS", sum(SHARES.values())))
IN_A_ROW = 3
"""Most kills before a command is left to come to its end."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def forks(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks"), FIRST.replace("{}", str(world)).split()) as forks:
        yield forks


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_killed_at_any_moment_it_goes_on(
    verb: Verb, world: Path, forks: Forks, tmp_path: Path
) -> None:
    inputs, words = digests(world), verb.words(world)
    (tmp_path / "whole").mkdir()
    whole = forks.run(words, tmp_path / "whole")
    assert whole.code == 0, whole.err
    wanted, files = verb.result(tmp_path / "whole"), check_whole(tmp_path / "whole")
    wanted_kills = -(-KILLS * SHARES[verb.name] // sum(SHARES.values()))
    survived = rounds = 0
    while survived < wanted_kills:
        place = tmp_path / str(rounds)
        place.mkdir()
        row = min(IN_A_ROW, wanted_kills - survived)
        for moment in moments(1000 * len(verb.name) + rounds, whole, row):
            ended = forks.run(words, place, **moment)
            assert ended.code in (0, -KILL), (moment, ended.err)
            survived += ended.code == -KILL
            check_whole(place)
            if ended.code == 0:
                break  # It was too quick: what is there is whole.
        if not (verb.name == "export" and (place / "out").exists()):
            again = forks.run(words, place)
            assert again.code == 0, (moment, again.err)
        assert check_whole(place) == files
        assert verb.result(place) == wanted, moment
        rounds += 1
        assert rounds < 10 * wanted_kills
    assert digests(world) == inputs
    print(f"{verb.name}: {survived} kills survived in {rounds} rounds")
