"""The model on a stream as functions of tensors: buffer and states in, buffer and states out.

Buffers are whole latent hops of any number. A frame is given once its context is there: by then
the stream is some frames on, and the first frames that a layer gives are of before the beginning.
Every layer gets the indices of its frames, and takes those below 0 as its own padding of zeros, so
that what comes out is what the whole would have given, later. All states begin as zeros.

`torch.jit.script` compiles what is here, hence plain classes without strings for types.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, FrameConv, reach
from audiovae.model.decoder import LOUDEST, LogMelDecoder, LogMelHead
from audiovae.model.export_dft import Dft, split_windows
from audiovae.model.export_sound import Listener, plain
from audiovae.model.latent import GRAIN, soft_round


def there(index: Tensor) -> Tensor:
    """Return 1 for frames from 0 on and 0 for those before, `(frame,)`."""
    return (index >= 0).to(torch.float32)


class Conv(nn.Module):
    """A `FrameConv`, frame by frame: `(batch, frame, channel)` to `(batch, frame, out)`."""

    def __init__(self, conv: FrameConv, causal: bool) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias
        kernel = conv.kernel_size[0]
        self.after = kernel - 1 - reach(kernel, causal)
        self.shape = [kernel - 1, conv.in_channels]
        """Of a row's state."""

    def forward(self, x: Tensor, index: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map frames, their indices and the state to what is ready, its indices, the state."""
        window = torch.cat([state, x * there(index)[None, :, None]], 1)
        made = F.conv1d(window.transpose(1, 2), self.weight, self.bias).transpose(1, 2)
        return made, index - self.after, window[:, x.shape[1] :]


class StreamBlock(nn.Module):
    """A `Block`, frame by frame: `(batch, frame, width)` to the same shape."""

    def __init__(self, block: Block, causal: bool) -> None:
        super().__init__()
        conv = block.depthwise
        assert conv.bias is not None
        self.weight, self.bias, self.width = conv.weight, conv.bias, conv.in_channels
        self.norm, self.widen, self.narrow = block.norm, plain(block.widen), plain(block.narrow)
        self.scale = block.scale
        kernel = conv.kernel_size[0]
        self.before = reach(kernel, causal)
        self.after = kernel - 1 - self.before
        self.shape = [kernel - 1, self.width]
        """Of a row's state."""

    def forward(self, x: Tensor, index: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map frames, their indices and the state to what is ready, its indices, the state."""
        frames = x.shape[1]
        window = torch.cat([state, x * there(index)[None, :, None]], 1)
        mixed = F.conv1d(window.transpose(1, 2), self.weight, self.bias, groups=self.width)
        hidden = self.narrow(F.gelu(self.widen(self.norm(mixed.transpose(1, 2)))))
        made = window[:, self.before : self.before + frames] + self.scale * hidden
        return made, index - self.after, window[:, frames:]


class Frames(nn.Module):
    """Layers in a row, each with a state.

    Args:
        layers: `Conv` and `StreamBlock`.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        shapes: list[list[int]] = [layer.shape for layer in layers]  # type: ignore[misc]
        self.shapes = shapes
        """Of a row's states."""
        self.after = sum(int(layer.after) for layer in layers)  # type: ignore[arg-type, misc]
        """Frames that the output is behind the input."""

    def forward(
        self, x: Tensor, index: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Map frames, their indices and the states to what is ready, its indices, the states."""
        after: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            x, index, state = layer(x, index, states[i])
            after.append(state)
        return x, index, after


class StreamEncoder(nn.Module):
    """Sound to the means of latent frames.

    Args:
        model: that encodes.
        dft: of its windows.
        late: frames that the stream is on, at least, before frame 0 is read.
    """

    step: Tensor

    def __init__(self, model: AudioVAE, dft: Dft, late: int = 0) -> None:
        super().__init__()
        encoder, audio, causal = model.encoder, model.config.audio, model.config.audio.causal
        stride = model.config.model.latent_stride
        self.listener, self.stride = Listener(model, dft), stride
        self.n_fft, self.hop = audio.n_fft, audio.hop_length
        self.latent = model.config.model.latent_dim
        self.fast = Frames([Conv(encoder.embed, causal), *stream_blocks(encoder.fast, causal)])
        self.down_norm, self.down = encoder.down.norm, plain(encoder.down.join)
        self.slow = Frames(stream_blocks(encoder.slow, causal))
        self.norm, self.head = encoder.norm, plain(encoder.head)
        windows = max(late, -(-dft.side // self.hop))
        self.late = windows + -(windows + self.fast.after) % stride
        """Frames that come before frame 0."""
        self.rounded = model.latent_noise is not None
        noise = model.latent_noise if model.latent_noise is not None else torch.ones(self.latent)
        self.register_buffer("step", GRAIN * noise.detach().clone())
        self.fasts = len(self.fast.shapes)
        self.shapes = [[dft.side + self.late * self.hop], *self.fast.shapes, *self.slow.shapes]
        """Of a row's states."""

    @property
    def after(self) -> int:
        """Frames that z is behind the sound."""
        return self.late + self.fast.after + self.stride * self.slow.after

    def forward(
        self, audio: Tensor, heard: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Encode a buffer.

        Args:
            audio: `(batch, sample)`, whole latent hops.
            heard: samples of the stream before it, int64 `(1,)`.
            states: as `shapes` has them, `(batch, …)` each.

        Returns:
            Means `(batch, frame, latent)`, the indices of their frames, and the states.
        """
        count = audio.shape[1] // self.hop
        window = torch.cat([states[0], audio], 1)
        # Whole hops hold the windows; what is older than the first one's start is in no window.
        hops = -(-self.n_fft // self.hop)
        used = F.pad(window, (0, hops * self.hop))[:, : (count + hops - 1) * self.hop]
        index = heard // self.hop - self.late + torch.arange(count, device=audio.device)
        x = self.listener(split_windows(used, self.n_fft, self.hop))
        x, index, fast = self.fast(x, index, states[1 : 1 + self.fasts])
        x = self.down(self.down_norm(x).reshape(x.shape[0], count // self.stride, -1))
        index = torch.div(index.reshape(-1, self.stride)[:, 0], self.stride, rounding_mode="floor")
        x, index, slow = self.slow(x, index, states[1 + self.fasts :])
        z = self.head(self.norm(x))[:, :, : self.latent]
        if self.rounded:
            z = soft_round(z, self.step)
        after: list[Tensor] = [window[:, audio.shape[1] :]]
        return z, index, after + fast + slow


class StreamDecoder(nn.Module):
    """Latent frames to log-mel frames of a domain, as `AudioVAE.decode` and `playable` do."""

    ceiling: Tensor
    mean: Tensor
    std: Tensor
    film: Tensor

    def __init__(self, model: AudioVAE, domain: str) -> None:
        super().__init__()
        decoder, causal = model.decoder(domain), model.config.audio.causal
        trunk, head = decoder.parts(model.shared)
        assert isinstance(decoder, LogMelDecoder) and isinstance(head, LogMelHead)
        self.trunk = Frames([Conv(trunk.embed, causal), *stream_blocks(trunk.blocks, causal)])
        self.up = plain(head.up.split)
        self.stride = model.config.model.latent_stride
        self.head = Frames(stream_blocks(head.blocks, causal))
        self.norm, self.out = head.norm, plain(head.out)
        width = model.config.model.decoder_width
        same = torch.stack([torch.ones(width), torch.zeros(width)])
        self.register_buffer("film", same if decoder.film is None else decoder.film.detach())
        self.register_buffer("ceiling", decoder.ceiling.clone())
        self.register_buffer("mean", model.feature_mean[:, 0].clone())
        self.register_buffer("std", model.feature_std[:, 0].clone())
        self.least, self.most = math.log(model.config.audio.log_floor), LOUDEST
        self.trunks = len(self.trunk.shapes)
        self.shapes = [*self.trunk.shapes, *self.head.shapes]
        """Of a row's states."""

    @property
    def after(self) -> int:
        """Frames that log-mel frames are behind z."""
        return self.stride * self.trunk.after + self.head.after

    def forward(
        self, z: Tensor, index: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Decode `z (batch, frame, latent)` with the indices of its frames.

        Returns log-mel `(batch, frame, n_mels)`, the indices of its frames, and the states.
        """
        x, index, trunk = self.trunk(z, index, states[: self.trunks])
        x = self.up(x * self.film[0] + self.film[1])
        x = x.reshape(x.shape[0], x.shape[1] * self.stride, -1)
        each = torch.arange(self.stride, device=z.device)
        index = (index[:, None] * self.stride + each).reshape(-1)
        x, index, head = self.head(x, index, states[self.trunks :])
        frames = torch.minimum(self.out(self.norm(x)), self.ceiling) * self.std + self.mean
        return frames.clamp(self.least, self.most), index, trunk + head


def stream_blocks(blocks: nn.Module, causal: bool) -> list[nn.Module]:
    """Return the blocks of a stack as layers of a stream."""
    return [StreamBlock(block, causal) for block in blocks.children() if isinstance(block, Block)]
