"""From log-mel frames to sound: a ConvNeXt network with an inverse STFT, and Griffin-Lim."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.functional import griffinlim

from audiovae.audio.features import mel_filters, overlap_add
from audiovae.config import AudioConfig, Config
from audiovae.model.blocks import FrameConv, Stack, half_context


class ISTFTHead(nn.Module):
    """Hidden frames to sound: amplitude and phase of each bin, then an inverse STFT.

    Siuzdak, "Vocos" (2023). Phase is the direction of two numbers, so it never wraps.
    """

    window: Tensor

    def __init__(self, width: int, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.out = nn.Linear(width, 3 * (n_fft // 2 + 1))
        with torch.no_grad():
            self.out.weight.mul_(0.3)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, hidden: Tensor, log_prior: Tensor | None = None) -> Tensor:
        """Map `(batch, frame, width)` to `(batch, frame * hop_length)` samples.

        Args:
            hidden: output of the network.
            log_prior: log amplitudes `(batch, n_fft // 2 + 1, frame)` that the network corrects.
        """
        if hidden.shape[0] == 0:
            # The inverse FFT refuses an empty batch.
            return hidden.new_zeros(0, hidden.shape[1] * self.hop_length)
        log_amplitude, real, imaginary = self.out(hidden).float().transpose(1, 2).chunk(3, dim=1)
        log_amplitude = log_amplitude - 6.0 if log_prior is None else log_amplitude + log_prior
        # The window's sum: amplitudes are in the units of the features.
        amplitude = log_amplitude.clamp_max(1.0).exp() * self.window.sum()
        phase = torch.rsqrt(real.square() + imaginary.square() + 1e-8)
        spectra = torch.complex(amplitude * phase * real, amplitude * phase * imaginary)
        frames = torch.fft.irfft(spectra, n=self.n_fft, dim=1) * self.window[:, None]
        return overlap_add(frames, self.window, self.hop_length)


class AmplitudePrior(nn.Module):
    """Mel amplitudes back to the bins of the spectrum by the filters' pseudo-inverse."""

    inverse: Tensor

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.log_floor = audio.log_floor
        # float32's default cut-off: at 256 bands the filters are singular, and a smaller cut-off
        # blows the floored bands up.
        inverse = torch.linalg.pinv(mel_filters(audio))
        self.register_buffer("inverse", inverse, persistent=False)

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to amplitudes `(batch, n_bins, frame)` >= 0.

        The floor is taken off first, so that silence stays silent.
        """
        with torch.autocast(logmel.device.type, enabled=False):
            amplitude = (logmel.float().exp() - self.log_floor).clamp_min(0.0)
            return torch.matmul(self.inverse, amplitude).clamp_min(0.0)


class ISTFTVocoder(nn.Module):
    """A frame-rate network from log-mel to sound, no upsampling in time but the inverse STFT."""

    chunk_invariant = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        audio, vocoder = config.audio, config.vocoder
        self.config = config
        self.prior = AmplitudePrior(audio)
        self.embed = FrameConv(audio.n_mels, vocoder.width, vocoder.kernel_size)
        self.norm = nn.LayerNorm(vocoder.width)
        self.blocks = Stack(vocoder.blocks, vocoder.width, vocoder.kernel_size, vocoder.expansion)
        self.out_norm = nn.LayerNorm(vocoder.width)
        self.head = ISTFTHead(vocoder.width, audio.n_fft, audio.hop_length)

    @property
    def context_frames(self) -> int:
        """Feature frames on each side that one output frame depends on."""
        audio, vocoder = self.config.audio, self.config.vocoder
        overlap = -(-audio.n_fft // audio.hop_length)
        return half_context(vocoder.blocks + 1, vocoder.kernel_size) + overlap

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to sound `(batch, frame * hop_length)`."""
        prior = self.prior(logmel)
        # About -11 to 0 becomes -1.5 to 1.8: near unit scale without statistics of any corpus.
        hidden = self.norm(self.embed(logmel * 0.3 + 1.8))
        hidden = self.out_norm(self.blocks(hidden))
        log_prior = prior.clamp_min(1e-8).log()
        return self.head(hidden, log_prior)


class GriffinLim(nn.Module):
    """Phase by iteration (Griffin and Lim, 1984; fast form of Perraudin et al., 2013).

    Its output depends on all of its input, so pieces of a long file differ from the whole.
    """

    chunk_invariant = False
    context_frames = 64
    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.audio, self.iterations = config.audio, config.vocoder.iterations
        self.prior = AmplitudePrior(config.audio)
        self.register_buffer("window", torch.hann_window(config.audio.n_fft), persistent=False)

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to sound `(batch, frame * hop_length)`."""
        return self.invert(self.prior(logmel))

    def invert(self, amplitude: Tensor) -> Tensor:
        """Map amplitudes `(batch, n_bins, frame)` to sound `(batch, frame * hop_length)`."""
        n_fft, hop = self.audio.n_fft, self.audio.hop_length
        frames = amplitude.shape[-1]
        # The features' frames are centred on half hops; torch's are centred on whole hops of a
        # signal that begins half a window earlier, so one frame of silence on each side keeps all.
        padded = nn.functional.pad(amplitude, (2, 2))
        audio = griffinlim(
            padded * self.window.sum(),
            self.window,
            n_fft,
            hop,
            n_fft,
            power=1.0,
            n_iter=self.iterations,
            momentum=0.99,
            length=None,
            rand_init=False,
        )
        start = 2 * hop - hop // 2
        audio = audio[:, start : start + frames * hop]
        return nn.functional.pad(audio, (0, frames * hop - audio.shape[-1]))
