"""WaveNet: the distribution of 8-bit samples given those before them and conditioning frames.

van den Oord et al., "WaveNet: a generative model for raw audio" (2016). Speech and music are a
product of one categorical distribution for each sample, so the likelihood is exact, and what one
second costs to draw is as many passes of the network as it has samples: see
`audiovae.model.wavenet_sampler` for those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.config_model import WaveNetConfig
from audiovae.tables import require


def mu_law_encode(audio: Tensor, levels: int = 256) -> Tensor:
    """Map sound in plus or minus 1 to codes from 0 to `levels - 1`, of the same shape.

    The continuous form of ITU-T G.711's companding, as van den Oord et al. (2016) have it: the
    logarithm of the amplitude is rounded, so that quiet sounds have finer steps. What is louder
    counts as full scale.
    """
    mu = levels - 1
    y = torch.log1p(mu * audio.abs().clamp(max=1.0)) / math.log1p(mu)
    return ((audio.sign() * y + 1) * (0.5 * mu) + 0.5).long().clamp(max=mu)


def mu_law_decode(codes: Tensor, levels: int = 256, dtype: torch.dtype = torch.float32) -> Tensor:
    """Map codes from 0 to `levels - 1` to sound in plus or minus 1, of the same shape.

    Exact on codes: encoding gives them back. On sound it errs by half a level: with 256 of them by
    1.1 % of full scale at the loudest and by 0.00009 (-81 dB) at rest, which silence becomes.
    """
    mu = levels - 1
    y = codes.to(dtype) * (2 / mu) - 1
    return y.sign() * torch.expm1(y.abs() * math.log1p(mu)) / mu


def emphasise(audio: Tensor, amount: float) -> Tensor:
    """Take `amount` of the sample before off each sample of `(..., sample)`; before it was silence.

    Music has little above a few kilohertz, where the noise of 8-bit codes would be heard. With
    0.85 this is the pre-emphasis of Valin and Skoglund, "LPCNet" (2019); one to one, of volume 1,
    so a likelihood of the result is one of the sound. `Playback` of
    `audiovae.model.wavenet_sampler` undoes it.
    """
    return audio - amount * F.pad(audio, (1, 0))[..., :-1] if amount else audio


@dataclass(frozen=True, kw_only=True)
class WaveNetShape(WaveNetConfig):
    """What a WaveNet is built from; networks of one shape can be sampled together."""

    condition: int
    """Channels of the conditioning frames."""
    hop: int
    """Samples that a conditioning frame stands for."""
    levels: int = 256
    """Codes that a sample may have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("condition", "hop"):
            require(getattr(self, name) > 0, f"{name} must be positive")
        require(self.levels > 1, "levels must be at least 2")

    @property
    def silence(self) -> int:
        """The code of a sample of zero, which stands before the first."""
        return self.levels // 2


def _waves(levels: int, count: int, step: float) -> Tensor:
    """Return cosines over the codes of unit power, `(levels, count)`: each `step` half waves more.

    The first has one step of them.
    """
    place = (torch.arange(levels) + 0.5) / levels
    return 2**0.5 * torch.cos(math.pi * step * torch.arange(1, count + 1) * place[:, None])


class Layer(nn.Module):
    """A gated layer of two taps: to what it adds to the next one's input, and to the output."""

    def __init__(self, shape: WaveNetShape, dilation: int, last: bool) -> None:
        super().__init__()
        width = shape.residual
        self.dilation = dilation
        # Inputs: the older sample's channels, then the newer one's.
        self.gates = nn.Linear(2 * width, 2 * width)
        # After the last layer nobody reads a residual.
        self.out = nn.Linear(width, shape.skip if last else width + shape.skip)

    def forward(self, x: Tensor, frames: Tensor, hop: int) -> Tensor:
        """Map `x (batch, sample, residual)` to what its gates let through, of the same shape.

        `frames (batch, frame, 2 * residual)` are added to the gates, each for `hop` samples.
        """
        samples, kind = x.shape[1], x.device.type
        if torch.is_autocast_enabled(kind):
            # Its products are made in this anyway; what is between them is half as much to move.
            x = x.to(torch.get_autocast_dtype(kind))
        older = F.pad(x, (0, 0, self.dilation, 0))[:, :samples]
        bias = self.gates.bias.to(frames.dtype)
        held = (frames + bias).repeat_interleave(hop, 1)[:, :samples]
        signal, gate = (F.linear(torch.cat([older, x], 2), self.gates.weight) + held).chunk(2, 2)
        return signal.tanh() * gate.sigmoid()


