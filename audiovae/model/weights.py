"""The checkpoint folder: `config.json`, safetensors, a model card. No code is ever loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import audiovae
from audiovae.atomic import replacing
from audiovae.config import Config
from audiovae.errors import CheckpointError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.header import (
    FORMAT,
    checksum,
    from_dict_statistics,
    model_card,
    read_header,
)
from audiovae.model.notes import NoteEncoder
from audiovae.model.sequence import SequencePrior, SequenceShape
from audiovae.model.vocoders import make_vocoder
from audiovae.tables import from_dict, to_dict

STORAGE = ("float32", "bfloat16", "int8")
QUANTISE_FROM = 4096
"""Tensors smaller than this are not stored in 8 bits: they cost little and matter much."""
HALF_FROM, HALF_MOST = 8, 1e4
"""With 8 bits, tensors of more numbers than this, and none beyond that, are stored in float16."""
SCALE = "::scale"
VOCODER, NOTES = "vocoder.safetensors", "notes.safetensors"
"""Files of a checkpoint folder that hold its vocoder, and what turns notes into z."""
SEQUENCE = "sequence.safetensors"
"""And its prior over time."""
MOST_OVERHEAD = 1 << 20
"""Bytes of a file that are no weights: names, shapes, scales."""


def pack(state: dict[str, Tensor], storage: str) -> dict[str, Tensor]:
    """Return tensors as stored: whole, in bfloat16, or in 8 bits with a scale a row.

    Small ones, and those of one dimension, stay whole; beside 8 bits they are float16 where its
    range holds them.
    """
    if storage not in STORAGE:
        raise UserError(f"unknown storage {storage!r}; expected one of {', '.join(STORAGE)}")
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        if storage == "float32" or tensor.numel() < QUANTISE_FROM or tensor.dim() < 2:
            small = (
                storage == "int8" and tensor.numel() > HALF_FROM and tensor.abs().max() < HALF_MOST
            )
            packed[name] = tensor.half() if small else tensor.float()
        elif storage == "bfloat16":
            packed[name] = tensor.bfloat16()
        else:
            rows = tensor.float().flatten(1)
            scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
            packed[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
            packed[name + SCALE] = scale
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Invert `pack`, to float32."""
    state = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype == torch.int8:
            if name + SCALE not in packed:
                raise CheckpointError(f"tensor {name!r} is stored in 8 bits but has no scale")
            scale = packed[name + SCALE].float()
            state[name] = tensor * scale.reshape(-1, *[1] * (tensor.dim() - 1))
        else:
            state[name] = tensor.float()
    return state


def _decoder_file(domain: str) -> str:
    return f"decoders/{quote(domain, safe=' ')}.safetensors"


def _parts(model: AudioVAE) -> dict[str, nn.Module]:
    """Return the modules of a model by the file that holds them."""
    parts: dict[str, nn.Module] = {"encoder.safetensors": model.encoder}
    if model.shared is not None:
        parts["shared.safetensors"] = model.shared
    for domain in model.domains:
        parts[_decoder_file(domain)] = model.decoder(domain)
    if model.vocoder is not None:
        parts[VOCODER] = model.vocoder
    if model.notes is not None:
        parts[NOTES] = model.notes
    if not model.prior.exact:
        parts["prior.safetensors"] = model.prior
    if model.sequence is not None:
        parts[SEQUENCE] = model.sequence
    return parts


def describe(model: AudioVAE) -> dict[str, Any]:
    """Return what `config.json` holds."""
    sequence = {} if model.sequence is None else {"sequence": describe_sequence(model.sequence)}
    return {
        "format": FORMAT,
        "versions": {"audiovae": audiovae.__version__, "torch": torch.__version__},
        "domains": model.domains,
        "config": to_dict(model.config),
        "statistics": to_dict(model.statistics),
        "provenance": model.provenance,
        **sequence,
    }


def describe_sequence(prior: SequencePrior) -> dict[str, Any]:
    """Return what `config.json` holds of a prior over time."""
    return {"shape": to_dict(prior.shape), "facts": prior.facts}


def write_sequence(prior: SequencePrior, folder: Path, output: Path) -> Path:
    """Write a checkpoint folder again with a prior over time, in 8 bits, in one step.

    All else in it stays as it is; `output` may be the folder itself.
    """
    data = save(pack(prior.state_dict(), "int8"))
    header = read_header(folder) | {"sequence": describe_sequence(prior)}
    if "files" in header:
        header["files"] |= {SEQUENCE: checksum(data)}
    with replacing(output) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        (temporary / SEQUENCE).write_bytes(data)
        (temporary / "config.json").write_bytes(_json(header))
    return output


def _json(header: dict[str, Any]) -> bytes:
    return (json.dumps(header, indent=1) + "\n").encode()


