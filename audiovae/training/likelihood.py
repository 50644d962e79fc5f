"""What a decoder's likelihood is of: log-mel frames, or the samples of a WaveNet."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from audiovae.audio.augment import mix_seed
from audiovae.audio.features import LogMel
from audiovae.config import Config
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.decoder import LogMelDecoder, WaveNetHead
from audiovae.model.wavenet import WaveNetShape, emphasise, mu_law_encode
from audiovae.training.objective import negative_log_likelihood


class Likelihood(Protocol):
    """How far a model's decoders are from sounds that they should give."""

    error: str
    """Name of the second figure that `score` returns."""
    numbers: int
    """That a feature frame's likelihood is summed over."""

    def target(self, sounds: Tensor) -> Tensor:
        """Map `sounds (row, sample)` to what the likelihood is of, row by row."""

    def score(
        self,
        model: AudioVAE,
        domain: str,
        located: Tensor,
        target: Tensor,
        seed: int,
        first: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Compare what `AudioVAE.locate` says of a domain's rows with what they should be.

        Args:
            model: that said it.
            domain: whose decoder did.
            located: `(row, channel, frame)`.
            target: rows of what `target` returns.
            seed: says which frames are taken, where not all are.
            first: number of the first row among those of all processes; what is drawn for a row
                follows from it.

        Returns:
            The mean of `-log p` in nats a feature frame, and an error that transfers are judged
            by, without gradient.
        """


class LogMelLikelihood(nn.Module):
    """Of log-mel frames. The error is the mean absolute difference in nats."""

    error = "mel_error"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.logmel, self.kind = LogMel(config.audio), config.model.likelihood
        self.numbers = config.audio.n_mels

    def target(self, sounds: Tensor) -> Tensor:
        """Return log-mel `(row, n_mels, frame)`, whatever the encoder reads."""
        return self.logmel(sounds)

    def score(
        self,
        model: AudioVAE,
        domain: str,
        located: Tensor,
        target: Tensor,
        seed: int,
        first: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """See `Likelihood`; all frames are taken."""
        decoder = model.decoder(domain)
        assert isinstance(decoder, LogMelDecoder)
        nats = negative_log_likelihood(target, located, decoder.scale, self.kind)
        return nats.mean(), (target - located).detach().abs().mean()


class SampleLikelihood(nn.Module):
    """Of 8-bit mu-law samples, each given the true ones before it ("teacher forcing").

    The encoder hears whole clips, which cost little; the WaveNet, which costs the rest, is scored
    on some neighbouring frames of each, after as many samples as its first one depends on. So the
    figures are estimates without bias of those of all frames. The error is nats a sample.
    """

    error = "sample_nats"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.numbers = self.hop_length = config.audio.hop_length
        self.before, self.scored = config.unscored_frames, config.scored_frames
        self.jitter, self.muted = config.training.jitter, config.training.muted
        self.emphasis = config.wavenet.emphasis

    def target(self, sounds: Tensor) -> Tensor:
        """Return codes `(row, sample)`."""
        return mu_law_encode(emphasise(sounds, self.emphasis))

    def score(
        self,
        model: AudioVAE,
        domain: str,
        located: Tensor,
        target: Tensor,
        seed: int,
        first: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """See `Likelihood`; `located` is what conditions the samples `target`."""
        head = model.head(domain)
        assert isinstance(head, WaveNetHead)
        taken = self.before + self.scored
        start = mix_seed(seed, 13) % (located.shape[2] - taken + 1)
        codes = target[:, start * self.hop_length : (start + taken) * self.hop_length]
        given = self._spoilt(codes, head.wavenet.shape, seed, first) if model.training else None
        told = head.wavenet.log_prob(codes, located[:, :, start : start + taken], given)
        nats = -told[:, self.before * self.hop_length :].mean()
        return nats * self.numbers, nats.detach()

    def _spoilt(self, codes: Tensor, shape: WaveNetShape, seed: int, first: int) -> Tensor | None:
        """Return codes `(row, sample)` as a network comes to be given them where it draws."""
        if self.jitter == self.muted == 0:
            return None
        place = codes.device
        noise = torch.empty(codes.shape, device=place)
        drawn, generator = torch.empty(len(codes), 3, device=place), torch.Generator(place)
        for row in range(len(codes)):
            generator.manual_seed(mix_seed(seed, first + row, 17))
            noise[row].normal_(generator=generator)
            drawn[row].uniform_(generator=generator)
        strength, chance, end = drawn.T[:, :, None]
        moved = codes + (noise * (self.jitter * strength)).round().long()
        before = torch.arange(codes.shape[1], device=place) < end * codes.shape[1]
        silent = before & (chance < self.muted)
        return moved.clamp(0, shape.levels - 1).masked_fill(silent, shape.silence)


def make_likelihood(config: Config) -> LogMelLikelihood | SampleLikelihood:
    """Return what the decoders of a config are judged by."""
    wavenet = config.model.decoder == "wavenet"
    return SampleLikelihood(config) if wavenet else LogMelLikelihood(config)
