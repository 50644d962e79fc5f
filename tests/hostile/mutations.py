"""What a fuzzer does to bytes and to JSON, and how many examples it makes.

AUDIOVAE_FUZZ is the number of examples in all: some hundreds when left out, 100000 for a night.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SHORT = 900
"""Examples in all where none are asked for."""
ASKED = int(os.environ.get("AUDIOVAE_FUZZ", SHORT))
MOST_SECONDS = 2.0
"""Of the processor, for an example."""
NUMBERS = (0, 1, -1, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, 1 << 64, 10**400)


def examples(share: float) -> Callable[[Any], Any]:
    """Return the settings of a test that makes a share of all examples."""
    return settings(
        max_examples=max(1, round(share * ASKED)),
        deadline=None,
        derandomize=ASKED == SHORT,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def in_time() -> Iterator[None]:
    """Check that what is done within takes the processor less than two seconds."""
    before = time.process_time()
    yield
    assert time.process_time() - before < MOST_SECONDS


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "cut", "drop", "insert", "repeat", "ones", "zeros"]),
        # Headers are at the start: half of the places are there.
        st.one_of(st.integers(0, 128), st.integers(0, 1 << 20)),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """Return bytes after edits, each at a place that is taken modulo the length."""
    data = bytearray(content)
    for kind, where, payload in edits:
        place, count = where % (len(data) + 1), len(payload)
        if kind == "set":
            data[place : place + count] = payload
        elif kind == "flip" and place < len(data):
            data[place] ^= 1 << payload[0] % 8
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + count]
        elif kind == "insert":
            data[place:place] = payload
        elif kind == "repeat":
            data[place:place] = data[max(0, place - 16 * count) : place]
        elif kind in ("ones", "zeros"):
            value = b"\xff" if kind == "ones" else b"\0"
            data[place : place + count] = value * count
    return bytes(data)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.integers(), st.floats(), st.text(),
    st.sampled_from(["", "..", "../../x", "/etc/passwd", "\0", "\ud800", "!!python/x", "a" * 999]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
DEEP = ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000)
"""JSON, and TOML behind a key, too deep for recursion."""


def places_of(values: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a table."""
    if isinstance(values, dict):
        items: Any = values.items()
    elif isinstance(values, list):
        items = enumerate(values[:3])
    else:
        return [where]
    return [where] * bool(where) + [p for k, v in items for p in places_of(v, (*where, k))]


def replaced(values: Any, where: tuple[Any, ...], value: Any, how: str) -> Any:
    """Return a copy of a table where one value is another, or is gone, or has another name."""
    table = json.loads(json.dumps(values))
    place = table
    for key in where[:-1]:
        place = place[key]
    if how == "set":
        place[where[-1]] = value
    elif how == "remove":
        del place[where[-1]]
    elif isinstance(place, dict):
        place[f"{where[-1]}{value!r:.20}"] = place.pop(where[-1])
    return table


def changes_of(values: Any) -> st.SearchStrategy[Any]:
    """Return tables that differ from `values` in one to three places."""
    paths = places_of(values)
    one = st.tuples(
        st.sampled_from(paths), VALUES, st.sampled_from(["set", "set", "set", "remove", "rename"])
    )

    def apply(changes: list[tuple[Any, Any, str]]) -> Any:
        table = values
        for where, value, how in changes:
            try:
                table = replaced(table, where, value, how)
            except (KeyError, IndexError, TypeError, ValueError):
                continue  # An earlier change took the place away.
        return table

    return st.lists(one, min_size=1, max_size=3).map(apply)
