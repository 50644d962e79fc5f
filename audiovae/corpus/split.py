"""Which recordings train, validate and test: by recording, never by crop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from audiovae.corpus.crops import mix, name_key
from audiovae.corpus.manifest import Split
from audiovae.errors import ConfigError


def assign_splits(
    recordings: Iterable[tuple[str, str]], valid: float, test: float, seed: int
) -> dict[str, Split]:
    """Return the split of each unit among `recordings`, pairs of (domain, unit).

    A unit is a group, or the path of a recording without one. It falls into a split by a hash of
    its name and `seed`, so that adding a recording moves no other. Then units nearest to the border
    are moved until each domain with at least two has one for training and, if `valid` is above 0,
    one for validation, as far as groups shared between domains allow.

    Raises `ConfigError` unless `valid` and `test` are at least 0 and their sum is below 1.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise ConfigError("valid and test must be at least 0 and add up to less than 1")
    units: dict[str, set[str]] = {}
    for domain, unit in recordings:
        units.setdefault(domain, set()).add(unit)
    draws = {u: mix(seed, name_key(u)) / 2**64 for members in units.values() for u in members}
    splits: dict[str, Split] = {u: _by_draw(draw, valid, test) for u, draw in draws.items()}
    for domain in sorted(units):
        # Highest draw first: the training units, down to those of the test.
        members = sorted(units[domain], key=lambda u: (-draws[u], u))
        _need("train", members, units, splits)
        if valid > 0:
            _need("valid", members[::-1], units, splits)
    for domain in sorted(units):
        _need("train", sorted(units[domain], key=lambda u: (-draws[u], u)), units, splits)
    return splits


def _by_draw(draw: float, valid: float, test: float) -> Split:
    return "test" if draw < test else "valid" if draw < test + valid else "train"


def _need(
    wanted: Split,
    members: Sequence[str],
    units: dict[str, set[str]],
    splits: dict[str, Split],
) -> None:
    """Move one of a domain's `members` to the split `wanted` if the domain has none there.

    The first in order is taken among those whose going leaves their domains what they need, one of
    the test last; a domain of one unit trains on it.
    """
    if any(splits[u] == wanted for u in members) or (wanted == "valid" and len(members) < 2):
        return

    def spare(unit: str) -> bool:
        """Say whether no domain loses its last unit for training or validation with `unit`."""
        return splits[unit] == "test" or all(
            any(splits[u] == splits[unit] for u in others - {unit})
            for others in units.values()
            if unit in others and len(others) > 1
        )

    movable = sorted(members, key=lambda u: wanted == "valid" and splits[u] == "test")
    chosen = next((u for u in movable if spare(u)), None)
    if chosen is None and wanted == "train":
        chosen = members[0]
    if chosen is not None:
        splits[chosen] = wanted
