"""Windows, spectra and overlap-add in real tensors of any batch and length: forms that export.

They equal `audiovae.audio.features`, but for the order of sums. There is no FFT and no complex
type, which ONNX lacks: a window's spectrum is two products with matrices of cosines and sines, and
the window is folded about its middle first, which halves them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import LEAST_WEIGHT


def split_windows(padded: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Return the windows `(batch, frame, n_fft)` of `padded (batch, sample)`.

    The samples are whole hops, and there is a frame for each hop but for the last
    `ceil(n_fft / hop_length) - 1`.
    """
    hops = -(-n_fft // hop_length)
    blocks = padded.reshape(padded.shape[0], -1, hop_length)
    count = blocks.shape[1] - (hops - 1)
    parts = [blocks[:, i : i + count] for i in range(hops)]
    return torch.cat(parts, 2)[:, :, :n_fft]


def join_windows(frames: Tensor, hop_length: int) -> Tensor:
    """Add `frames (batch, frame, n_fft)` at their places.

    Returns `(batch, (frame + hops - 1) * hop_length)`, where a window is `hops` long, rounded up.
    """
    batch, count, n_fft = frames.shape
    hops = -(-n_fft // hop_length)
    parts = F.pad(frames, (0, hops * hop_length - n_fft)).reshape(batch, count, hops, hop_length)
    total = F.pad(parts[:, :, 0], (0, 0, 0, hops - 1))
    for i in range(1, hops):
        total = total + F.pad(parts[:, :, i], (0, 0, i, hops - 1 - i))
    return total.reshape(batch, -1)


def held(valid: Tensor, hop_length: int) -> Tensor:
    """Return `(frame * hop_length,)`: each value of `valid (frame,)` for a whole hop."""
    return valid[:, None].expand(-1, hop_length).reshape(-1)


class Dft(nn.Module):
    """Spectra of Hann windows and back, as real and imaginary parts.

    Args:
        n_fft: samples in a window, even.
        hop_length: from one to the next.
    """

    window: Tensor
    cosines: Tensor
    sines: Tensor
    weights: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.middle = n_fft, hop_length, n_fft // 2
        self.hops, self.side = -(-n_fft // hop_length), (n_fft - hop_length) // 2
        self.least = LEAST_WEIGHT
        places = torch.arange(self.middle + 1)
        angle = 2 * math.pi / n_fft * (places[:, None] * places % n_fft).double()
        window = torch.hann_window(n_fft)
        self.register_buffer("window", window)
        self.scale = float(window.sum())
        # Both are symmetric: rows may be samples or bins.
        self.register_buffer("cosines", angle.cos().float())
        self.register_buffer("sines", angle.sin().float())
        weights = torch.full((self.middle + 1,), 2.0 / n_fft)
        weights[0] = weights[-1] = 1.0 / n_fft
        self.register_buffer("weights", weights)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Map `(batch, frame, n_fft)` to both parts of `spectra`, `(batch, frame, bin)` each."""
        x, half = windows * (self.window / self.scale), self.middle
        first, rest = x[:, :, 1:half], x[:, :, half + 1 :].flip(2)
        even = torch.cat([x[:, :, :1], first + rest, x[:, :, half : half + 1]], 2)
        return even @ self.cosines, (rest - first) @ self.sines[1:half]

    def centred(self, audio: Tensor) -> Tensor:
        """Return the windows `(batch, ceil(sample / hop), n_fft)` that `pad_to_frames` makes."""
        samples, hop = audio.shape[1], self.hop_length
        count = (samples + hop - 1) // hop
        padded = F.pad(audio, (self.side, (count + self.hops - 1) * hop - self.side - samples))
        return split_windows(padded, self.n_fft, hop)

    def inverse(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Map both parts `(batch, frame, bin)` to windowed sound `(batch, frame, n_fft)`."""
        half = self.middle
        even = (real * self.weights) @ self.cosines
        odd = ((imaginary * self.weights) @ self.sines)[:, :, 1:half]
        inner = even[:, :, 1:half]
        parts = [even[:, :, :1], inner - odd, even[:, :, half:], (inner + odd).flip(2)]
        return torch.cat(parts, 2) * (self.window * self.scale)

    def envelope(self, valid: Tensor) -> Tensor:
        """Return the summed squared windows `(sample,)` of the frames that `valid (frame,)` has.

        As long as what `join_windows` returns.
        """
        squared = valid[None, :, None] * self.window.square()
        return join_windows(squared, self.hop_length)[0]

    def sound(self, real: Tensor, imaginary: Tensor, valid: Tensor) -> Tensor:
        """Map spectra `(batch, frame, bin)` to the sound between the middles of the end frames.

        Args:
            real: parts, 0 in frames that are not valid.
            imaginary: the other parts.
            valid: `(frame,)`, 1 or 0 for a frame of before the first.

        Returns:
            `(batch, frame * hop_length)`, 0 in the hops of frames that are not valid.
        """
        length = valid.shape[0] * self.hop_length
        total = join_windows(self.inverse(real, imaginary), self.hop_length)
        weight = self.envelope(valid)[self.side : self.side + length].clamp_min(self.least)
        return total[:, self.side : self.side + length] / weight * held(valid, self.hop_length)
