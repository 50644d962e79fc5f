"""Scores played on a model's domains: notes to z, z to sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.engine import Engine, Voice
from audiovae.apps.output import check_folder, plan_names, write_folders
from audiovae.apps.progress import Progress
from audiovae.apps.transfer import need_format, pick_voices
from audiovae.audio.files import Writer
from audiovae.audio.notes import Score, read_score
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.notes import NoteEncoder, Roll
from audiovae.model.presence import gates
from audiovae.tables import check_ranges

TAIL = 1.0
"""Seconds that ring on after the last note; elsewhere, a note's sound ends by then too."""


@dataclass(frozen=True)
class PlaySettings:
    """How to play. Raises `UserError` on a value out of range."""

    temperature: float = 0.0
    """Scale of the posterior's noise; 0 takes its mean."""
    seed: int = 0
    """Of that noise."""
    precision: str = "auto"
    piece_seconds: float | None = None
    """Length of the pieces that are computed at once; chosen by the vocoder when left out."""

    def __post_init__(self) -> None:
        check_ranges(self, temperature=(0, 10), piece_seconds=(0.1, 3600))


@dataclass(frozen=True)
class Played:
    """A file that was written."""

    source: Path
    path: Path
    target: str
    seconds: float
    sample_rate: int
    notes: int
    drums: int
    """Notes of drums that were left out."""
    moved: int
    """Notes beyond the keys that training heard, played an octave or more away."""
    clipped: int
    """Samples beyond full scale, cut to it."""


def play_score(
    model: AudioVAE,
    notes: str | Path | Iterable[Sequence[float]],
    to: str | Mapping[str, float],
    settings: PlaySettings | None = None,
) -> np.ndarray:
    """Play notes on an instrument.

    Args:
        model: that plays; it must have a note encoder, see `audiovae train-notes`.
        notes: a MIDI file, or `(start s, length s, MIDI pitch, velocity 1 to 127)` of each note.
        to: a domain, or a blend as `{domain: weight}`.
        settings: how; the plain ones when left out.

    Returns:
        `(sample,)` float32 at the model's rate, `TAIL` seconds longer than the last note, about as
        loud as the training recordings (`model.statistics.loudness`).

    Raises:
        UserError: on a file that is no MIDI, no notes, an unknown domain, or a model that has no
            note encoder.
    """
    names, blend = ([to], None) if isinstance(to, str) else ([], to)
    (voice,) = pick_voices(model, names, blend)
    need_notes(model)
    score = read_score(notes) if isinstance(notes, str | Path) else Score.of(notes)
    blocks = list(play(model, score, voice, settings or PlaySettings()))
    return np.concatenate(blocks, axis=1)[0]


def play_files(
    inputs: Iterable[str | Path],
    to: Sequence[str],
    output: str | Path,
    *,
    model: AudioVAE,
    blend: Mapping[str, float] | None = None,
    format: str = "wav",
    settings: PlaySettings | None = None,
    progress: bool = False,
) -> list[Played]:
    """Play MIDI files: `score.mid` on `flute` is `output/score.flute.wav`, mono.

    All inputs are read before the first output is written. Raises `UserError` as `play_score` and
    `transfer_files` do.
    """
    settings = settings or PlaySettings()
    voices = pick_voices(model, to, blend)
    encoder = need_notes(model)
    need_format(format)
    paths = [Path(path) for path in inputs]
    check_folder(Path(output))
    scores = [read_score(path) for path in paths]
    if not scores:
        raise UserError("no input: name at least one MIDI file")
    names = [voice.name for voice in voices]
    planned = plan_names([(path, Path()) for path in paths], Path(output), names, f".{format}")
    rate, results = model.config.audio.sample_rate, []
    total = sum(score.end + TAIL for score in scores) * len(voices)
    with Progress(total, "play", progress) as bar:
        for path, score, targets in zip(paths, scores, planned, strict=True):
            write_folders(targets)
            _, moved = encoder.within(score)
            for voice, target in zip(voices, targets, strict=True):
                clipped = 0
                with Writer(target, rate, 1, inputs=paths) as writer:
                    for block in play(model, score, voice, settings):
                        clipped += int((np.abs(block) > 1).sum())
                        writer.append(block)
                        bar.advance(block.shape[1] / rate)
                counts = (len(score.notes), score.drums, moved, clipped)
                seconds = writer.frames / rate
                results.append(Played(path, target, voice.name, seconds, rate, *counts))
    return results


def need_notes(model: AudioVAE) -> NoteEncoder:
    """Return a model's note encoder. Raises `UserError` where it has none."""
    if model.notes is None:
        raise UserError(
            "this model knows no notes: train it to with audiovae train-notes STORE --notes "
            "NOTES.json --model MODEL -o OUT, on recordings whose notes are known"
        )
    return model.notes


def play(
    model: AudioVAE, score: Score, voice: Voice, settings: PlaySettings
) -> Iterator[np.ndarray]:
    """Give the sound `(1, sample)` of a score in pieces, in all `TAIL` longer than its notes."""
    config, encoder = model.config, need_notes(model)
    wanted = round((score.end + TAIL) * config.audio.sample_rate)
    frames = -(-wanted // config.latent_hop)
    engine = Engine(
        model,
        *(settings.temperature, settings.seed),
        *(settings.precision, settings.piece_seconds),
    )
    within, _ = encoder.within(score)
    roll = Roll(within.notes, config.latent_rate)

    @torch.inference_mode()
    def path(start: int, count: int) -> Tensor:
        return engine.latent(model.rounded(encoder.tell([(roll, start)], count)), 0, start)

    done, heard = 0, presence(score, model, frames)
    hop = config.audio.hop_length
    for block in engine.play(frames, voice, path):
        block = block[:, : wanted - done]
        first, last = done // hop, -(-(done + block.shape[1]) // hop)
        gain = np.repeat(heard[first:last], hop)[done - first * hop :][: block.shape[1]]
        yield block * gain
        done += block.shape[1]


def presence(score: Score, model: AudioVAE, frames: int) -> np.ndarray:
    """Return the gain of each hop of a score's latent frames: 0 where nothing sounds or rings."""
    config = model.config
    peaks = np.zeros(frames * config.model.latent_stride, np.float32)
    rate = config.audio.frame_rate
    for note in score.notes:
        peaks[int(note.start * rate) : int((note.start + note.length + TAIL) * rate) + 1] = 1
    return gates(torch.from_numpy(peaks)[None], causal=False)[0].numpy()
