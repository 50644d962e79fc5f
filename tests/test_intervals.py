"""Intervals are as wide as theory says, and cover what they should."""

import numpy as np
import pytest

from audiovae.metrics.intervals import Interval, bootstrap, bootstrap_ratio, bootstrap_statistic

WIDE = 2 * 1.96
"""Width of a 95 % interval of a normal mean, in standard errors."""


def normal(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    values = 5 + 2 * normal(400)
    interval = bootstrap(values)
    assert interval.mean == pytest.approx(values.mean())
    assert width(interval) == pytest.approx(WIDE * values.std() / 20, rel=0.08)
    assert (interval.low + interval.high) / 2 == pytest.approx(values.mean(), abs=0.02)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    covered = [
        (found := bootstrap(normal(60, seed), draws=200)).low < 0 < found.high
        for seed in range(200)
    ]
    assert 0.90 < np.mean(covered) < 0.98


def test_rates_stay_rates() -> None:
    assert bootstrap([1.0] * 20) == (1, 1, 1)
    found = bootstrap([1.0] * 90 + [0.0] * 10)
    assert found.mean == pytest.approx(0.9)
    assert width(found) == pytest.approx(WIDE * np.sqrt(0.9 * 0.1 / 100), rel=0.1)
    assert found.high <= 1


def test_segments_of_a_piece_count_as_one() -> None:
    # Each of 50 pieces ten times over: nothing is learned by hearing it again.
    values = normal(50)
    again, pieces = values.repeat(10), np.arange(50).repeat(10)
    assert bootstrap(again, groups=pieces) == pytest.approx(bootstrap(values))
    assert width(bootstrap(again)) == pytest.approx(width(bootstrap(values)) / 10**0.5, rel=0.1)


def test_names_and_order_of_groups_play_no_part() -> None:
    values, names = normal(30), [f"piece {i % 7}" for i in range(30)]
    order = np.argsort(names, kind="stable")
    found = bootstrap(values, groups=names)
    moved = bootstrap(values[order], groups=[i // 5 for i in range(30)])
    assert found.mean == pytest.approx(values.mean())
    assert bootstrap(values[order], groups=[names[i] for i in order]) == pytest.approx(found)
    assert moved != found


def test_a_long_piece_weighs_by_its_segments() -> None:
    found = bootstrap([0.0, 1.0, 1.0, 1.0], groups=["short", "long", "long", "long"])
    assert found == (0.75, 0, 1)


def test_a_ratio_knows_that_both_are_of_the_same_segments() -> None:
    below = 1 + normal(100) ** 2
    assert bootstrap_ratio(2 * below, below) == pytest.approx((2, 2, 2))
    noise = 0.1 * normal(100, 1)
    found = bootstrap_ratio(2 * below + noise, below)
    assert found.mean == pytest.approx((2 * below + noise).sum() / below.sum())
    assert width(found) < 0.2 * width(bootstrap(2 * below + noise)) / below.mean()


def test_any_statistic_of_indices() -> None:
    values = normal(200)
    found = bootstrap_statistic(lambda chosen: float(np.median(values[chosen])), 200, draws=500)
    assert found.mean == np.median(values)
    # The standard error of a normal sample's median: sqrt(pi / 2) that of its mean.
    assert width(found) == pytest.approx(WIDE * np.sqrt(np.pi / 2 / 200), rel=0.3)
    mean = bootstrap_statistic(lambda chosen: float(values[chosen].mean()), 200)
    assert mean == pytest.approx(bootstrap(values), abs=0.02)


def test_a_statistic_sees_whole_groups() -> None:
    groups = [0, 1, 0, 1, 2, 2]
    partners = {0: 2, 1: 3, 4: 5}

    def check(chosen: np.ndarray) -> float:
        taken = chosen.tolist()
        assert all(taken.count(a) == taken.count(b) for a, b in partners.items())
        return float(len(chosen))

    assert bootstrap_statistic(check, 6, groups=groups, draws=50) == (6, 6, 6)


def test_the_seed_decides() -> None:
    values = normal(30)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) != bootstrap(values)


def test_one_segment_says_nothing_of_itself_and_nan_is_not_hidden() -> None:
    assert bootstrap([3.0]) == (3, 3, 3)
    assert np.isnan(bootstrap([1.0, np.nan])).all()


def test_it_reads_as_a_figure() -> None:
    assert str(Interval(6.5, 6.25, 6.75)) == "6.50 [6.25, 6.75]"


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 segment"):
        bootstrap([])
    with pytest.raises(ValueError, match="at least 1 segment"):
        bootstrap_statistic(lambda chosen: 0.0, 0)
    with pytest.raises(ValueError, match="2 groups for 3"):
        bootstrap([1.0, 2.0, 3.0], groups=["a", "b"])
    with pytest.raises(ValueError, match="one each a segment"):
        bootstrap_ratio([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no ratio"):
        bootstrap_ratio([1.0, 2.0], [0.0, 0.0])
