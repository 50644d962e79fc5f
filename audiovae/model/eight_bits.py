"""Networks in 8 bits, for processors that multiply bytes: twice as fast as in bf16.

Weights have a scale a row, inputs the range that their layer heard on training clips: fixed, so
that a frame still depends on its context alone and pieces of a stream join to the whole. What is
small stays in float32: depthwise convolutions, norms, residuals. After Jacob et al., "Quantization
and training of neural networks for efficient integer-arithmetic-only inference" (2018).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from audiovae.model import byte_kernels
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, FrameConv, Pointwise, Stack
from audiovae.model.byte_tile import pack

OUTSIDE = 1e-4
"""Share of what a layer hears that lies below its range, and above it: the odd outlier is cut."""
HEARD = 200_000
"""Values of a layer's input that its range is taken from."""
SMALL = 1 << 18
"""Weights under which a pointwise layer outside a block stays as it is: between blocks, and what z
and log-mel frames come from. They take little time, and their errors are heard."""
LEVELS = 255
PARALLEL = 128
"""Frames from which on a layer is worth more than one thread."""
T = TypeVar("T", bound=nn.Module)


@contextlib.contextmanager
def hearing(*networks: nn.Module) -> Iterator[None]:
    """Set the ranges of all layers of `networks` to what they are given meanwhile."""
    heard: dict[nn.Module, list[Tensor]] = {}

    def listen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given = inputs[0].detach().transpose(1, 2) if isinstance(layer, FrameConv) else inputs[0]
        frames = given.flatten(0, -2)
        if frames.numel() == 0:
            return
        # Whole frames: every so many values would be a few channels only.
        values = frames[:: -(-frames.numel() // HEARD)].float().flatten()
        ends = values.quantile(torch.tensor([OUTSIDE, 1 - OUTSIDE], device=values.device))
        heard.setdefault(layer, []).append(ends)

    layers = [m for n in networks for m in n.modules() if isinstance(m, Pointwise | FrameConv)]
    hooks = [layer.register_forward_pre_hook(listen) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for layer, ends in heard.items():
        low, high = torch.stack(ends).unbind(dim=1)
        layer.span.copy_(torch.stack([low.min(), high.max()]))  # type: ignore[operator, union-attr]


@torch.no_grad()
def hear_spans(model: AudioVAE, clips: Tensor, domains: list[str], *, common: bool = True) -> None:
    """Set the ranges of the decoders of `domains` from clips `(row, sample)`.

    And, with `common`, of the encoder and of what decoders share.
    """
    shared = [] if model.shared is None else [model.shared]
    parts = [model.encoder, *shared] if common else []
    with hearing(*parts, *(model.decoder(d) for d in domains)):
        z = model.encode(clips).mean
        for domain in domains:
            logmel, hidden = model.locate(z, domain)
            if model.config.voiced:
                model.tell(hidden, logmel, domain)


def is_heard(module: nn.Module) -> bool:
    """Whether every layer of a network knows the range of its input."""
    layers = [m for m in module.modules() if isinstance(m, Pointwise | FrameConv)]
    return all(bool(layer.span[0] < layer.span[1]) for layer in layers)


def _in_parts(frames: int, run: Callable[[int, int], None]) -> None:
    """Run a kernel on all frames: many of them on as many threads as torch has."""
    threads = torch.get_num_threads()
    if threads == 1 or frames < PARALLEL:
        run(0, frames)
        return
    ends = [frames * part // threads for part in range(threads + 1)]
    list(_pool(threads).map(run, ends[:-1], ends[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "audiovae-bytes")


def _array(x: Tensor) -> np.ndarray:
    if x.dtype != torch.float32 or x.requires_grad or not x.is_contiguous():
        x = x.detach().float().contiguous()
    return x.numpy()


class _Layer:
    """A linear layer in codes: what `byte_kernels` is given of it.

    Args:
        weight: `(outputs, inputs)`, a multiple of 4 of them.
        bias: `(outputs,)`.
        span: least and most of its input; what is beyond is cut.
    """

    def __init__(self, weight: Tensor, bias: Tensor, span: Tensor) -> None:
        low, high = min(0.0, float(span[0])), max(0.0, float(span[1]))
        step = (high - low) / LEVELS
        zero = round(-low / step)
        rows = weight.detach().float().cpu()
        scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
        codes = (rows / scale[:, None]).round().to(torch.int8)
        factor = (scale * step).double()
        base = bias.detach().double().cpu() - zero * codes.sum(dim=1) * factor
        # The half makes a cut a rounding.
        self.coding = np.array([1 / step, zero + 0.5], np.float32)
        self.told = _array(torch.stack([factor, base]))
        self.packed = pack(codes.numpy())


class Int8Conv(nn.Module):
    """A `FrameConv`, or a linear layer on `(…, inputs)`, in 8 bits; returns float32.

    Args:
        weight: `(outputs, taps * inputs)`.
        bias: `(outputs,)`.
        span: least and most of its input.
        taps: frames that it looks at.
        before: and how many of them come before its own.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, span: Tensor, taps: int = 1, before: int = 0
    ) -> None:
        super().__init__()
        self.layer, self.taps, self.before = _Layer(weight, bias, span), taps, before
        self.outputs = len(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, frame, inputs)` to `(batch, frame, outputs)`, and with one tap any shape."""
        shape = (*x.shape[:-1], self.outputs)
        given = _array(x if self.taps > 1 else x.reshape(1, -1, x.shape[-1]))
        made = np.empty((*given.shape[:2], self.outputs), np.float32)
        layer, convolve = self.layer, byte_kernels.convolve
        told = (layer.coding, layer.packed, layer.told)
        _in_parts(
            given.shape[1],
            lambda start, stop: convolve(given, self.before, self.taps, *told, made, start, stop),
        )
        return torch.from_numpy(made).view(shape)


class Int8FrameConv(Int8Conv):
    """A `FrameConv` in 8 bits."""

    def __init__(self, conv: FrameConv) -> None:
        # Frame by frame, as the frames lie in memory.
        weight, (taps,) = conv.weight.transpose(1, 2).flatten(1), conv.kernel_size
        assert conv.bias is not None
        super().__init__(weight, conv.bias, conv.span, taps, int(conv.padding[0]))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channel, frame)` to `(batch, frame, out)`."""
        return super().forward(x.transpose(1, 2))


class Int8Block(nn.Module):
    """A `Block` in 8 bits."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        scale, last, first = block.scale, block.narrow, block.widen
        widen = _Layer(first.weight, first.bias, first.span)
        narrow = _Layer(scale[:, None] * last.weight, scale * last.bias, last.span)
        conv, norm = block.depthwise, block.norm
        assert conv.bias is not None
        taps = torch.cat([conv.weight[:, 0].T, conv.bias[None]])
        self.before = int(conv.padding[0])
        self.arrays: tuple[np.ndarray, ...] = (
            _array(taps),
            _array(torch.stack([norm.weight, norm.bias])),
            np.stack([widen.coding, narrow.coding]),
            *(widen.packed, widen.told, narrow.packed, narrow.told),
        )
        """What `byte_kernels.block` is given."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to the same shape."""
        given = _array(x)
        made = np.empty_like(given)
        _in_parts(
            given.shape[1],
            lambda start, stop: byte_kernels.block(
                given, self.before, *self.arrays, made, start, stop
            ),
        )
        return torch.from_numpy(made)


class Int8Stack(nn.Sequential):
    """A `Stack` in 8 bits."""

    def __init__(self, stack: Stack) -> None:
        blocks = [Int8Block(block) for block in stack.children() if isinstance(block, Block)]
        super().__init__(*blocks)
        parts = zip(*(block.arrays for block in blocks), strict=True)
        self.arrays = tuple(np.stack(part) for part in parts)
        for i, block in enumerate(blocks):
            block.arrays = tuple(array[i] for array in self.arrays)

    def carry(self, x: Tensor, past: np.ndarray | None) -> tuple[Tensor, np.ndarray]:
        """Map the next frames of a stream, where no block looks ahead.

        Args:
            x: `(batch, frame, width)`.
            past: what the call before returned beside its frames; changed in place.
        """
        taps, width = self.arrays[0].shape[1:]
        if past is None:
            past = np.zeros((len(self), x.shape[0], taps - 2, width), np.float32)
        return torch.from_numpy(byte_kernels.causal(_array(x), past, *self.arrays)), past


def _pointwise(layer: Pointwise) -> nn.Module:
    if layer.weight.numel() < SMALL:
        return layer
    return Int8Conv(layer.weight, layer.bias, layer.span)


def _stack(stack: Stack) -> nn.Module:
    return Int8Stack(stack) if len(stack) else stack


EIGHT_BITS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    Stack: _stack,
    Block: Int8Block,
    FrameConv: Int8FrameConv,
    Pointwise: _pointwise,
}
"""What takes the place of a layer."""


def in_eight_bits(module: T) -> T:
    """Return a twin whose layers compute in 8 bits; what they don't replace is shared."""
    if type(module) in EIGHT_BITS:
        return cast(T, EIGHT_BITS[type(module)](module))
    twin = copy.copy(module)
    twin._modules = {
        name: None if child is None else in_eight_bits(child)
        for name, child in module._modules.items()
    }
    return twin
