"""Sound from the prior: what a decoder plays when nothing is said to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from audiovae.apps.draws import SequencePath
from audiovae.apps.engine import Engine, Voice
from audiovae.apps.output import plan_names, write_folders
from audiovae.apps.progress import Progress
from audiovae.apps.transfer import need_format, pick_voices
from audiovae.audio.augment import mix_seed
from audiovae.audio.files import Writer
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.tables import check_ranges

MOST_SECONDS = 24 * 3600.0
MOST_DRAWS = 1000
SMOOTH = 0.1
PRIORS = ("auto", "sequence", "frames")


@dataclass(frozen=True)
class GenerateSettings:
    """How to sample. Raises `UserError` on a value out of range.

    A model with a prior over time (`audiovae fit-prior`) draws z from it, frame after frame. Any
    other draws frames one by one, and `smooth` ties neighbours together: that prior knows no time,
    so it is texture and not melody.
    """

    seconds: float = 10.0
    temperature: float = 1.0
    """Of the prior over time, the divisor of log-odds: 0 takes the likeliest. Else the scale of
    the noise."""
    smooth: float | None = None
    """Frames alone: standard deviation of a Gaussian window along time, in seconds; 0 for none,
    0.1 when left out."""
    seed: int = 0
    precision: str = "auto"
    component: int = 0
    """Frames alone: of a mixture prior, counted from 0; the standard prior has one."""
    prior: Literal["auto", "sequence", "frames"] = "auto"
    """`auto`: the one over time where there is one."""

    def __post_init__(self) -> None:
        check_ranges(self, seconds=(0.01, MOST_SECONDS), temperature=(0, 10), smooth=(0, 10))
        if self.prior not in PRIORS:
            raise UserError(f"prior is {self.prior!r}; expected one of {', '.join(PRIORS)}")

    def over_time(self, model: AudioVAE) -> bool:
        """Whether z is drawn from the prior over time. Raises `UserError` where that can't be."""
        chosen = self.prior
        if chosen == "auto":
            chosen = "frames" if model.sequence is None else "sequence"
        if chosen == "sequence" and model.sequence is None:
            raise UserError(
                "this model has no prior over time: fit one with audiovae fit-prior STORE "
                "--model MODEL, or draw frames alone with --prior frames"
            )
        if chosen == "sequence" and (self.smooth is not None or self.component != 0):
            raise UserError("smooth and component go with --prior frames: draw so, or drop them")
        return chosen == "sequence"


@dataclass(frozen=True)
class Generated:
    """A file that was written."""

    path: Path
    target: str
    seconds: float
    sample_rate: int


def _play(
    model: AudioVAE, voice: Voice, settings: GenerateSettings, row: int = 0
) -> Iterator[np.ndarray]:
    """Give sound `(1, sample)`, in all as long as asked; each row is another draw."""
    config, over_time = model.config, settings.over_time(model)
    wanted, components = round(settings.seconds * config.audio.sample_rate), model.prior.components
    if not 0 <= settings.component < components:
        has = "component 0 alone" if components == 1 else f"components 0 to {components - 1}"
        raise UserError(f"component is {settings.component}; this model's prior has {has}")
    seed = settings.seed if row == 0 else mix_seed(settings.seed, row)
    engine = Engine(model, settings.temperature, seed, settings.precision, None, settings.component)
    frames = -(-wanted // config.latent_hop)
    path: Callable[[int, int], Tensor]
    if over_time:
        assert model.sequence is not None
        path = SequencePath(model.sequence, seed, settings.temperature, model.device)
    else:
        smooth = SMOOTH if settings.smooth is None else settings.smooth
        path = partial(engine.prior, smooth=smooth * config.latent_rate)
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
    count: int = 1,
    format: str = "wav",
    settings: GenerateSettings | None = None,
    progress: bool = False,
) -> list[Generated]:
    """Sample the prior into `output/generated.<domain>.wav`, one file a target.

    All targets play the same sample. Of several (`count`), which all differ, the files are
    `generated-1.<domain>.wav` and so on, and the first is what one alone would be. Raises
    `UserError` as `transfer_files` does.
    """
    settings = settings or GenerateSettings()
    voices = pick_voices(model, to, blend)
    settings.over_time(model)
    need_format(format)
    if not 1 <= count <= MOST_DRAWS:
        raise UserError(f"count is {count}; expected 1 to {MOST_DRAWS}")
    names = [voice.name for voice in voices]
    stems = ["generated"] if count == 1 else [f"generated-{i + 1}" for i in range(count)]
    planned = plan_names(
        [(Path(stem), Path()) for stem in stems], Path(output), names, f".{format}"
    )
    rate = model.config.audio.sample_rate
    results = []
    with Progress(settings.seconds * len(voices) * count, "generate", progress) as bar:
        for row, paths in enumerate(planned):
            write_folders(paths)
            for voice, path in zip(voices, paths, strict=True):
                with Writer(path, rate, 1) as writer:
                    for block in _play(model, voice, settings, row):
                        writer.append(block)
                        bar.advance(block.shape[1] / rate)
                results.append(Generated(path, voice.name, writer.frames / rate, rate))
    return results
