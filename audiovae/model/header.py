"""`config.json` of a checkpoint folder and its card: what the files beside it are."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from audiovae.config import Config
from audiovae.errors import CheckpointError
from audiovae.model.autoencoder import AudioVAE, Statistics

FORMAT = 1
MAX_CONFIG_BYTES = 8 << 20


def checksum(data: bytes) -> str:
    """Return the SHA-256 of a file's content, as `files` of `config.json` lists it."""
    return hashlib.sha256(data).hexdigest()


def read_header(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a checkpoint folder, checked for its format."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} is over 8 MiB: not a config")
    try:
        header = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of format {FORMAT}")
    domains = header.get("domains")
    if not isinstance(domains, list) or not all(isinstance(d, str) and d for d in domains):
        raise CheckpointError(f"{path} must list its domains")
    files = header.get("files", {})
    if not isinstance(files, dict) or not all(isinstance(known, str) for known in files.values()):
        raise CheckpointError(f"{path} must list its files with their checksums")
    return header


def from_dict_statistics(values: Any, config: Config) -> Statistics:
    """Build `Statistics` from JSON, checked against the numbers of bands and latent dimensions."""
    n_mels, latent = config.audio.n_mels, config.model.latent_dim
    try:
        mean, std = (tuple(float(v) for v in values[name]) for name in ("mean", "std"))
        noise = tuple(float(v) for v in values.get("noise", ()))
        loudness = float(values["loudness"])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise CheckpointError("statistics must hold mean, std and loudness") from None
    if not all(math.isfinite(v) for v in (*mean, *std, *noise, loudness)):
        raise CheckpointError("statistics must hold finite numbers alone")
    if len(mean) != n_mels or len(std) != n_mels or not min(std) > 0:
        raise CheckpointError(f"statistics must hold {n_mels} means and positive deviations")
    if noise and (len(noise) != latent or not min(noise) > 0):
        raise CheckpointError(f"statistics must hold no noise, or {latent} positive deviations")
    return Statistics(mean, std, loudness, noise)


def model_card(model: AudioVAE) -> str:
    """Return the README of a checkpoint: front matter and what is known."""
    lines = ["---", "library_name: audiovae", "license: mit", "tags: [audio, timbre-transfer]"]
    lines += ["---", "", "# audiovae model", "", f"Domains: {', '.join(model.domains)}.", ""]
    lines += [f"- {k}: {v}" for k, v in model.provenance.items()]
    return "\n".join(lines) + "\n"
