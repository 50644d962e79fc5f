"""A share of the work: which files are the i-th of n jobs'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from audiovae.errors import UserError

T = TypeVar("T")
MOST = 1_000_000
"""Jobs that share one list."""


@dataclass(frozen=True)
class Share:
    """One of several jobs that share a list; all of them see the same one."""

    index: int
    """From 0 on, as array jobs of Slurm, Kubernetes and the clouds are counted."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Return what `3/8` says. Raises `UserError` on anything but `0/n` to `n-1/n`."""
        found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text)
        index, count = (int(part) for part in found.groups()) if found else (0, 0)
        if not 1 <= count <= MOST:
            raise UserError(f"shard is {text!r}; expected i/n, as in 0/8 to 7/8")
        if index >= count:
            raise UserError(
                f"shard is {text!r}; expected 0/{count} to {count - 1}/{count}: they are counted "
                "from 0, so subtract 1 where your array begins at 1"
            )
        return cls(index, count)

    def of(self, items: Sequence[T]) -> list[T]:
        """Return every n-th item: neighbours, which are often alike, go to different jobs."""
        return list(items[self.index :: self.count])

    @property
    def name(self) -> str:
        """As part of a file name: names sort as indices do."""
        width = len(str(self.count - 1))
        return f"{self.index:0{width}}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
