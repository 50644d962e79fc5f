"""What a path is: a model, a run, a store, a sound file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from audiovae.apps.models import find_checkpoint, fingerprint
from audiovae.audio.files import AUDIO_SUFFIXES, find_audio, probe
from audiovae.corpus.manifest import SPLITS
from audiovae.corpus.shards import INDEX_FILE, Shards
from audiovae.corpus.sources import is_remote
from audiovae.corpus.store import Store
from audiovae.errors import CheckpointError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.precision import choose_precision
from audiovae.model.weights import load_model
from audiovae.training.checkpoint import PLAN
from audiovae.training.logs import read_log
from audiovae.training.start import SHIPPED


def describe(path: str | Path | None = None) -> dict[str, Any]:
    """Return what a path is and what is in it; the shipped model's facts when it is left out.

    The key `kind` is `model`, `vocoder`, `run`, `store`, `shards`, `audio` or `folder`.
    Raises `UserError` on a path that is none of them.
    """
    if path is None or str(path) in SHIPPED:
        return {"kind": "model", **describe_model(find_checkpoint(path))}
    if is_remote(path):
        return describe_shards(path)
    place = Path(path)
    if not place.exists():
        raise UserError(f"nothing at {place}; expected a model, a run, a store or a sound file")
    if place.is_file():
        return _describe_audio(place)
    if (place / PLAN).is_file():
        return _describe_run(place)
    if (place / "store.json").is_file():
        return _describe_store(place)
    if (place / INDEX_FILE).is_file():
        return describe_shards(place)
    if (place / "config.json").is_file():
        return describe_model(place)
    found = find_audio(place)
    if found:
        suffixes = sorted({file.suffix.lower() for file in found})
        folders = sorted(
            {file.relative_to(place).parts[0] for file in found if file.parent != place}
        )
        return {"kind": "folder", "files": len(found), "suffixes": suffixes, "folders": folders}
    raise UserError(f"{place} is no model, run or store, and has no sound files")


def describe_model(folder: Path) -> dict[str, Any]:
    """Return the facts of a checkpoint folder."""
    model = load_model(folder)
    config, audio = model.config, model.config.audio
    vocoder = "none" if model.vocoder is None else model.vocoder.config.vocoder.vocoder
    return {
        "kind": "model" if model.domains else "vocoder",
        "path": str(folder),
        "domains": model.domains,
        "sample_rate": audio.sample_rate,
        "features": audio.features,
        "decoder": config.model.decoder,
        "n_fft": audio.n_fft,
        "hop_length": audio.hop_length,
        "n_mels": audio.n_mels,
        "latent_dim": config.model.latent_dim,
        "latent_rate": round(config.latent_rate, 3),
        "prior": config.model.prior,
        "prior_over_time": "none" if model.sequence is None else model.sequence.facts,
        "context_seconds": round(model.context_samples / audio.sample_rate, 3),
        "vocoder": "its decoders" if model.config.speaks else vocoder,
        "scores": "plays them" if model.notes is not None else "plays none",
        "precision": choose_precision(model),
        "parameters": _parameters(model),
        "megabytes": round(sum(f.stat().st_size for f in folder.rglob("*.safetensors")) / 1e6, 2),
        "fingerprint": fingerprint(model),
        "provenance": model.provenance,
    }


def _parameters(model: AudioVAE) -> dict[str, int]:
    parts = {"encoder": model.encoder, "decoders": model.decoders}
    if model.shared is not None:
        parts["shared"] = model.shared
    if model.vocoder is not None:
        parts["vocoder"] = model.vocoder
    if model.notes is not None:
        parts["notes"] = model.notes
    if model.sequence is not None:
        parts["prior over time"] = model.sequence
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def _describe_run(run: Path) -> dict[str, Any]:
    try:
        plan = json.loads((run / PLAN).read_text("utf-8"))
        facts = {k: plan[k] for k in ("steps", "domains", "data")}
        facts["training"] = plan["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{run / PLAN} is damaged ({error})") from None
    facts["step"], facts["valid"] = 0, {}
    for entry in read_log(run):
        facts["step"] = max(facts["step"], entry["step"])
        facts["valid"] = entry if entry["kind"] == "valid" else facts["valid"]
    checkpoint = run / "checkpoint"
    found = describe_model(checkpoint) if (checkpoint / "config.json").is_file() else None
    return {"kind": "run", "path": str(run), **facts, "checkpoint": found}


def _describe_store(path: Path) -> dict[str, Any]:
    store = Store.open(path)
    return {
        "kind": "store",
        "path": str(path),
        "sample_rate": store.sample_rate,
        "hours": {d: round(store.hours(d), 3) for d in store.domains},
        "recordings": {d: len(store.entries(d)) for d in store.domains},
        "validation": {d: len(store.entries(d, "valid")) for d in store.domains},
        "fingerprint": store.fingerprint,
    }


def describe_shards(path: str | Path) -> dict[str, Any]:
    """Return the facts of shards, by domain and split."""
    shards = Shards.open(path)
    counts: dict[str, Any] = {}
    for domain in shards.domains:
        for split in SPLITS:
            of = shards.of(domain, split)
            if of:
                counts.setdefault(domain, {})[split] = {
                    "shards": len(of),
                    "sounds": sum(len(shard.frames) for shard in of),
                    "hours": round(shards.hours(domain, split), 3),
                    "megabytes": round(sum(shard.bytes for shard in of) / 1e6, 1),
                }
    return {
        "kind": "shards",
        "path": str(path),
        "sample_rate": shards.sample_rate,
        "counts": counts,
        "fingerprint": shards.fingerprint,
    }


def _describe_audio(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        raise UserError(f"{path} is a part of a checkpoint: name its folder")
    info = probe(path)
    return {
        "kind": "audio",
        "path": str(path),
        "format": info.format,
        "seconds": round(info.seconds, 3),
        "frames": info.frames,
        "sample_rate": info.sample_rate,
        "channels": info.channels,
        "known_suffix": path.suffix.lower() in AUDIO_SUFFIXES,
    }


def as_lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Return facts as lines of text, nested ones indented."""
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}:"
        if isinstance(value, dict):
            lines += [label, *as_lines(value, indent + "  ")] if value else []
        elif isinstance(value, list):
            lines.append(f"{label} {', '.join(map(str, value))}")
        elif value is not None:
            lines.append(f"{label} {value}")
    return lines
