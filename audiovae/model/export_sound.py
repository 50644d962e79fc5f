"""Log-mel frames and their sound in real tensors: forms of `LogMel` and `LinkedVocoder`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import LogMel
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.export_dft import Dft
from audiovae.model.export_gate import gains
from audiovae.model.export_phases import Linker
from audiovae.model.vocoder import LinkedVocoder, scaled
from audiovae.model.voice import INERTIA, PARTS


def plain(layer: nn.Module) -> nn.Linear:
    """Return a linear layer with the same parameters, and nothing beside them."""
    assert isinstance(layer, nn.Linear)
    made = nn.Linear(1, 1)
    made.in_features, made.out_features = layer.in_features, layer.out_features
    made.weight, made.bias = layer.weight, layer.bias
    return made


class Listener(nn.Module):
    """Windows of sound to normalised log-mel frames."""

    filters: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, model: AudioVAE, dft: Dft) -> None:
        super().__init__()
        assert isinstance(model.features, LogMel)
        self.dft, self.floor = dft, model.config.audio.log_floor
        self.register_buffer("filters", model.features.filters.clone())
        self.register_buffer("mean", model.feature_mean[:, 0].clone())
        self.register_buffer("std", model.feature_std[:, 0].clone())

    def forward(self, windows: Tensor) -> Tensor:
        """Map `(batch, frame, n_fft)` to `(batch, frame, n_mels)`."""
        real, imaginary = self.dft(windows)
        bins = (real * real + imaginary * imaginary).clamp_min(1e-20).sqrt()
        return ((bins @ self.filters).clamp_min(self.floor).log() - self.mean) / self.std


class Teller(nn.Module):
    """What follows a vocoder's blocks: amplitudes and links, as `LinkedVocoder.join` has them."""

    inverse: Tensor
    filters: Tensor
    shares: Tensor
    outside: Tensor

    def __init__(self, vocoder: LinkedVocoder) -> None:
        super().__init__()
        self.norm, self.out = vocoder.out_norm, plain(vocoder.out)
        self.parts, self.bins = PARTS, vocoder.config.audio.n_bins
        self.floor = vocoder.config.audio.log_floor
        self.register_buffer("inverse", vocoder.prior.inverse.clone())
        for name in ("filters", "shares", "outside"):
            self.register_buffer(name, getattr(vocoder.fit, name).clone())

    def forward(self, hidden: Tensor, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Map hidden frames and their log-mel, `(batch, frame, …)` both.

        Returns amplitudes `(batch, frame, bin)` and links `(batch, frame, 4, bin)`.
        """
        batch, frames, _ = logmel.shape
        bands = logmel.exp()
        prior = ((bands - self.floor).clamp_min(0.0) @ self.inverse).clamp_min(1e-8)
        out = self.out(self.norm(hidden)).reshape(batch, frames, self.parts, self.bins)
        amplitude = (out[:, :, 0] + prior.log()).clamp_max(1.0).exp()
        made = (amplitude @ self.filters).clamp_min(self.floor)
        fitted = (bands / made) @ self.shares + self.outside
        return amplitude * fitted, out[:, :, 1:]


class Player(nn.Module):
    """Amplitudes and phases to sound: signs, refinements, windows added up."""

    signs: Tensor

    def __init__(self, vocoder: LinkedVocoder, dft: Dft) -> None:
        super().__init__()
        self.dft, self.inertia = dft, INERTIA
        self.refinements = vocoder.config.vocoder.refinements
        self.register_buffer("signs", vocoder.signs.clone())

    def forward(self, amplitude: Tensor, x: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        """Map amplitudes and both parts of linked phases, `(batch, frame, bin)`, to sound.

        Args:
            amplitude: 0 in frames that are not valid.
            x: real parts.
            y: imaginary parts.
            valid: `(frame,)`, 1 or 0 for a frame of before the first.

        Returns:
            `(batch, frame * hop_length)`.
        """
        real, imaginary = amplitude * x * self.signs, amplitude * y * self.signs
        for _ in range(self.refinements):
            made_x, made_y = self.dft(self.dft.centred(self.dft.sound(real, imaginary, valid)))
            made_x, made_y = made_x + self.inertia * real, made_y + self.inertia * imaginary
            louder = (made_x * made_x + made_y * made_y).clamp_min(1e-18)
            gain = amplitude / louder.sqrt()
            real, imaginary = made_x * gain, made_y * gain
        return self.dft.sound(real, imaginary, valid)


class Encode(nn.Module):
    """`AudioVAE.encode` of a whole sound: `(batch, sample)` to means `(batch, latent, frame)`."""

    def __init__(self, model: AudioVAE, dft: Dft) -> None:
        super().__init__()
        self.model, self.dft, self.listener = model, dft, Listener(model, dft)
        self.stride = model.config.model.latent_stride

    def forward(self, audio: Tensor) -> Tensor:
        """Map sound to the posterior's rounded mean."""
        features = self.listener(self.dft.centred(audio))
        frames = features.shape[1]
        whole = (frames + self.stride - 1) // self.stride * self.stride
        if self.stride > 1:
            place = torch.arange(whole, device=audio.device).clamp_max(frames - 1)
            features = features.index_select(1, place)
        return self.model.rounded(self.model.encoder(features.transpose(1, 2))).mean


class Decode(nn.Module):
    """`AudioVAE.decode` and `vocode`: z `(batch, latent, frame)` to sound `(batch, sample)`."""

    def __init__(self, model: AudioVAE, domain: str, dft: Dft, linker: Linker) -> None:
        super().__init__()
        assert model.vocoder is not None
        self.model, self.domain, self.vocoder = model, domain, model.vocoder
        self.linker, self.teller = linker, Teller(model.vocoder)
        self.player = Player(model.vocoder, dft)

    def forward(self, z: Tensor) -> Tensor:
        """Map latent frames to sound."""
        logmel = self.model.playable(self.model.decode(z, self.domain, bounded=True))
        vocoder = self.vocoder
        hidden = vocoder.blocks(vocoder.norm(vocoder.embed(scaled(logmel))))
        amplitude, links = self.teller(hidden, logmel.transpose(1, 2))
        valid = torch.ones_like(amplitude[0, :, 0])
        state = z.new_zeros(z.shape[0], *self.linker.state_shape)
        x, y, _ = self.linker(links, amplitude, valid, state)
        return self.player(amplitude, x, y, valid)


class Transfer(nn.Module):
    """`AudioVAE.transfer`: sound `(batch, sample)` to sound of the same shape."""

    def __init__(self, model: AudioVAE, encode: Encode, decode: Decode) -> None:
        super().__init__()
        self.encode, self.decode = encode, decode
        self.causal, self.hop = model.config.audio.causal, model.config.audio.hop_length

    def forward(self, audio: Tensor) -> Tensor:
        """Map sound to its transfer, silent where it is silent."""
        batch, samples = audio.shape
        count = (samples + self.hop - 1) // self.hop
        hops = F.pad(audio.abs(), (0, count * self.hop - samples)).reshape(batch, count, self.hop)
        gain = gains(hops.amax(2), self.causal)
        sound = self.decode(self.encode(audio)).reshape(batch, -1, self.hop)
        # The gain is made longer: how a shorter sound lies in memory would be fixed at export.
        place = torch.arange(sound.shape[1], device=audio.device).clamp_max(count - 1)
        played = sound * gain.index_select(1, place)[:, :, None]
        return played.reshape(batch, -1)[:, :samples]