class WaveNet(nn.Module):
    """The distribution of codes `(batch, sample)` given frames `(batch, condition, frame)`.

    Each layer hears the frame that a sample lies in: frames are projected once, at their own rate,
    and held for `hop` samples. A network before this one may smooth them.
    """

    def __init__(self, shape: WaveNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.levels, shape.residual)
        self.condition = nn.Linear(shape.condition, shape.layers * 2 * shape.residual, bias=False)
        self.layers = nn.ModuleList(
            Layer(shape, dilation, last=place == shape.layers)
            for place, dilation in enumerate(shape.dilations, 1)
        )
        self.head = nn.Linear(shape.skip, shape.skip)
        self.out = nn.Linear(shape.skip, shape.levels)
        with torch.no_grad():
            # Neighbouring codes begin as neighbours, or each would have to learn what it is alone.
            self.embed.weight.copy_(_waves(shape.levels, shape.residual, 0.5))
            self.out.weight.copy_(_waves(shape.levels, shape.skip, 1.0) / (3 * shape.skip) ** 0.5)

    @property
    def receptive_field(self) -> int:
        """Samples before a sample that its distribution depends on."""
        return self.shape.receptive_field

    def stack(self) -> list[Layer]:
        """Return the layers, the first one first."""
        return list(self.layers)  # type: ignore[arg-type]

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Return logits `(batch, levels, sample)` of each sample given those before it.

        Args:
            codes: `(batch, sample)`; before the first there was silence's code, and nothing before
                that one.
            condition: `(batch, condition, frame)`, with at least `sample / hop` frames.
        """
        return self._logits(codes, condition).transpose(1, 2)

    def _logits(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Return what `forward` does as `(batch, sample, levels)`."""
        width, layers = self.shape.residual, self.stack()
        before = F.pad(codes[:, :-1], (1, 0), value=self.shape.silence)
        frames = self.condition(condition.transpose(1, 2)).chunk(len(layers), 2)
        hidden, passed = self.embed(before), []
        for layer, given in zip(layers, frames, strict=True):
            passed.append(layer(hidden, given, self.shape.hop))
            if layer is not layers[-1]:
                weight, bias = layer.out.weight[:width], layer.out.bias[:width]
                hidden = hidden + F.linear(passed[-1], weight, bias)
        # What all layers give to the output is one product: it reads and writes least.
        many = self.shape.skip
        weight = torch.cat([layer.out.weight[-many:] for layer in layers], 1)
        bias = torch.stack([layer.out.bias[-many:] for layer in layers]).sum(0)
        skip = F.linear(torch.cat(passed, 2), weight, bias)
        return self.out(F.relu(self.head(F.relu(skip))))

    def log_prob(self, codes: Tensor, condition: Tensor, given: Tensor | None = None) -> Tensor:
        """Return the log-likelihood in nats of each sample given those before it.

        Arguments are as in `forward`; the result is `(batch, sample)`, and its sum over samples is
        the logarithm of a probability of the whole. Of a clip from the midst of a recording the
        first `receptive_field` samples miss some of what was before: train on those after them.
        What is before a sample may be `given` otherwise, as it comes to be where it was drawn.
        """
        logits = self._logits(codes if given is None else given, condition).flatten(0, 1)
        return -F.cross_entropy(logits, codes.flatten(), reduction="none").view(codes.shape)

    @torch.no_grad()
    def sample_naive(
        self, condition: Tensor, uniforms: Tensor, *, temperature: float = 1.0
    ) -> Tensor:
        """Draw codes `(batch, sample)` by running the network on all that each sample depends on.

        What the sampler has to equal, and far slower.

        Args:
            condition: `(batch, condition, frame)`.
            uniforms: `(batch, sample)`, float64 in [0, 1): the place of each sample in its
                cumulative distribution.
            temperature: divides the logits.
        """
        hop = self.shape.hop
        codes = torch.zeros(uniforms.shape, dtype=torch.long, device=condition.device)
        for t in range(uniforms.shape[1]):
            frame = max(0, t - self.receptive_field) // hop
            logits = self(codes[:, frame * hop : t + 1], condition[:, :, frame : t // hop + 1])
            odds = (logits[:, :, -1].double() / temperature).softmax(1).cumsum(1)
            wanted = uniforms[:, t, None] * odds[:, -1:]
            codes[:, t] = (odds <= wanted).sum(1).clamp(max=self.shape.levels - 1)
        return codes
