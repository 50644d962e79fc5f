"""Presets and config files: TOML or JSON to a `Config`, strict about unknown keys."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from audiovae.config import Config
from audiovae.errors import ConfigError
from audiovae.tables import from_dict, require


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    files = resources.files("audiovae").joinpath("presets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_config(preset_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a preset by its name, or a TOML or JSON file, and apply dotted `overrides`.

    `overrides` maps `"section.setting"` to a value: `{"training.rows": 2}`. Raises `ConfigError`.
    """
    name = str(preset_or_path)
    if name in preset_names():
        text = resources.files("audiovae").joinpath("presets", f"{name}.toml").read_text("utf-8")
        values = tomllib.loads(text)
    else:
        values = _read_table(Path(name))
    for key, value in (overrides or {}).items():
        section, _, setting = key.partition(".")
        require(bool(setting), f"override {key!r} must read section.setting=value")
        table = values.setdefault(section, {})
        require(isinstance(table, dict), f"unknown section {section!r}")
        table[setting] = value
    return from_dict(Config, values)


def _read_table(path: Path) -> dict[str, Any]:
    known = ", ".join(preset_names())
    require(path.is_file(), f"no preset or config file {str(path)!r}; the presets are {known}")
    require(path.stat().st_size < 1 << 20, f"{path} is over 1 MiB: not a config file")
    try:
        text = path.read_text("utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path} is not valid {path.suffix or 'TOML'}: {error}") from None