def save_model(model: AudioVAE, folder: Path, *, storage: str = "float32", card: str = "") -> Path:
    """Write a checkpoint folder under a temporary name, then move it into place."""
    if folder.exists() and not (folder / "config.json").is_file():
        raise UserError(f"{folder} exists and is no checkpoint: choose another output folder")
    with replacing(folder) as temporary:
        files = {}
        for name, module in _parts(model).items():
            data = save(pack(module.state_dict(), storage))
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(data)
            files[name] = checksum(data)
        (temporary / "config.json").write_bytes(_json(describe(model) | {"files": files}))
        (temporary / "README.md").write_text(card or model_card(model))
    return folder


def load_model(folder: Path, domains: Collection[str] | None = None) -> AudioVAE:
    """Load a checkpoint folder, in evaluation mode.

    Args:
        folder: the checkpoint.
        domains: whose decoders to load, where only some are needed: half of the time of a start
            goes into decoders. All when left out, or when one is unknown: whoever asks for it can
            then be told all that there are. Without any nothing sounds, so nothing
            but the encoder is loaded.

    Raises `CheckpointError` on a missing or damaged file, an unknown key, or tensors that do not
    fit the config.
    """
    if not folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        if not old.is_dir():
            raise CheckpointError(f"no checkpoint folder at {folder}")
        folder = old  # The last save was cut off between two renames.
    header = read_header(folder)
    try:
        config = from_dict(Config, header["config"])
        statistics = from_dict_statistics(header["statistics"], config)
        there = header["domains"]
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'} lacks {error}") from None
    wanted = there if domains is None or not {*domains} <= {*there} else {*domains}
    for domain in wanted:
        _need_file(folder / _decoder_file(domain))
    try:
        with _Unfilled():
            model = AudioVAE(config, sorted(wanted), statistics)
            if wanted and (folder / VOCODER).exists():
                model.vocoder = make_vocoder(config)
            if wanted and (folder / NOTES).exists():
                model.notes = NoteEncoder(config)
            if wanted and "sequence" in header:
                model.sequence = _sequence(header["sequence"], config, folder)
    except (RuntimeError, MemoryError) as error:
        reason = (str(error).splitlines() or ["too little memory"])[0]
        raise CheckpointError(
            f"{folder} describes networks that can't be built: {reason}"
        ) from None
    model.provenance = header.get("provenance", {})
    for name, module in _parts(model).items():
        load_part(module, folder, name, header)
    return model.eval()


def _sequence(values: Any, config: Config, folder: Path) -> SequencePrior:
    """Return a prior over time as `config.json` describes it, its weights to be loaded."""
    try:
        shape = from_dict(SequenceShape, values["shape"], "sequence.shape")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} has no sound sequence: {error}") from None
    if shape.latent_dim != config.model.latent_dim:
        raise CheckpointError(f"{folder} has a prior over time of another number of dimensions")
    prior = SequencePrior(shape)
    prior.facts = values.get("facts", {})
    return prior


_DRAWS = (nn.init.kaiming_uniform_, Tensor.uniform_)


class _Unfilled(TorchFunctionMode):
    """Draws no random weights: those that are loaded replace them, and drawing takes as long."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return (
            (*args, *(kwargs or {}).values())[0]
            if func in _DRAWS
            else func(*args, **(kwargs or {}))
        )


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing from the checkpoint")


def load_part(module: nn.Module, folder: Path, name: str, header: dict[str, Any]) -> None:
    """Load a file of a checkpoint into a module, strictly; what was not yet heard may lack.

    Args:
        module: to be filled.
        folder: the checkpoint.
        name: of the file in it.
        header: its `config.json`; what it lists in `files` has to be what was written. A
            checkpoint of an older version lists none.

    Raises `CheckpointError` where the file is missing, larger than the module could need, damaged
    or of another network.
    """
    path = folder / name
    _need_file(path)
    state = module.state_dict()
    most = MOST_OVERHEAD + sum(8 * tensor.numel() for tensor in state.values())
    if path.stat().st_size > most:
        raise CheckpointError(f"{path} is over {most} bytes, too large for the config")
    data, known = path.read_bytes(), header.get("files", {}).get(name)
    if known is not None and checksum(data) != known:
        raise CheckpointError(f"{path} is damaged (its checksum differs): copy or train it again")
    try:
        unheard = {k: v for k, v in state.items() if k.endswith(".span")}
        # What was unpacked becomes the weights: no copy.
        module.load_state_dict(unheard | unpack(load(data)), strict=True, assign=True)
    except SafetensorError as error:
        said = " ".join(str(error).split())  # It quotes the file, line breaks and all.
        raise CheckpointError(f"{path} is damaged ({said}): copy or train it again") from None
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path} does not fit the config: {detail}") from None
