"""Where work on many files is done: one after the other here, or by actors of Ray."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from audiovae.corpus.workers import Sized
from audiovae.errors import UserError

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Place:
    """What a worker that was started for the work may use."""

    device: str
    """`cpu`, `cuda` or `mps`: where a model should be."""
    threads: int


@dataclass(frozen=True)
class Failed:
    """A file that came to nothing, and why."""

    error: str
    """One line."""


S = TypeVar("S", bound=Sized)
T = TypeVar("T")
Make = Callable[[Place | None], Callable[[S], T]]
"""Makes what does the work, once a worker: a model is loaded here. Without a place it is made for
this process, out of what is here already."""


class WorkEngine(Protocol):
    """Does one thing to many files."""

    def run(self, make: Make[S, T], items: Sequence[S]) -> Iterator[tuple[S, T | Failed]]:
        """Give each item with what became of it, in the order of the items.

        Results come as they are made, and little more is made than was taken. What the work raises
        is raised here. `Failed` is an item whose work ended its worker again and again.
        """


class LocalEngine:
    """Works in this process, on one item after the other."""

    def run(self, make: Make[S, T], items: Sequence[S]) -> Iterator[tuple[S, T | Failed]]:
        """Give each item with what became of it."""
        work = make(None)
        for item in items:
            yield item, work(item)


@dataclass(frozen=True)
class Always:
    """Work that is the same function on every worker."""

    function: Callable[[Any], Any]

    def __call__(self, place: Place | None) -> Callable[[Any], Any]:
        """Return the function."""
        return self.function


def find_engine(name: str, **settings: Any) -> WorkEngine:
    """Return an engine by name; `settings` are those of `RayEngine`.

    Raises `UserError` on an unknown one, and where Ray is not installed.
    """
    if name not in ENGINES:
        raise UserError(f"engine is {name!r}; expected one of {', '.join(ENGINES)}")
    if name == "local":
        return LocalEngine()
    if importlib.util.find_spec("ray") is None:
        raise UserError("--engine ray needs Ray: install audiovae[cluster], or leave it out")
    from audiovae.corpus.ray_engine import RayEngine

    return RayEngine(**settings)
