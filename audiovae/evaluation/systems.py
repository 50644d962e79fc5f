"""What turns a source into a target: the model, and the anchors that say what its figures mean.

Another system is a class with the members of `System`, and one line in `SYSTEMS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.audio.resample import resample
from audiovae.errors import UserError
from audiovae.evaluation.equalise import Equalise
from audiovae.evaluation.musaicing import Musaicing
from audiovae.evaluation.testset import SECONDS, Segment, TestSet
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.notes import Roll
from audiovae.model.precision import choose_precision, run_in
from audiovae.model.presence import SILENCE
from audiovae.model.wavenet import emphasise, mu_law_encode
from audiovae.model.wavenet_sampler import Playback
from audiovae.tables import to_dict

ROWS = 8
"""Segments that the model computes at once."""


class System(Protocol):
    """What the transfer test measures."""

    @property
    def name(self) -> str:
        """In tables and files."""

    @property
    def oracle(self) -> bool:
        """Whether it is given the true rendering instead of the source: a bound, not a rival."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever what it renders does, for one test set."""

    def fit(self, testset: TestSet, domains: Sequence[str]) -> None:
        """Learn what is needed to play `domains`, at most from their unpaired recordings.

        Raises `CorpusError` when the test set has none of those.
        """

    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Play `audio (batch, sample)` of a source on a target: float32 of the same shape.

        A row does not depend on the others. Raises `UserError` on a target it was not fitted to.
        """


class Unchanged:
    """Gives back what it is given: the copy of a source, or the truth itself."""

    def __init__(self, name: str, oracle: bool) -> None:
        self.name, self.oracle = name, oracle
        self.fingerprint = f"{name} 1"

    def fit(self, testset: TestSet, domains: Sequence[str]) -> None:
        """Learn nothing."""

    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Return `audio (batch, sample)`."""
        return audio


class ModelSystem:
    """The model: encode, decode on the target, vocode.

    Args:
        model: that plays.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        name: in tables and files.

    Until it is fitted, sound is taken to be at the model's own rate.
    """

    oracle = False

    def __init__(self, model: AudioVAE, precision: str = "auto", name: str = "model") -> None:
        self.model, self.precision, self.name = model, precision, name
        self.rate = model.config.audio.sample_rate

    @cached_property
    def fingerprint(self) -> str:
        """Of settings, weights and arithmetic."""
        kind = choose_precision(self.model, self.precision)
        return f"{self.name} 1 {kind} {fingerprint_model(self.model)}"

    def fit(self, testset: TestSet, domains: Sequence[str]) -> None:
        """Learn nothing, but see the test set's rate."""
        self.rate = testset.sample_rate

    @torch.inference_mode()
    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Play `audio (batch, sample)`, brought to the level of the training recordings."""
        rate = self.model.config.audio.sample_rate
        given = to_training_level(self.model, convert(audio, self.rate, rate))
        runner = run_in(self.model, self.precision)
        with runner.context():
            parts = [
                self._play(runner.model, x.to(self.model.device), target) for x in given.split(ROWS)
            ]
        made = convert(torch.cat([part.float().cpu() for part in parts]), rate, self.rate)
        samples = audio.shape[-1]
        return F.pad(made, (0, max(0, samples - made.shape[-1])))[:, :samples]

    def _play(self, model: AudioVAE, audio: Tensor, target: str) -> Tensor:
        return model.transfer(audio, target)


class NotesSystem(ModelSystem):
    """The model plays the score itself: nothing of the source is heard."""

    def __init__(self, model: AudioVAE, precision: str = "auto") -> None:
        super().__init__(model, precision, "notes")
        self.testset: TestSet | None = None

    def fit(self, testset: TestSet, domains: Sequence[str]) -> None:
        """Learn nothing, but see the scores."""
        super().fit(testset, domains)
        self.testset = testset

    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Raise `UserError`: it hears nothing, see `play`."""
        raise UserError("the system notes plays segments of a test set, and no sound")

    @torch.inference_mode()
    def play(self, segments: Sequence[Segment], target: str) -> Tensor:
        """Play segments, `(segment, sample)`, as they sound within their whole pieces."""
        assert self.testset is not None and self.model.notes is not None
        config, runner = self.model.config, run_in(self.model, self.precision)
        hop, rate = config.latent_hop, config.audio.sample_rate
        beside, made = self.model.context_samples // hop, []
        for segment in segments:
            score, _ = self.model.notes.within(self.testset.score(segment.piece))
            start, length = round(segment.start * rate), round(SECONDS * rate)
            first, count = start // hop - beside, -(-length // hop) + 1 + 2 * beside
            told = self.model.notes.tell([(Roll(score.notes, config.latent_rate), first)], count)
            with runner.context():
                z = self.model.rounded(told).mean
                sound = runner.model.vocode(runner.model.decode(z, target))
            kept = start - first * hop
            made.append(sound[:, kept : kept + length].float().cpu())
        return convert(torch.cat(made), rate, self.rate)


