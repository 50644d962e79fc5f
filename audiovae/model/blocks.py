"""The building blocks: ConvNeXt in one dimension, and the change of frame rate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def reach(kernel_size: int, causal: bool) -> int:
    """Frames before its own that a kernel looks at; as many after it, unless it is causal."""
    return kernel_size - 1 if causal else kernel_size // 2


class Pointwise(nn.Linear):
    """A linear layer that knows what it was given: least and most, both 0 until it is heard.

    In 8 bits that is the range of its input, see `audiovae.model.eight_bits`.
    """

    span: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("span", torch.zeros(2))


def depthwise(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve each channel of `x (batch, frame, channel)` along time.

    As a 2-D convolution over channels-last memory, which is the layout of `x`: no copy, and a fifth
    off the time of a training step.
    """
    out = F.conv2d(
        x.transpose(1, 2).unsqueeze(2),
        conv.weight.unsqueeze(2),
        conv.bias,
        padding=(0, conv.padding[0]),  # type: ignore[arg-type]
        groups=x.shape[2],
    )
    # A causal one has padding on both sides too; what comes of the right one is cut off.
    return out[:, :, 0, : x.shape[1]].transpose(1, 2)


class Block(nn.Module):
    """ConvNeXt block: depthwise convolution, norm over channels, two pointwise layers, residual.

    Liu et al., "A ConvNet for the 2020s" (2022), in one dimension. The norm never looks along
    time, so the output depends on `kernel_size // 2` frames on each side and on nothing else;
    when `causal`, on `kernel_size - 1` frames before.
    """

    def __init__(self, width: int, kernel_size: int, expansion: int, causal: bool = False) -> None:
        super().__init__()
        padding = reach(kernel_size, causal)
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=padding, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = Pointwise(width, expansion * width)
        self.narrow = Pointwise(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))
        self.recomputed = False
        """Whether what is inside is computed again for gradients, instead of kept until then."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to the same shape."""
        if self.recomputed and torch.is_grad_enabled():
            return checkpoint(self._through, x, use_reentrant=False)
        return self._through(x)

    def _through(self, x: Tensor) -> Tensor:
        hidden = self.norm(depthwise(self.depthwise, x))
        return x + self.scale * self.narrow(F.gelu(self.widen(hidden)))


class Stack(nn.Sequential):
    """Blocks in a row, `(batch, frame, width)` to the same shape."""

    def __init__(
        self, count: int, width: int, kernel_size: int, expansion: int, causal: bool = False
    ) -> None:
        super().__init__(*(Block(width, kernel_size, expansion, causal) for _ in range(count)))


class FrameConv(nn.Conv1d):
    """A convolution along time of `(batch, channel, frame)` that returns `(batch, frame, out)`."""

    span: Tensor
    """As in `Pointwise`."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, causal: bool = False) -> None:
        super().__init__(inputs, outputs, kernel_size, padding=reach(kernel_size, causal))
        self.register_buffer("span", torch.zeros(2))

    def forward(self, input: Tensor) -> Tensor:
        """Map `(batch, channel, frame)` to `(batch, frame, out)`."""
        return super().forward(input)[:, :, : input.shape[2]].transpose(1, 2)


class Downsample(nn.Module):
    """Join `stride` frames into one, `(batch, frame / stride, width)`."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(width)
        self.join = Pointwise(stride * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames; their number must be a multiple of the stride."""
        batch, frames, width = x.shape
        return self.join(self.norm(x).reshape(batch, frames // self.stride, self.stride * width))


class Upsample(nn.Module):
    """Split a frame into `stride`: `(batch, frame, width)` to `(batch, frame * stride, width)`."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.split = Pointwise(width, stride * width)

    @torch.no_grad()
    def absorb(self, scale: Tensor, shift: Tensor) -> None:
        """Become what comes of `x * scale + shift`, `(width,)` each, without them."""
        self.split.bias.add_(self.split.weight @ shift)
        self.split.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames."""
        batch, frames, width = x.shape
        return self.split(x).reshape(batch, frames * self.stride, width)
