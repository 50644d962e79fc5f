"""Recordings are split by a hash of their own, and no domain goes without."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiovae.corpus.split import assign_splits
from audiovae.errors import ConfigError


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    valid=st.floats(0.01, 0.6),
    test=st.floats(0, 0.35),
    seed=st.integers(0, 1000),
)
def test_each_domain_trains_and_validates(
    counts: list[int], valid: float, test: float, seed: int
) -> None:
    recordings = [(f"d{d}", f"d{d}/{i}") for d, n in enumerate(counts) for i in range(n)]
    splits = assign_splits(recordings, valid, test, seed)
    for d, n in enumerate(counts):
        found = {splits[u] for domain, u in recordings if domain == f"d{d}"}
        assert "train" in found
        assert n < 2 or "valid" in found


@given(pieces=st.integers(2, 12), domains=st.integers(1, 4), seed=st.integers(0, 1000))
def test_scores_that_all_domains_play_serve_all(pieces: int, domains: int, seed: int) -> None:
    recordings = [(f"d{d}", f"piece {i}") for d in range(domains) for i in range(pieces)]
    splits = assign_splits(recordings, 0.1, 0.1, seed)
    assert set(splits) == {f"piece {i}" for i in range(pieces)}
    assert {"train", "valid"} <= set(splits.values())


def test_shares_are_met_and_a_new_recording_moves_no_other() -> None:
    recordings = [("a", f"a/{i}") for i in range(2000)]
    splits = assign_splits(recordings, 0.2, 0.1, seed=3)
    counts = Counter(splits.values())
    assert counts["valid"] == pytest.approx(400, abs=60)
    assert counts["test"] == pytest.approx(200, abs=50)
    more = assign_splits([*recordings, ("a", "a/new"), ("b", "b/0")], 0.2, 0.1, seed=3)
    assert {u: more[u] for u in splits} == splits
    assert assign_splits(recordings, 0.2, 0.1, seed=4) != splits


def test_without_validation_all_train() -> None:
    assert set(assign_splits([("a", "1"), ("a", "2")], 0.0, 0.0, 0).values()) == {"train"}


@pytest.mark.parametrize(("valid", "test"), [(-0.1, 0), (0, -0.1), (0.5, 0.5), (1, 0), (0, 2)])
def test_shares_must_leave_something_to_train(valid: float, test: float) -> None:
    with pytest.raises(ConfigError, match="valid and test"):
        assign_splits([], valid, test, 0)
