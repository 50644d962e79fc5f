"""What a launcher such as torchrun says of the processes that it started; nothing is imported."""

from __future__ import annotations

import os

from audiovae.errors import UserError


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal():
        raise UserError(
            f"{name} is {text!r} in the environment; expected a number, as torchrun has"
        )
    return int(text)


def processes() -> int:
    """Return how many processes were started together; 1 without a launcher."""
    return max(1, _number("WORLD_SIZE", 1))


def number() -> int:
    """Return which of them this one is, from 0 up: the first one speaks and writes."""
    return _number("RANK", 0) if processes() > 1 else 0


def number_here() -> int:
    """Return which of those on this machine it is, from 0 up."""
    return _number("LOCAL_RANK", 0)


def attempt() -> int:
    """Return how often the processes were started again."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def need_one_process(verb: str) -> None:
    """Raise `UserError` where several processes were started for what takes one."""
    if processes() > 1:
        raise UserError(
            f"{verb} takes one process and {processes()} were started: leave torchrun out"
        )
