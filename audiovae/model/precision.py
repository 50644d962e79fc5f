"""The arithmetic that networks are used in: fp32, bf16 or 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from numba.core import config as numba_config

from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.eight_bits import in_eight_bits, is_heard

Precision = Literal["auto", "fp32", "bf16", "int8"]
PRECISIONS = get_args(Precision)


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is fast on a device."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def has_int8(device: torch.device) -> bool:
    """Whether a device multiplies bytes exactly, and compiled code may make use of it."""
    jit: Any = numba_config
    native = not (jit.CPU_NAME or jit.CPU_FEATURES or jit.DISABLE_JIT)
    return device.type == "cpu" and native and bool(torch.cpu._is_vnni_supported())


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context: bf16 where asked for, or where `auto` finds hardware for it."""
    use = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=use)


@dataclass(frozen=True)
class Runner:
    """A model as it is run."""

    model: AudioVAE
    """Itself, or its twin in 8 bits."""
    precision: str
    """Never `auto`."""

    def context(self) -> torch.autocast:
        """Return what its methods are to be called in."""
        return autocast(self.model.device, self.precision)


def choose_precision(model: AudioVAE, precision: str = "auto") -> str:
    """Return what `precision` comes to on the model's device: the fastest, where it is `auto`.

    Raises `UserError` on an unknown one, and on `int8` where it can't be had.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}; expected {' or '.join(PRECISIONS)}")
    if precision not in ("auto", "int8"):
        return precision
    able = has_int8(model.device)
    heard = able and is_heard(model)
    if precision == "int8" and not able:
        raise UserError("int8 needs a processor with VNNI: use bf16 or fp32")
    if precision == "int8" and not heard:
        raise UserError("this model was saved before int8: train it a step further, or use bf16")
    if heard:
        return "int8"
    return "bf16" if has_bf16(model.device) else "fp32"


def run_in(model: AudioVAE, precision: str = "auto") -> Runner:
    """Return a model ready to be run. Raises `UserError` as `choose_precision` does."""
    chosen = choose_precision(model, precision)
    if chosen != "int8":
        return Runner(model, chosen)
    # Half a second to make; made again when a tensor has changed.
    tensors = (*model.parameters(), *model.buffers())
    stamp = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
    made = _twins.get(model)
    if made is None or made[0] != stamp:
        made = _twins[model] = (stamp, in_eight_bits(model))
    return Runner(made[1], chosen)


_twins: WeakKeyDictionary[AudioVAE, tuple[tuple[tuple[int, int], ...], AudioVAE]]
_twins = WeakKeyDictionary()