class OneDecoder(ModelSystem):
    """Anchor: a model that plays everything on its only decoder, whatever the target."""

    def __init__(self, model: AudioVAE, precision: str = "auto") -> None:
        super().__init__(model, precision, "one decoder for all")

    def _play(self, model: AudioVAE, audio: Tensor, target: str) -> Tensor:
        return model.transfer(audio, model.domains[0])


class Resynthesis(ModelSystem):
    """The true rendering through the model's own log-mel, or codes, and back: what that costs."""

    oracle = True

    def __init__(
        self,
        model: AudioVAE,
        name: Literal["griffin-lim", "vocoder", "mu-law"],
        precision: str = "auto",
    ) -> None:
        super().__init__(model, precision, name)

    def _play(self, model: AudioVAE, audio: Tensor, target: str) -> Tensor:
        if self.name == "mu-law":
            emphasis = model.config.wavenet.emphasis
            codes = mu_law_encode(emphasise(audio, emphasis))
            return Playback(len(codes), emphasis).push(codes)
        features = model.features(audio)
        if self.name == "griffin-lim":
            return model.griffin_lim(features)
        return model.vocode(features)


def _griffin_lim(model: AudioVAE, precision: str) -> System | None:
    return None if model.config.speaks else Resynthesis(model, "griffin-lim", precision)


def _vocoder(model: AudioVAE, precision: str) -> System | None:
    return None if model.vocoder is None else Resynthesis(model, "vocoder", precision)


def _mu_law(model: AudioVAE, precision: str) -> System | None:
    wavenet = model.config.model.decoder == "wavenet"
    return Resynthesis(model, "mu-law", precision) if wavenet else None


def _notes(model: AudioVAE, precision: str) -> System | None:
    return None if model.notes is None else NotesSystem(model, precision)


SYSTEMS: dict[str, Callable[[AudioVAE, str], System | None]] = {
    "truth": lambda model, precision: Unchanged("truth", oracle=True),
    "copy": lambda model, precision: Unchanged("copy", oracle=False),
    "equalise": lambda model, precision: Equalise(),
    "musaicing": lambda model, precision: Musaicing(),
    "griffin-lim": _griffin_lim,
    "vocoder": _vocoder,
    "mu-law": _mu_law,
    "model": ModelSystem,
    "notes": _notes,
}
"""Name to what makes a system from a model and a precision; nothing, where the model has no such
part (a waveform model has no log-mel, few have codes, some have no vocoder but Griffin-Lim)."""


def make_systems(
    names: Sequence[str],
    model: AudioVAE,
    testset: TestSet,
    domains: Sequence[str],
    *,
    precision: str = "auto",
) -> list[System]:
    """Make systems by name and fit them; those that the model has no part for are left out.

    Raises:
        UserError: on an unknown name.
        CorpusError: when one learns from unpaired recordings and the test set has none.
    """
    systems = []
    for name in names:
        if name not in SYSTEMS:
            raise UserError(f"no system {name!r}; expected some of {', '.join(SYSTEMS)}")
        system = SYSTEMS[name](model, precision)
        if system is not None:
            system.fit(testset, domains)
            systems.append(system)
    return systems


def to_training_level(model: AudioVAE, audio: Tensor) -> Tensor:
    """Bring each row of `audio (batch, sample)` to the level of the training recordings.

    Silent rows stay as they are.
    """
    level = audio.double().square().mean(-1, keepdim=True).sqrt()
    wanted = 10 ** (model.statistics.loudness / 20)
    gain = torch.where(level > SILENCE, wanted / level.clamp_min(SILENCE), torch.ones_like(level))
    return (audio * gain).to(audio.dtype)


def fingerprint_model(model: AudioVAE) -> str:
    """Return a hash of all that a model's sound follows from."""
    facts = [to_dict(model.config), to_dict(model.statistics), model.domains]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def convert(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Return `audio (batch, sample)` at another sample rate, on the processor."""
    if from_rate == to_rate:
        return audio.cpu()
    return torch.from_numpy(resample(audio.cpu().numpy(), from_rate, to_rate))
