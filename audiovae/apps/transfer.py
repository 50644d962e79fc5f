"""Sound played on another instrument: from an array, and from files to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from audiovae.apps.engine import Engine, Voice
from audiovae.apps.models import resolve_model
from audiovae.apps.output import Output, check_format, plan_names, write_folders
from audiovae.apps.pieces import Level
from audiovae.apps.progress import Progress, Watch
from audiovae.apps.sources import FileSource, Source, check_audio, find_inputs, level_of
from audiovae.apps.transpose import (
    MOST_SEMITONES,
    file_range,
    octave_shift,
    shift_pitch,
    target_range,
)
from audiovae.audio.files import Writer, probe
from audiovae.errors import UserError
from audiovae.metrics.pitch import PitchRange, pitch_range
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.precision import PRECISIONS, Precision, choose_precision
from audiovae.tables import check_ranges

FORMATS = ("wav", "flac", "ogg")


@dataclass(frozen=True)
class TransferSettings:
    """How to transfer. Raises `UserError` on a value out of range."""

    mix: float = 1.0
    """Share of the new sound: 0 gives the input, 1 the new sound alone."""
    keep_loudness: bool = False
    """Bring the new sound to the input's root mean square."""
    temperature: float = 0.0
    """Scale of the posterior's noise; 0 takes its mean."""
    seed: int = 0
    """Of that noise, and of what WaveNet decoders draw."""
    transpose: float = 0.0
    """Semitones by which the source is shifted first."""
    octave: Literal["keep", "auto"] = "keep"
    """`auto` shifts the source by whole octaves into the target's range."""
    precision: Precision = "auto"
    piece_seconds: float | None = None
    """Length of the pieces that are computed at once; chosen by the vocoder when left out."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            mix=(0, 1),
            temperature=(0, 10),
            transpose=(-MOST_SEMITONES, MOST_SEMITONES),
            piece_seconds=(0.1, 3600),
        )
        for name, known in (("octave", ("keep", "auto")), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}; expected {' or '.join(known)}")


@dataclass(frozen=True)
class Transferred:
    """A file that was written."""

    source: Path
    path: Path
    target: str
    seconds: float
    sample_rate: int
    channels: int
    transposed: float
    """Semitones by which the source was shifted."""
    clipped: int
    """Samples beyond full scale, cut to it."""


def need_format(format: str) -> None:
    """Raise `UserError` unless sound can be written in a format."""
    if format not in FORMATS:
        raise UserError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")


def pick_voices(
    model: AudioVAE, to: Sequence[str] = (), blend: Mapping[str, float] | None = None
) -> list[Voice]:
    """Return what to play on. Raises `UserError` on no target, an unknown or a repeated one."""
    voices = [Voice.of(domain) for domain in to]
    if blend is not None:
        voices.append(Voice.blend(blend))
    if not voices:
        raise UserError(f"no target: choose from {', '.join(model.domains)}, as in --to flute")
    for voice in voices:
        for domain in voice.weights:
            model.decoder(domain)
        if len(voice.weights) > 1 and model.config.model.decoder == "wavenet":
            raise UserError("WaveNet decoders have no blend, only log-mels add up: name one domain")
    names = [voice.name for voice in voices]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"target {name!r} is named twice: name it once")
    return voices


def transfer_audio(
    model: AudioVAE,
    audio: np.ndarray,
    sample_rate: int,
    to: str | Mapping[str, float],
    settings: TransferSettings | None = None,
) -> np.ndarray:
    """Play sound on another instrument.

    Args:
        model: that plays.
        audio: `(sample,)` or `(channel, sample)`, floating point, plus or minus 1 is full scale.
        sample_rate: of `audio`, in hertz.
        to: a domain, or a blend as `{domain: weight}`.
        settings: how; the plain ones when left out.

    Returns:
        float32 of the same shape at the same rate.

    Raises:
        AudioError: on samples that are no sound.
        UserError: on an unknown domain.
    """
    settings = settings or TransferSettings()
    names, blend = ([to], None) if isinstance(to, str) else ([], to)
    (voice,) = pick_voices(model, names, blend)
    source = check_audio(audio, sample_rate)
    heard = None
    if settings.octave == "auto":
        heard = pitch_range(source.audio.mean(axis=0), source.sample_rate)
    shift = _shift(model, voice, heard, settings)
    parts: list[np.ndarray] = []
    output = Output(parts.append, source, settings, model.config.audio.sample_rate)
    _run(model, source, level_of(source), {shift: [(voice, output)]}, settings, None)
    return np.concatenate(parts, axis=1).reshape(audio.shape)


def transfer_files(
    inputs: Iterable[str | Path],
    to: str | Sequence[str],
    output: str | Path,
    *,
    model: AudioVAE | str | Path | None = None,
    blend: Mapping[str, float] | None = None,
    format: str = "wav",
    settings: TransferSettings | None = None,
    progress: Watch = False,
) -> list[Transferred]:
    """Play files on other instruments, in bounded memory.

    `take.wav` to `flute` is written to `output/take.flute.wav`, a blend to `take.blend.wav`; files
    of a folder keep their place below it. All inputs are read once before the first is written.

    Args:
        inputs: audio files, and folders of them.
        to: domains; each file is encoded once for all of them.
        output: folder to write to.
        model: that plays, or where it is; the shipped one when left out.
        blend: domains and their weights, for one more output.
        format: `wav`, `flac` or `ogg`.
        settings: how; the plain ones when left out.
        progress: write to the standard error stream; or who is told of it, as `Watch` has it.

    Raises:
        AudioError: on an input that is no sound.
        UserError: on an unknown domain, two outputs of one name, or an output that is an input.
    """
    if not isinstance(model, AudioVAE):
        model = resolve_model(model)
    to = [to] if isinstance(to, str) else to
    settings = settings or TransferSettings()
    voices = pick_voices(model, to, blend)
    choose_precision(model, settings.precision)
    need_format(format)
    found = find_inputs(inputs)
    planned = plan_names(found, Path(output), [v.name for v in voices], f".{format}")
    sources = [FileSource(probe(path)) for path, _ in found]
    for source in sources:
        check_format(source, format, source.info.path)
    jobs = []
    for source in sources:
        heard = file_range(source.info.path) if settings.octave == "auto" else None
        shifts = [_shift(model, voice, heard, settings) for voice in voices]
        jobs.append((source, level_of(source), shifts))
    total = sum(source.info.seconds * len(set(shifts)) for source, _, shifts in jobs)
    results = []
    with Progress(total, "transfer", progress) as bar:
        for (source, level, shifts), paths in zip(jobs, planned, strict=True):
            write_folders(paths)
            wanted = list(zip(voices, shifts, paths, strict=True))
            results += _transfer_file(model, source, level, wanted, sources, settings, bar)
    return results


def _transfer_file(
    model: AudioVAE,
    source: FileSource,
    level: Level,
    wanted: list[tuple[Voice, float, Path]],
    sources: list[FileSource],
    settings: TransferSettings,
    bar: Progress,
) -> list[Transferred]:
    groups: dict[float, list[tuple[Voice, Output]]] = {}
    outputs: list[Output] = []
    inputs = [s.info.path for s in sources]
    channels, rate = source.shape[0], source.sample_rate
    with ExitStack() as stack:
        for voice, shift, path in wanted:
            writer = stack.enter_context(Writer(path, rate, channels, inputs=inputs))
            model_rate = model.config.audio.sample_rate
            output = Output(writer.append, source, settings, model_rate, path.parent)
            stack.callback(output.close)
            groups.setdefault(shift, []).append((voice, output))
            outputs.append(output)
        _run(model, source, level, groups, settings, bar)
    seconds = source.info.seconds
    return [
        Transferred(
            source.info.path, path, voice.name, seconds, rate, channels, shift, output.clipped
        )
        for (voice, shift, path), output in zip(wanted, outputs, strict=True)
    ]


def _run(
    model: AudioVAE,
    source: Source,
    level: Level,
    groups: Mapping[float, list[tuple[Voice, Output]]],
    settings: TransferSettings,
    bar: Progress | None,
) -> None:
    """Encode the source once for each shift and push what the voices play into their outputs."""
    rate = model.config.audio.sample_rate
    engine = Engine(
        model, settings.temperature, settings.seed, settings.precision, settings.piece_seconds
    )
    gain = level.gain_to(model.statistics.loudness)
    for shift, pairs in groups.items():
        blocks = shift_pitch(source.blocks(rate), shift, rate)
        for sounds in engine.convert(blocks, [voice for voice, _ in pairs], gain):
            for (_, output), sound in zip(pairs, sounds, strict=True):
                output.push(sound)
            if bar is not None:
                bar.advance(sounds[0].shape[1] / rate)
        for _, output in pairs:
            output.finish(level)


def _shift(
    model: AudioVAE, voice: Voice, heard: PitchRange | None, settings: TransferSettings
) -> float:
    """Return the semitones by which the source is shifted for a voice."""
    shift = settings.transpose
    if settings.octave == "auto":
        low, high = target_range(model, voice)
        shift += octave_shift(heard, low - shift, high - shift)
    return shift
