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
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, FrameConv, Pointwise, depthwise

OUTSIDE = 1e-4
"""Share of what a layer hears that lies below its range, and above it: the odd outlier is cut."""
HEARD = 200_000
"""Values of a layer's input that its range is taken from."""
SMALL = 1 << 18
"""Weights under which a pointwise layer outside a block stays as it is: between blocks, and what z
and log-mel frames come from. They take little time, and their errors are heard."""
LEVELS = 255
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
            if model.waveform:
                model.tell(hidden, logmel, domain)


def is_heard(module: nn.Module) -> bool:
    """Whether every layer of a network knows the range of its input."""
    layers = [m for m in module.modules() if isinstance(m, Pointwise | FrameConv)]
    return all(bool(layer.span[0] < layer.span[1]) for layer in layers)


class Int8Linear(nn.Module):
    """A linear layer on `(…, inputs)` in 8 bits; returns float32.

    Args:
        weight: `(outputs, inputs)`.
        bias: `(outputs,)`.
        span: least and most of its input; what is beyond is cut.
        after: the layer that takes its output through a GELU: it is then given as that one's codes.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, span: Tensor, after: Int8Linear | None = None
    ) -> None:
        super().__init__()
        low, high = min(0.0, float(span[0])), max(0.0, float(span[1]))
        self.step = (high - low) / LEVELS
        self.zero = round(-low / self.step)
        rows = weight.detach().float().cpu()
        self.scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
        codes = (rows / self.scale[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(codes, None)
        self.zeros = torch.zeros(len(rows), dtype=torch.int32)
        self.bias = bias.detach().float().cpu()
        self.after: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        if after is not None:
            self.after = (after.step, after.zero, torch.uint8, "gelu", [], "none")

    def codes(self, x: Tensor) -> Tensor:
        """Return the 8-bit codes of an input of any shape."""
        # The half makes a cut a rounding.
        places = (x.float() * (1 / self.step)).add_(self.zero + 0.5)
        return places.clamp_(0, LEVELS).to(torch.uint8)

    def multiply(self, codes: Tensor) -> Tensor:
        """Map codes `(…, inputs)` to `(…, outputs)`: float32, or codes of the layer after."""
        rows = codes.flatten(0, -2)
        weight = (self.packed, self.scale, self.zeros, self.bias)
        out = torch.ops.onednn.qlinear_pointwise(rows, self.step, self.zero, *weight, *self.after)
        return out.reshape(*codes.shape[:-1], len(self.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(…, inputs)` to `(…, outputs)`."""
        return self.multiply(self.codes(x))


class Int8FrameConv(nn.Module):
    """A `FrameConv` in 8 bits."""

    def __init__(self, conv: FrameConv) -> None:
        super().__init__()
        # Frame by frame, as the frames lie in memory.
        weight = conv.weight.transpose(1, 2).flatten(1)
        assert conv.bias is not None
        self.linear = Int8Linear(weight, conv.bias, conv.span)
        self.kernel_size, self.before = conv.kernel_size[0], int(conv.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channel, frame)` to `(batch, frame, out)`."""
        codes = self.linear.codes(x.transpose(1, 2))
        after = self.kernel_size - 1 - self.before
        codes = F.pad(codes, (0, 0, self.before, after), value=self.linear.zero)
        windows = codes.unfold(1, self.kernel_size, 1).transpose(2, 3)
        return self.linear.multiply(windows.flatten(2))


class Int8Block(nn.Module):
    """A `Block` in 8 bits; what is between its pointwise layers stays in codes."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.depthwise, self.norm = block.depthwise, block.norm
        scale, last, first = block.scale, block.narrow, block.widen
        self.narrow = Int8Linear(scale[:, None] * last.weight, scale * last.bias, last.span)
        self.widen = Int8Linear(first.weight, first.bias, first.span, self.narrow)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to the same shape."""
        hidden = self.norm(depthwise(self.depthwise, x))
        return x + self.narrow.multiply(self.widen(hidden))


def _pointwise(layer: Pointwise) -> nn.Module:
    if layer.weight.numel() < SMALL:
        return layer
    return Int8Linear(layer.weight, layer.bias, layer.span)


EIGHT_BITS: dict[type[nn.Module], Callable[..., nn.Module]] = {
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
