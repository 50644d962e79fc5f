"""From one sound to another through the latent: over time, or in steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.embed import Encoder
from audiovae.apps.engine import Engine, Voice
from audiovae.apps.output import plan_names, write_folders
from audiovae.apps.pieces import Level
from audiovae.apps.progress import Progress
from audiovae.apps.sources import FileSource, MonoSource, level_of
from audiovae.apps.transfer import need_format, pick_voices
from audiovae.audio.files import Writer, probe
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.presence import gates, hop_peaks
from audiovae.tables import check_ranges

FITS = ("stretch", "cut")
MOST_STEPS = 1000


@dataclass(frozen=True)
class MorphSettings:
    """How to go from one sound to another. Raises `UserError` on a value out of range."""

    steps: int | None = None
    """Sounds from one to the other, both included; one sound that goes over time if left out."""
    fit: Literal["stretch", "cut"] = "stretch"
    """Of sounds of two lengths: both from beginning to end, each at its own pace where it is
    alone, or as long as the shorter one."""
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(self, steps=(2, MOST_STEPS))
        if self.fit not in FITS:
            raise UserError(f"fit is {self.fit!r}; expected {' or '.join(FITS)}")


@dataclass(frozen=True)
class Morphed:
    """A file that was written."""

    path: Path
    target: str
    share: float | None
    """Of the second sound; nothing where it grows over time."""
    seconds: float
    sample_rate: int


@dataclass(frozen=True)
class Take:
    """A sound as the encoder hears it."""

    z: Tensor
    """`(latent, frame)`."""
    heard: Tensor
    """Gain of each frame, 0 deep inside silence, `(frame,)`."""
    gain: float
    """Factor that brought it to the level of the training recordings."""


def hear_take(encoder: Encoder, source: FileSource) -> Take:
    """Encode a file, mixed down to one channel."""
    model, mono = encoder.model, MonoSource(source)
    config, level = model.config, level_of(mono)
    z = torch.from_numpy(encoder.embed_source(source, None, level).embeddings).T
    hop = config.audio.hop_length
    blocks = [torch.from_numpy(block) for block in mono.blocks(config.audio.sample_rate)]
    gain = gates(hop_peaks(torch.cat(blocks, dim=1), hop), config.audio.causal)
    heard = torch.nn.functional.avg_pool1d(gain, config.model.latent_stride, ceil_mode=True)[0]
    return Take(z, heard, _gain(model, level))


def _gain(model: AudioVAE, level: Level) -> float:
    return level.gain_to(model.statistics.loudness)


def read_at(track: Tensor, places: Tensor) -> Tensor:
    """Return the columns of `track (row, frame)` at places between them, `(row, place)`."""
    places = places.clamp(0, track.shape[1] - 1)
    low = places.floor().long()
    high = (low + 1).clamp_max(track.shape[1] - 1)
    share = (places - low).to(track.dtype)
    return torch.lerp(track[:, low], track[:, high], share)


def mix_takes(one: Take, other: Take, share: float | None, fit: str) -> tuple[Tensor, Tensor]:
    """Return z between two sounds `(latent, frame)`, and its gain `(frame,)`.

    Where the other's share grows over time, it follows half a cosine. Stretched, both are heard
    from beginning to end: the pace is that of the mean of their lengths, weighted as they are, so
    the first frames have the pace of one and the last ones that of the other.
    """
    sizes = torch.tensor([one.z.shape[1], other.z.shape[1]], dtype=torch.float64)
    if fit == "cut":
        sizes = sizes.min().repeat(2)
    if share is None:
        # Progress through both, as a function of time: dt / dp is the mean length at p.
        progress = torch.linspace(0, 1, 4097, dtype=torch.float64)
        shares = 0.5 - 0.5 * torch.cos(torch.pi * progress)
        pace = sizes[0] + (sizes[1] - sizes[0]) * shares
        times = torch.cat([torch.zeros(1, dtype=torch.float64), 0.5 * (pace[1:] + pace[:-1])])
        times = times.cumsum(0) / 4096
        frames = max(1, round(float(times[-1])))
        at = torch.arange(frames, dtype=torch.float64)
        place = torch.from_numpy(np.interp(at.numpy(), times.numpy(), progress.numpy()))
        weights = 0.5 - 0.5 * torch.cos(torch.pi * place)
    else:
        frames = max(1, round(float(sizes[0] + (sizes[1] - sizes[0]) * share)))
        place = torch.arange(frames, dtype=torch.float64) / frames
        weights = torch.full((frames,), share, dtype=torch.float64)
    weights = weights.float()
    parts = []
    for take, size in zip((one, other), sizes, strict=True):
        track = torch.cat([take.z, take.heard[None]])
        parts.append(read_at(track, place * size))
    mixed = torch.lerp(parts[0], parts[1], weights)
    level = (1 - weights) * np.log(one.gain) + weights * np.log(other.gain)
    return mixed[:-1], mixed[-1] * torch.exp(-level)


def play_path(
    engine: Engine, voice: Voice, z: Tensor, gain: Tensor | None = None
) -> Iterator[np.ndarray]:
    """Play `z (latent, frame)` in pieces `(1, sample)`, times a gain `(frame,)` between frames."""
    hop, device = engine.model.config.latent_hop, engine.model.device
    done = 0

    def path(start: int, frames: int) -> Tensor:
        return z[None, :, start : start + frames].to(device)

    for block in engine.play(z.shape[1], voice, path):
        if gain is not None:
            places = (torch.arange(done, done + block.shape[1]).double() + 0.5) / hop - 0.5
            block = block * read_at(gain[None], places).numpy()
        done += block.shape[1]
        yield block


def interpolate_files(
    first: str | Path,
    second: str | Path,
    to: Sequence[str],
    output: str | Path,
    *,
    model: AudioVAE,
    blend: dict[str, float] | None = None,
    format: str = "wav",
    settings: MorphSettings | None = None,
    progress: bool = False,
) -> list[Morphed]:
    """Play what lies between two files in the latent, mono.

    `a.wav` and `b.wav` give `output/a-b.flute.wav`, which begins as the one and ends as the other;
    with 5 steps `a-b-1.flute.wav` to `a-b-5.flute.wav`, of which the first is the transfer of `a`
    and the last that of `b`.

    Raises:
        AudioError: on an input that is no sound.
        UserError: on an unknown domain, or an output that is an input.
    """
    settings = settings or MorphSettings()
    voices = pick_voices(model, to, blend)
    need_format(format)
    inputs = [Path(first), Path(second)]
    sources = [FileSource(probe(path)) for path in inputs]
    stem = "-".join(path.stem for path in inputs)
    count = settings.steps
    shares: list[float | None] = [None]
    if count is not None:
        shares = [i / (count - 1) for i in range(count)]
    stems = [stem] if count is None else [f"{stem}-{i + 1}" for i in range(count)]
    found = [(Path(f"{name}{inputs[0].suffix}"), Path()) for name in stems]
    planned = plan_names(found, Path(output), [voice.name for voice in voices], f".{format}")
    engine = Engine(model, precision=settings.precision)
    encoder = Encoder(model, precision=settings.precision)
    one, other = (hear_take(encoder, source) for source in sources)
    rate, results = model.config.audio.sample_rate, []
    mean = sum(source.info.seconds for source in sources) / 2
    with Progress(mean * len(shares) * len(voices), "interpolate", progress) as bar:
        for share, paths in zip(shares, planned, strict=True):
            z, gain = mix_takes(one, other, share, settings.fit)
            write_folders(paths)
            for voice, path in zip(voices, paths, strict=True):
                with Writer(path, rate, 1, inputs=inputs) as writer:
                    for block in play_path(engine, voice, z, gain):
                        writer.append(block)
                        bar.advance(block.shape[1] / rate)
                seconds = writer.frames / rate
                results.append(Morphed(path, voice.name, share, seconds, rate))
    return results
