"""The model: features, one encoder, a decoder for each domain, a vocoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from audiovae.audio.features import make_features
from audiovae.config import Config
from audiovae.errors import UserError
from audiovae.model.decoder import DECODERS, Decoder, Head, LogMelHead, Shared, playable
from audiovae.model.encoder import ENCODERS
from audiovae.model.griffin_lim import GriffinLim
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.notes import NoteEncoder
from audiovae.model.presence import SILENCE_HOPS, SMOOTHED, gates, hop_peaks
from audiovae.model.pretrained import Pretrained
from audiovae.model.priors import PRIORS
from audiovae.model.sequence import SequencePrior
from audiovae.model.vocoder import LinkedVocoder
from audiovae.model.voice import LinkedVoice


def key(domain: str) -> str:
    """Return a module name for a domain: any text, no clash with attributes, no dots."""
    return "domain:" + domain.replace("%", "%25").replace(".", "%2E")


@dataclass(frozen=True)
class Statistics:
    """Per-band mean and standard deviation of the training corpus' log-mel, and its loudness."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    loudness: float = -20.0
    """Root mean square of the training recordings in decibels of full scale (median)."""
    noise: tuple[float, ...] = ()
    """Root mean square of the posterior's deviation in each dimension; empty: no rounding yet."""

    @classmethod
    def plain(cls, n_mels: int) -> Statistics:
        """Statistics of no corpus: those of an average recording."""
        return cls((-5.0,) * n_mels, (2.0,) * n_mels)


@dataclass(frozen=True)
class Output:
    """What `forward` returns."""

    posterior: DiagonalGaussian
    """Of all rows."""
    z: Tensor
    """A sample of it, `(row, latent, frame)`."""
    rows: dict[str, Tensor]
    """Domain to the indices of the rows it decodes."""
    reconstruction: dict[str, Tensor]
    """Domain to what its likelihood is told of its rows, as `locate` gives it."""
    hidden: dict[str, Tensor]
    """Domain to the hidden frames of its rows, which `tell` is given."""


