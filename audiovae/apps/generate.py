"""Sound from the prior: what a decoder plays when nothing is said to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from audiovae.apps.engine import Engine, Voice
from audiovae.apps.output import plan_names
from audiovae.apps.progress import Progress
from audiovae.apps.transfer import FORMATS, pick_voices
from audiovae.audio.files import Writer
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.tables import check_ranges

MOST_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class GenerateSettings:
    """How to sample. Raises `UserError` on a value out of range.

    Frames are drawn one by one from N(0, temperature²), and `smooth` ties neighbours together:
    the prior of this model knows no time, so this is texture and not melody.
    """

    seconds: float = 10.0
    temperature: float = 1.0
    smooth: float = 0.1
    """Standard deviation of a Gaussian window along time, in seconds; 0 for none."""
    seed: int = 0
    precision: str = "auto"
    component: int = 0
    """Of a mixture prior, counted from 0; the standard prior has one."""

    def __post_init__(self) -> None:
        check_ranges(self, seconds=(0.01, MOST_SECONDS), temperature=(0, 10), smooth=(0, 10))


@dataclass(frozen=True)
class Generated:
    """A file that was written."""

    path: Path
    target: str
    seconds: float
    sample_rate: int


def _play(model: AudioVAE, voice: Voice, settings: GenerateSettings) -> Iterator[np.ndarray]:
    """Give sound `(1, sample)`, in all as long as asked."""
    config = model.config
    wanted, components = round(settings.seconds * config.audio.sample_rate), model.prior.components
    if not 0 <= settings.component < components:
        has = "component 0 alone" if components == 1 else f"components 0 to {components - 1}"
        raise UserError(f"component is {settings.component}; this model's prior has {has}")
    engine = Engine(
        model, settings.temperature, settings.seed, settings.precision, None, settings.component
    )
    frames = -(-wanted // config.latent_hop)
    path = partial(engine.prior, smooth=settings.smooth * config.latent_rate)
    for block in engine.play(frames, voice, path):
        yield block[:, :wanted]
        wanted -= block.shape[1]


def generate_audio(
    model: AudioVAE, to: str | dict[str, float], settings: GenerateSettings | None = None
) -> np.ndarray:
    """Sample the prior and play it.

    Args:
        model: that plays.
        to: a domain, or a blend as `{domain: weight}`.
        settings: how; the plain ones when left out.

    Returns:
        `(sample,)` float32 at the model's rate.
    """
    names, blend = ([to], None) if isinstance(to, str) else ([], to)
    (voice,) = pick_voices(model, names, blend)
    blocks = list(_play(model, voice, settings or GenerateSettings()))
    return np.concatenate(blocks, axis=1)[0]


def generate_files(
    model: AudioVAE,
    output: str | Path,
    *,
    to: Sequence[str] = (),
    blend: dict[str, float] | None = None,
    format: str = "wav",
    settings: GenerateSettings | None = None,
    progress: bool = False,
) -> list[Generated]:
    """Sample the prior into `output/generated.<domain>.wav`, one file a target.

    All targets play the same sample. Raises `UserError` as `transfer_files` does.
    """
    settings = settings or GenerateSettings()
    voices = pick_voices(model, to, blend)
    if format not in FORMATS:
        raise UserError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
    names = [voice.name for voice in voices]
    (paths,) = plan_names([(Path("generated"), Path())], Path(output), names, f".{format}")
    rate = model.config.audio.sample_rate
    results = []
    with Progress(settings.seconds * len(voices), "generate", progress) as bar:
        for voice, path in zip(voices, paths, strict=True):
            with Writer(path, rate, 1) as writer:
                for block in _play(model, voice, settings):
                    writer.append(block)
                    bar.advance(block.shape[1] / rate)
            results.append(Generated(path, voice.name, writer.frames / rate, rate))
    return results
