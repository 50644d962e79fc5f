"""Which model is meant, and with what vocoder."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from audiovae.errors import CheckpointError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.header import read_header
from audiovae.model.pretrained import HUB_ID, fetch
from audiovae.model.vocoder import LinkedVocoder
from audiovae.model.weights import VOCODER, load_model
from audiovae.training.optimise import pick_device
from audiovae.training.start import (
    SHIPPED,
    checkpoint_folder,
    fitting_vocoder,
    load_vocoder,
    shipped_weights,
)


@dataclass(frozen=True)
class Resolved:
    """A model that is ready, and what to say of it."""

    model: AudioVAE
    source: str
    """Where it was found."""
    note: str
    """In one line: the model, and what turns its log-mel frames into sound."""


def resolve_model(
    path: str | Path | None = None,
    *,
    vocoder: str | Path | None = None,
    device: str = "auto",
    domains: Collection[str] | None = None,
) -> AudioVAE:
    """Load a model for use, in evaluation mode.

    A model without a vocoder of its own gets the shipped one where its audio settings are the
    same, and Griffin-Lim elsewhere.

    Args:
        path: a run folder, a checkpoint folder, a hub id, or the name of a shipped model:
            `default`, which is also meant when left out, or `causal`, the one for live use.
        vocoder: a run or checkpoint folder whose vocoder to use.
        device: `auto`, `cpu`, `cuda`, `mps`.
        domains: whose decoders to load, as `load_model` has it; all of them when left out.

    Raises:
        CheckpointError: when there is no such model, or it is damaged.
        UserError: when there is no such device.
    """
    return find_model(path, vocoder=vocoder, device=device, domains=domains).model


def find_model(
    path: str | Path | None = None,
    *,
    vocoder: str | Path | None = None,
    device: str = "auto",
    domains: Collection[str] | None = None,
) -> Resolved:
    """Do what `resolve_model` does, and tell what was found where."""
    place = pick_device(device)
    folder = find_checkpoint(path)
    model = load_model(folder, domains)
    if not model.domains and not read_header(folder)["domains"]:
        raise CheckpointError(
            f"{folder} holds a vocoder and no domains: give it as --vocoder, with a model"
        )
    inverter = "nothing"
    if model.domains:
        inverter = _attach(model, None if vocoder is None else checkpoint_folder(vocoder))
    source = "the shipped model" if path is None else str(path)
    source = f"the shipped {path} model" if str(path) in SHIPPED else source
    return Resolved(model.to(place).eval(), source, f"{source} on {place}, sound by {inverter}")


def _attach(model: AudioVAE, folder: Path | None) -> str:
    """Give the model the vocoder it lacks; return what its sound is made by."""
    if model.config.speaks:
        return "its own decoders"
    if folder is not None:
        _use(model, load_vocoder(folder, model.config))
        return f"the vocoder of {folder}"
    if model.vocoder is not None:
        return "its own vocoder"
    if model.config.vocoder.vocoder == "griffin-lim":
        return "Griffin-Lim, as its settings say"
    vocoder = fitting_vocoder(model.config)
    if vocoder is not None:
        _use(model, vocoder)
        return "the shipped vocoder"
    there = (shipped_weights() / VOCODER).is_file()
    lack = "the shipped one is for other audio settings" if there else "none is shipped"
    return f"Griffin-Lim: it has no vocoder, and {lack}"


def _use(model: AudioVAE, vocoder: LinkedVocoder) -> None:
    model.vocoder = vocoder
    # So that the model, saved again, says what its vocoder is.
    model.config = dataclasses.replace(model.config, vocoder=vocoder.config.vocoder)


def find_checkpoint(path: str | Path | None = None) -> Path:
    """Return the checkpoint folder of a run, a checkpoint, a hub id or a shipped model."""
    path = "default" if path is None else path
    name = str(path)
    if name in SHIPPED:
        folder = shipped_weights(name)
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"this installation has no shipped {name} model: name one, as in --model RUN, "
                "or install the package again"
            )
        return folder
    folder = Path(path)
    if folder.is_dir():
        return checkpoint_folder(folder)
    if folder.exists():
        raise CheckpointError(f"{folder} is a file; expected a run or checkpoint folder")
    if HUB_ID.fullmatch(str(path)):
        return fetch(str(path))
    raise CheckpointError(f"no model at {folder}; expected a run folder or a checkpoint folder")


def fingerprint(model: AudioVAE, decoders: bool = False) -> str:
    """Return 16 hexadecimal digits that say which encoder, and decoders, made an embedding."""
    digest = hashlib.sha256(repr(model.statistics.noise).encode())
    tensors = {} if not decoders else model.decoders.state_dict(prefix="decoders.")
    for name, tensor in sorted(model.encoder.state_dict().items()) + sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