class AudioVAE(Pretrained, nn.Module):
    """One shared encoder, one decoder for each domain, a vocoder.

    Args:
        config: settings.
        domains: names of the decoders.
        statistics: what the corpus was measured to be; plain ones when left out.
    """

    feature_mean: Tensor
    feature_std: Tensor
    latent_noise: Tensor | None

    def __init__(
        self, config: Config, domains: Sequence[str], statistics: Statistics | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.statistics = statistics or Statistics.plain(config.audio.n_mels)
        self.features = make_features(config.audio)
        self.encoder = ENCODERS[config.model.encoder](config)
        self.shared = None if config.model.share == "none" else Shared(config)
        self.decoders = nn.ModuleDict()
        self.vocoder: LinkedVocoder | None = None
        self.notes: NoteEncoder | None = None
        self.griffin_lim = GriffinLim(config)
        self.prior = PRIORS[config.model.prior](config)
        self.sequence: SequencePrior | None = None
        self.provenance: dict[str, Any] = {}
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.statistics, name), dtype=torch.float32)
            self.register_buffer(f"feature_{name}", values[:, None], persistent=False)
        self.register_buffer("latent_noise", None, persistent=False)
        self.hear_noise(torch.tensor(self.statistics.noise))
        self.encoder.begin(self.feature_mean, self.feature_std)
        self.domains: list[str] = []
        for domain in domains:
            self.add_decoder(domain)

    def add_decoder(self, domain: str) -> Decoder:
        """Add a fresh decoder and return it."""
        decoder = DECODERS[self.config.model.decoder](self.config)
        self.decoders[key(domain)] = decoder
        self.domains = sorted({*self.domains, domain})
        return decoder

    def decoder(self, domain: str) -> Decoder:
        """Return a domain's decoder. Raises `UserError` when there is none."""
        if key(domain) not in self.decoders:
            raise UserError(f"no domain {domain!r}; this model has {', '.join(self.domains)}")
        return self.decoders[key(domain)]  # type: ignore[return-value]

    @property
    def waveform(self) -> bool:
        """Whether the encoder reads raw audio."""
        return self.config.audio.features == "waveform"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.feature_mean.device

    def read(self, audio: Tensor) -> Tensor:
        """Map `audio (batch, sample)` to what the encoder reads, `(batch, n_features, frame)`."""
        features = self.features(audio)
        return features if self.waveform else self.normalised(features)

    def normalised(self, features: Tensor) -> Tensor:
        """Return log-mel frames less the corpus' mean, over its deviation."""
        return (features - self.feature_mean) / self.feature_std

    def encode(self, audio: Tensor) -> DiagonalGaussian:
        """Map `audio (batch, sample)` in plus or minus 1 to the posterior of z.

        Mean and log-variance are `(batch, latent, ceil(ceil(sample / hop) / stride))`; the mean
        is rounded to what decoders tell apart, see `DiagonalGaussian.rounded`.
        """
        return self.rounded(self.encoder(self.read(audio)))

    def rounded(self, posterior: DiagonalGaussian) -> DiagonalGaussian:
        """Round the mean of what the encoder returns, where the noise of training is known."""
        return posterior if self.latent_noise is None else posterior.rounded(self.latent_noise)

    def hear_noise(self, noise: Tensor) -> None:
        """Set the root mean square of the posterior's deviation, `(latent,)`; empty: none known."""
        kept = tuple(round(float(v), 4) for v in noise)
        self.statistics = replace(self.statistics, noise=kept)
        self.latent_noise = torch.tensor(kept, device=self.device) if kept else None

    def locate(
        self, z: Tensor, domain: str, *, bounded: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map `z (batch, latent, frame)` to what a likelihood is told, and the hidden frames.

        The former is log-mel `(batch, n_mels, frame * stride)` in nats, or what conditions a
        WaveNet, `(batch, width, frame * stride)`. When `bounded` (left out: unless it trains), a
        decoder of log-mel is held to the loudest that its domain was heard in each band: where
        partials of several notes meet, logarithms add up to what no sound would.
        """
        frames, hidden = self.decoder(domain)(z, self.shared)
        bounded = not self.training if bounded is None else bounded
        return self.in_nats(frames.float(), domain, bounded), hidden

    def decode(
        self, z: Tensor, domain: str, *, bounded: bool | None = None, seed: int = 0
    ) -> Tensor:
        """Map `z (batch, latent, frame)` to log-mel as `locate` does; where decoders speak, sound.

        Sound is `(batch, frame * stride * hop_length)`; `seed` is of what a WaveNet draws.
        """
        located, hidden = self.locate(z, domain, bounded=bounded)
        return self.head(domain).play(located, hidden, seed)

    def head(self, domain: str) -> Head:
        """Return the last part of a domain's decoder, its own or shared."""
        return self.decoder(domain).parts(self.shared)[1]

    def voice(self, domain: str) -> LinkedVoice:
        """Return the part of a domain's decoder that gives sound: see `Config.voiced`."""
        head = self.head(domain)
        assert isinstance(head, LogMelHead) and head.voice is not None, "no decoder has a voice"
        return head.voice

    def tell(self, hidden: Tensor, logmel: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        """Return what a domain's voice tells of what `locate` returned: see `LinkedVoice.join`."""
        return self.voice(domain).join(hidden, self.playable(logmel))

    def in_nats(self, frames: Tensor, domain: str, bounded: bool) -> Tensor:
        """Map normalised log-mel `(batch, n_mels, frame)` of a decoder to log-mel."""
        return self.decoder(domain).in_nats(frames, self.feature_mean, self.feature_std, bounded)

    def playable(self, features: Tensor) -> Tensor:
        """Bound log-mel frames as sound bounds them."""
        return playable(features, self.config.audio)

    def vocode(self, features: Tensor) -> Tensor:
        """Map what `decode` returns to sound, `(batch, frame * hop_length)`."""
        if self.config.speaks:
            return features
        return (self.vocoder or self.griffin_lim)(self.playable(features))

    def forward(self, batch: Mapping[str, Tensor], noise: Tensor | None = None) -> Output:
        """Encode and reconstruct each domain's clips.

        Args:
            batch: domain to audio `(rows, sample)`; rows may be 0.
            noise: standard normal, shaped like z, rows as in the batch; drawn when left out.
        """
        index = torch.arange(sum(len(audio) for audio in batch.values()), device=self.device)
        sizes = [len(audio) for audio in batch.values()]
        rows = dict(zip(batch, index.split(sizes), strict=True))
        return self.reconstruct(self.read(torch.cat(list(batch.values()))), rows, noise)

    def reconstruct(
        self,
        features: Tensor,
        rows: Mapping[str, Tensor],
        noise: Tensor | None = None,
        *,
        temperature: float = 1.0,
    ) -> Output:
        """Encode what `read` gives once, and decode some of its rows in each domain.

        Args:
            features: `(row, n_features, frame)`.
            rows: domain to the indices of the rows it decodes; several domains may decode one.
            noise: standard normal noise shaped like z; drawn when left out.
            temperature: of the noise; at 0 decoders get rounded means, as in use.
        """
        posterior = self.encoder(features)
        if temperature == 0:
            posterior = self.rounded(posterior)
        z = posterior.sample(noise, temperature)
        made = {domain: self.locate(z[chosen], domain) for domain, chosen in rows.items()}
        frames, hidden = ({d: parts[i] for d, parts in made.items()} for i in range(2))
        return Output(posterior, z, dict(rows), frames, hidden)

    @torch.inference_mode()
    def transfer(self, audio: Tensor, to: str) -> Tensor:
        """Play `audio (batch, sample)` on another domain's instrument: same shape, same length."""
        sound = self.vocode(self.decode(self.encode(audio).mean, to))
        return sound[:, : audio.shape[-1]] * self.presence(audio)

    def presence(self, audio: Tensor) -> Tensor:
        """Gain in 0 to 1 for each sample of `audio (batch, sample)`: 0 deep inside silence."""
        hop = self.config.audio.hop_length
        gain = gates(hop_peaks(audio, hop), self.config.audio.causal)
        return gain.repeat_interleave(hop, dim=-1)[:, : audio.shape[-1]]

    @property
    def latency_samples(self) -> int:
        """Samples after its own that an output sample waits for; rounded up to whole hops.

        The length of a window, and what networks, latent frames and refinements look ahead.
        """
        audio, stride = self.config.audio, self.config.model.latent_stride
        if audio.causal:
            return audio.n_fft + (stride - 1) * audio.hop_length
        frames = max(SILENCE_HOPS + SMOOTHED, self._context_frames)
        return audio.n_fft + frames * audio.hop_length

    @property
    def context_samples(self) -> int:
        """Samples on each side that an output sample depends on, whole latent frames.

        Griffin-Lim depends on all of its input, a WaveNet on all that it drew: there this is a
        practical bound.
        """
        audio = self.config.audio
        window = -(-audio.n_fft // audio.hop_length)
        frames = self._context_frames + 2 * window + SILENCE_HOPS
        return -(-frames // self.config.model.latent_stride) * self.config.latent_hop

    @property
    def _context_frames(self) -> int:
        """Feature frames on each side that the networks see."""
        frames = self.encoder.context_frames
        frames += max((self.decoder(d).context_frames for d in self.domains), default=0)
        if self.config.speaks:
            return frames + max((self.head(d).played_frames for d in self.domains), default=0)
        return frames + (self.vocoder or self.griffin_lim).context_frames
