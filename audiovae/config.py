"""Settings: frozen dataclasses that check what they are given.

A fact is typed once: what follows from other settings is a property, never a field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiovae.config_model import (
    AudioConfig,
    ModelConfig,
    NotesConfig,
    VocoderConfig,
    WaveNetConfig,
)
from audiovae.tables import require


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training clips. `shared` ones change the target too."""

    gain_db: float = 6.0
    """Shared: gain drawn from plus or minus this many decibels."""
    polarity: float = 0.5
    """Shared: probability of a flipped sign."""
    tuning: float = 0.3
    """Shared: whole-clip tuning offset drawn from plus or minus this many semitones."""
    tuning_probability: float = 0.1
    """Shared: probability that a row is retuned."""
    detune: float = 0.5
    """Encoder only: offset of a part of the clip, plus or minus this many semitones."""
    detune_probability: float = 0.1
    eq_db: float = 4.0
    """Encoder only: standard deviation of a smooth random equaliser, in decibels."""
    noise_db: float = -50.0
    """Encoder only: loudest white noise, in decibels below full scale; -inf switches it off."""
    noise_probability: float = 0.3
    room_db: float = 0.0
    """Encoder only: most energy of a room's tail, in decibels over the dry sound's."""
    room_probability: float = 0.0
    envelope_probability: float = 0.0
    """Encoder only, log-mel features: probability that bands decay or linger otherwise."""
    envelope_depth: float = 0.7
    """Most of a band's height in nats that such a row loses to what it holds, as a share."""
    clean_probability: float = 0.0
    """Encoder only: probability that a row is left as it is, whatever was drawn for it."""

    def __post_init__(self) -> None:
        chances = ("tuning", "detune", "noise", "room", "envelope", "clean")
        for name in ("polarity", *(f"{chance}_probability" for chance in chances)):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie between 0 and 1")
        for name in ("gain_db", "tuning", "detune", "eq_db"):
            require(getattr(self, name) >= 0, f"{name} must not be negative")
        require(0 <= self.envelope_depth <= 1, "envelope_depth must lie between 0 and 1")
        require(self.noise_db <= 0, "noise_db must not be positive")
        require(-60 <= self.room_db <= 20, "room_db must lie between -60 and 20")


