"""Frozen dataclasses from nested tables and back, strict about unknown keys and types."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any, Literal, TypeVar

from audiovae.errors import ConfigError

T = TypeVar("T")
LARGEST = 1 << 63
"""Whole numbers of a table are below it, either way: floats and tensors hold them."""


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def check_ranges(settings: Any, **ranges: tuple[float, float]) -> None:
    """Raise `ConfigError` unless each number of `settings` that is given lies in its range."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        inside = value is None or low <= value <= high
        require(inside, f"{name} is {value}; expected {low:g} to {high:g}")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dictionaries of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[T], values: dict[str, Any], where: str = "config") -> T:
    """Build the dataclass `kind` from nested dictionaries.

    Raises `ConfigError` on an unknown key or a value of the wrong type.
    """
    require(isinstance(values, dict), f"{where} must be a table of settings")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in values:
        require(key in names, f"unknown setting {where}.{key}; expected one of {', '.join(names)}")
    return kind(**{k: _convert(hints[k], v, f"{where}.{k}") for k, v in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin is Literal:
        require(value in args, f"{where} is {value!r}; expected one of {', '.join(map(str, args))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{where} must be a list")
        if args[1:] == (...,):
            args = args[:1] * len(value)
        require(len(value) == len(args), f"{where} must have {len(args)} entries")
        return tuple(_convert(a, v, where) for a, v in zip(args, value, strict=True))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float:
        require(number, f"{where} is {value!r}; expected a number")
        require(not isinstance(value, int) or abs(value) < LARGEST, f"{where} is too large")
        require(not math.isnan(value), f"{where} must not be NaN")
        return float(value)
    if hint is int:
        inside = number and abs(value) < LARGEST
        whole = inside and int(value) == value
        require(whole, f"{where} is {value!r}; expected a whole number")
        return int(value)
    require(isinstance(value, hint), f"{where} is {value!r}; expected {hint.__name__}")
    return value
