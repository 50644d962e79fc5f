"""The network of SS-VQ-VAE, written from the paper and its published configuration.

Cífka, Ozerov, Şimşekli and Richard, "Self-Supervised VQ-VAE for One-Shot Music Style Transfer",
ICASSP 2021: a content encoder whose frames are replaced by the nearest of 2048 codes, a style
encoder that turns a second segment of the same recording into one vector, and a decoder that gives
the first segment back from both. All of them work on log(1 + amplitude) of the spectrum at 16 kHz.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.griffin_lim import griffin_lim

RATE = 16_000
N_FFT, WINDOW, HOP = 2048, 2000, 500
BINS = N_FFT // 2 + 1
ITERATIONS, MOMENTUM = 32, 0.99
"""Of fast Griffin-Lim."""
WEIGHTS = {"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.5}
"""Of the terms that `SSVQVAE.losses` returns."""


def spectrogram(audio: Tensor) -> Tensor:
    """Map `audio (batch, sample)` at 16 kHz to log(1 + amplitude), `(batch, 1025, frame)`.

    Frames are centred on multiples of the hop: there are `1 + sample // 500`.
    """
    window = torch.hann_window(WINDOW, device=audio.device)
    spectra = torch.stft(audio, N_FFT, HOP, WINDOW, window, return_complex=True)
    return spectra.abs().log1p()


def invert(features: Tensor, samples: int) -> Tensor:
    """Map what `spectrogram` returns back to sound `(batch, samples)`, the phase by Griffin-Lim."""
    window = torch.hann_window(WINDOW, device=features.device)
    amplitude = features.float().clamp_min(0).expm1()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = torch.rand(amplitude.shape, dtype=torch.cfloat, device=amplitude.device)
    return griffin_lim(
        amplitude, window, N_FFT, HOP,
        iterations=ITERATIONS, momentum=MOMENTUM, start=start, length=samples,
    )  # fmt: skip


class Residual(nn.Sequential):
    """Layers whose output is added to their input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channel, frame)` to the same shape."""
        return x + super().forward(x)


class Recurrent(nn.Module):
    """A GRU over frames, channels first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channel, frame)` to the same shape."""
        return self.gru(x.transpose(1, 2))[0].transpose(1, 2)


def active(width: int) -> list[nn.Module]:
    """Return what stands before most layers."""
    return [nn.BatchNorm1d(width), nn.LeakyReLU(0.1)]


class SSVQVAE(nn.Module):
    """Content encoder, codes, style encoder and decoder.

    Args:
        bins: of the spectrogram.
        width: channels of everything else; also the size of a code and of a style.
        codes: in the codebook.
    """

    def __init__(self, bins: int = BINS, width: int = 1024, codes: int = 2048) -> None:
        super().__init__()
        self.content = nn.Sequential(
            nn.Conv1d(bins, width, 4, 2, 2),
            *active(width),
            nn.Conv1d(width, width, 4, 2, 2),
            Residual(*active(width), nn.Conv1d(width, width, 1)),
            nn.BatchNorm1d(width),
        )
        self.codebook = nn.Parameter(torch.empty(codes, width))
        nn.init.kaiming_uniform_(self.codebook, mode="fan_out")
        self.style = nn.Sequential(
            nn.Conv1d(bins, width, 4, 2),
            Residual(*active(width), nn.Conv1d(width, width, 1)),
            *active(width),
        )
        self.summary = nn.GRU(width, width, batch_first=True)

        def stage() -> list[nn.Module]:
            return [
                *active(2 * width),
                nn.Conv1d(2 * width, width, 1),
                Residual(*active(width), Recurrent(width)),
                *active(width),
                nn.ConvTranspose1d(width, width, 4, 2, 2, output_padding=1),
            ]

        last = [*active(width), nn.Conv1d(width, bins, 1)]
        last += [Residual(*active(bins), Recurrent(bins)), nn.ReLU()]
        self.decoder = nn.ModuleList(
            [nn.Sequential(*stage()), nn.Sequential(*stage(), *last)],
        )

    def encode_content(self, features: Tensor) -> Tensor:
        """Map a spectrogram to `(batch, width, about frame / 4)`, not yet quantised."""
        return self.content(features).float()

    def encode_style(self, features: Tensor) -> Tensor:
        """Map a spectrogram of any length to one vector for each row, `(batch, width)`."""
        return self.summary(self.style(features).transpose(1, 2))[1][0].float()

    def quantise(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest code of each frame, shaped like `content`, and `(batch, frame)` ids.

        Distances in single precision: in bfloat16 many codes are equally near.
        """
        with torch.autocast(content.device.type, enabled=False):
            frames = content.detach().float().transpose(1, 2)
            # The frame's own norm is the same for all codes.
            distances = self.codebook.square().sum(1) - 2 * frames @ self.codebook.T
            ids = distances.argmin(-1)
        return F.embedding(ids, self.codebook).transpose(1, 2), ids

    def decode(self, content: Tensor, style: Tensor, frames: int) -> Tensor:
        """Map codes `(batch, width, n)` and styles `(batch, width)` to a spectrogram."""
        for stage in self.decoder:
            spread = style[:, :, None].expand(-1, -1, content.shape[-1])
            content = stage(torch.cat([content, spread.to(content.dtype)], 1))
        return content[..., :frames].float()

    def losses(self, features: Tensor, other: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss for pairs of segments `(batch, bins, frame)`.

        As published: squared errors, means over channels, summed over the steps of each part and
        divided by the number of *spectrogram* frames. `used` is no loss but the number of codes
        that the batch used.
        """
        frames = features.shape[-1]
        content, style = self.encode_content(features), self.encode_style(other)
        codes, ids = self.quantise(content)
        # Straight through: the encoder gets the gradient of the decoder's input.
        made = self.decode(content + (codes - content).detach(), style, frames)

        def error(a: Tensor, b: Tensor) -> Tensor:
            return (a - b).square().mean(1).sum() / (len(features) * frames)

        return {
            "reconstruction": error(made, features),
            "codebook": error(codes, content.detach()),
            "commitment": error(content, codes.detach()),
            "used": torch.tensor(float(len(ids.unique()))),
        }