@dataclass(frozen=True)
class ObjectiveConfig:
    """The negative ELBO and what is added to it."""

    beta: float = 1.0
    """Weight of the KL divergence after the warm-up; 1 is the true ELBO."""
    beta_warmup: float = 0.1
    """Share of the steps over which beta rises from 0."""
    free_bits: float = 0.0
    """Nats a latent dimension and latent frame that the KL term leaves free."""
    match: Literal["kl", "adversarial", "mmd"] = "kl"
    """What holds z to the prior: the ELBO's divergence, a critic of latent frames as in an
    adversarial autoencoder, or the maximum mean discrepancy, as in an InfoVAE."""
    match_weight: float = 30.0
    """Weight of the latter two after `beta_warmup`; `beta` is that of the first."""
    confusion: Literal["adversarial", "mmd", "none"] = "adversarial"
    """What removes the domain from the latent."""
    confusion_weight: float = 60.0
    """Weight of the confusion term after its ramp."""
    confusion_ramp: float = 0.2
    """Share of the steps over which the confusion weight rises from 0."""
    agreement_weight: float = 0.0
    """Aligned only: weight of what z tells of the source beyond what is played; 0 leaves it out."""
    stft_weight: float = 1.0
    """Weight of what waveform decoders tell of amplitudes and phases beside the log-mel."""

    def __post_init__(self) -> None:
        weights = ("match_weight", "confusion_weight", "agreement_weight", "stft_weight")
        for name in ("beta", "free_bits", *weights):
            require(getattr(self, name) >= 0, f"{name} must not be negative")
        for name in ("beta_warmup", "confusion_ramp"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie between 0 and 1")


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how to train."""

    seed: int = 0
    pairing: Literal["none", "aligned"] = "none"
    """`aligned`: a row is one moment of a score, encoded from one domain, decoded by another."""
    own_share: float = 0.1
    """Aligned only: chance that a domain decodes its own render, after the ramp."""
    own_ramp: float = 0.2
    """Aligned only: share of the steps over which that chance falls from 1."""
    settle: bool = False
    """Decoders alone train, on the rounded means that they get in use; the encoder stays."""
    translated_share: float = 0.0
    """Unpaired log-mels only: share of rows that the encoder hears in the model's transfer."""
    translated_ramp: float = 0.5
    """Share of the steps over which that share rises from 0."""
    rows: int = 3
    """Clips a domain in a step, on each of the processes that train together."""
    domains_a_step: int = 0
    """Domains that have their turn in a step, each as often as any other; 0 stands for all. Time
    and memory of a step grow with them and not with how many domains there are."""
    clip: float = 1.5
    """Seconds in a training clip."""
    scored: float = 0.25
    """WaveNet decoders only: seconds of each clip whose samples are scored."""
    jitter: float = 0.0
    """WaveNet decoders only: a row's samples are given with noise of a deviation of up to so many
    codes. In use they are the network's own, which are noisier than any it was taught with."""
    muted: float = 0.0
    """WaveNet decoders only: chance that a row's samples are given as silence up to some place.
    Silence follows silence more surely than anything: who never heard it while a sound was due
    falls silent and stays so."""
    learning_rate: float = 8e-4
    scale_learning_rate: float = 2e-2
    """Learning rate of the decoders' log scales."""
    critic_learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_norm: float = 1.0
    """Gradient norm at which gradients are clipped, after the loss is averaged over bands."""
    ema: float = 0.998
    accumulate: int = 1
    """Batches summed into one step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    recompute: bool = False
    """Blocks compute again for gradients what is inside them, instead of keeping it: less memory,
    a third more time ("activation checkpointing")."""
    compile: bool = False
    """Blocks are compiled by `torch.compile`: it needs a C++ compiler, and a minute at first."""
    reader: Literal["auto", "resident", "memmap", "files"] = "auto"
    streams: int = 1
    """Shards only: streams that a domain is read in, over all processes. Processes whose number
    divides it draw the same batches, however many there are."""
    shuffle: float = 600.0
    """Shards only: seconds of a stream that clips are drawn from at a time; two such are held."""
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500
    patience: int = 10
    """Validations without progress after which training ends; 0 never."""
    adversarial_share: float = 0.0
    """Vocoder only: last share of the steps that a small discriminator joins."""

    def __post_init__(self) -> None:
        for name in (
            "rows",
            "accumulate",
            "streams",
            "log_every",
            "validate_every",
            "checkpoint_every",
        ):
            require(getattr(self, name) > 0, f"{name} must be positive")
        require(self.domains_a_step >= 0, "domains_a_step must be 0 or more")
        require(0.05 <= self.clip <= 60, "clip must be 0.05 to 60 seconds")
        require(self.scored > 0, "scored must be positive")
        require(1 <= self.shuffle <= 86_400, "shuffle must be 1 to 86400 seconds")
        require(0 <= self.jitter <= 32, "jitter must be 0 to 32 codes")
        for name in ("learning_rate", "scale_learning_rate", "critic_learning_rate", "max_norm"):
            require(getattr(self, name) > 0, f"{name} must be positive")
        require(0 <= self.ema < 1, "ema must be at least 0 and below 1")
        for name in ("muted", "own_share", "own_ramp", "translated_share", "translated_ramp"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie between 0 and 1")
        require(0 <= self.adversarial_share < 1, "adversarial_share must be at least 0 and below 1")


@dataclass(frozen=True)
class Config:
    """Everything a training needs but the data."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    wavenet: WaveNetConfig = field(default_factory=WaveNetConfig)
    notes: NotesConfig = field(default_factory=NotesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        require(
            self.clip_samples >= 2 * self.audio.n_fft,
            f"clip of {self.training.clip} s is shorter than two windows: raise training.clip",
        )
        require(
            self.objective.agreement_weight == 0 or self.training.pairing == "aligned",
            "agreement_weight needs training.pairing = aligned: nothing else is heard twice",
        )
        require(
            self.model.posterior == "gaussian" or self.objective.match != "kl",
            "a deterministic posterior has no KL divergence: set objective.match to adversarial "
            "or mmd",
        )
        require(
            self.training.translated_share == 0
            or (self.training.pairing == "none" and not self.speaks),
            "translated_share needs training.pairing = none, audio.features = logmel and "
            "model.decoder = convnext",
        )
        require(
            self.model.decoder != "wavenet"
            or self.scored_frames + self.unscored_frames
            <= self.clip_samples // self.audio.hop_length,
            f"clip of {self.training.clip} s is shorter than the {self.wavenet.receptive_field} "
            f"samples that a WaveNet depends on and the {self.training.scored} s that are scored: "
            "raise training.clip",
        )
        require(
            not self.audio.causal or (self.vocoder.refinements == 0 and self._linked),
            "causal needs vocoder.refinements = 0, which look ahead, and vocoder.vocoder = linked",
        )
        require(
            not self.training.settle
            or (self.objective.confusion == "none" and self.objective.agreement_weight == 0),
            "settle leaves the encoder: set objective.confusion = none and agreement_weight = 0",
        )
        require(
            self.augment.envelope_probability == 0 or self.audio.features == "logmel",
            "envelope_probability needs audio.features = logmel: bands are what it shapes",
        )

    @property
    def _linked(self) -> bool:
        return self.vocoder.vocoder == "linked" or self.speaks

    @property
    def voiced(self) -> bool:
        """Whether decoders end in voices of their own, which tell of bins beside a log-mel."""
        return self.audio.features == "waveform" and self.model.decoder == "convnext"

    @property
    def speaks(self) -> bool:
        """Whether decoders give sound themselves: no vocoder is asked."""
        return self.voiced or self.model.decoder == "wavenet"

    @property
    def scored_frames(self) -> int:
        """Feature frames of each clip whose samples a WaveNet decoder is scored on."""
        return max(1, round(self.training.scored * self.audio.frame_rate))

    @property
    def unscored_frames(self) -> int:
        """Feature frames before those, which a WaveNet hears without being scored."""
        return -(-self.wavenet.receptive_field // self.audio.hop_length)

    @property
    def clip_samples(self) -> int:
        """Samples in a training clip: whole latent frames."""
        unit = self.latent_hop
        return max(1, round(self.training.clip * self.audio.sample_rate / unit)) * unit

    @property
    def latent_hop(self) -> int:
        """Samples from one latent frame to the next."""
        return self.audio.hop_length * self.model.latent_stride

    @property
    def latent_rate(self) -> float:
        """Latent frames a second."""
        return self.audio.sample_rate / self.latent_hop
