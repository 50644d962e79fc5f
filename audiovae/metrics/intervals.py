"""How sure a figure is: 95 % bootstrap intervals over segments.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile intervals. Segments of
one piece are no independent draws: name their pieces as `groups`, and whole pieces are drawn
(the cluster bootstrap, Davison and Hinkley, 1997, section 3.8), which widens the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[Any]
Groups = Sequence[Hashable] | None
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

DRAWS = 2000
PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """A figure and the ends of its 95 % interval, in the figure's own unit."""

    mean: float
    """The figure on all segments as they are."""
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap(
    values: Values, *, groups: Groups = None, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """Return the mean of `values (segment,)` and its interval.

    Args:
        values: a figure of each segment. NaN in gives NaN out.
        groups: the piece of each segment; each segment is its own when left out.
        seed: of the draws.
        draws: how often segments (or pieces) are drawn again, as many as there are.

    Raises:
        ValueError: on no values, and on groups of another number.
    """
    return bootstrap_ratio(values, np.ones(len(values)), groups=groups, seed=seed, draws=draws)


def bootstrap_ratio(
    numerator: Values,
    denominator: Values,
    *,
    groups: Groups = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Return the mean of one figure over the mean of another, and its interval.

    Both are `(segment,)`, of the same segments: they are drawn together, so what makes a segment
    hard for both cancels. `bootstrap` says what the other arguments are and what is refused; a
    denominator whose mean is 0 is refused too.
    """
    above, below = (np.asarray(v, np.float64) for v in (numerator, denominator))
    if above.shape != below.shape:
        raise ValueError(f"{above.shape} figures over {below.shape}: expected one each a segment")
    members = _members(above.shape, groups)
    if below.sum() == 0:
        raise ValueError("the figure divided by is 0 on the whole: there is no ratio")
    # A draw is how often it took each group; sums over groups are all that a mean needs.
    taken = np.random.default_rng(seed).multinomial(
        len(members), np.full(len(members), 1 / len(members)), size=draws
    )
    sums, counts = (np.array([v[m].sum() for m in members]) for v in (above, below))
    totals = taken @ counts
    # Every segment a draw took may have 0 below: such a draw says nothing of the ratio.
    ratios = (taken @ sums)[totals != 0] / totals[totals != 0]
    return _interval(float(above.sum() / below.sum()), ratios)


def bootstrap_statistic(
    statistic: Callable[[Indices], float],
    count: int,
    *,
    groups: Groups = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """Return any figure of a set of segments, and its interval.

    Args:
        statistic: gives the figure of the segments of some indices, which may repeat.
        count: how many segments there are.
        groups: the piece of each segment; each segment is its own when left out.
        seed: of the draws.
        draws: how often the statistic is computed.

    Raises:
        ValueError: on no segments, and on groups of another number.
    """
    members = _members((count,), groups)
    rng = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(draws):
        chosen = rng.integers(len(members), size=len(members))
        drawn.append(statistic(np.concatenate([members[i] for i in chosen])))
    return _interval(statistic(np.arange(count)), np.array(drawn))


def _members(shape: tuple[int, ...], groups: Groups) -> list[Indices]:
    """Return the indices of the segments of each group, in order of appearance."""
    if len(shape) != 1 or not shape[0]:
        raise ValueError(f"figures of shape {shape}; expected one for each of at least 1 segment")
    names = list(range(shape[0])) if groups is None else list(groups)
    if len(names) != shape[0]:
        raise ValueError(f"{len(names)} groups for {shape[0]} segments; expected one each")
    members: dict[Hashable, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    return [np.array(m) for m in members.values()]


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, PERCENTILES)
    return Interval(value, float(low), float(high))
