"""Timbre transfer against ground truth: one score, rendered on every instrument, is the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiovae.audio.files import read
from audiovae.errors import CorpusError
from audiovae.metrics.distances import log_mel_spectrogram, log_spectral_distance_from
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.optimise import autocast

SECONDS = 8.0
"""Length of a compared segment."""
QUIETEST_DB = -45.0
"""Segments whose source or truth is quieter (a score out of an instrument's range) are left out."""
BATCH = 8


@dataclass(frozen=True)
class Row:
    """Mean log-spectral distance in dB to the true rendering, over the segments of a pair."""

    source: str
    target: str
    lsd_copy: float
    lsd_model: float
    segments: int


def read_groups(folder: Path) -> dict[str, dict[str, Path]]:
    """Return piece to domain to file of a folder of aligned renders (its `groups.json`)."""
    path = folder / "groups.json"
    if not path.is_file():
        raise CorpusError(f"{folder} has no groups.json: render it with --mode aligned")
    pieces: dict[str, dict[str, Path]] = {}
    for name, piece in sorted(json.loads(path.read_text("utf-8")).items()):
        pieces.setdefault(piece, {})[name.split("/")[0]] = folder / name
    return pieces


def cut_segments(
    pieces: dict[str, dict[str, Path]], sample_rate: int, each: int
) -> list[dict[str, np.ndarray]]:
    """Return segments as domain to `(samples,)`: the first `each` of every piece."""
    samples = round(SECONDS * sample_rate)
    segments = []
    for files in pieces.values():
        sounds = {d: read(f, sample_rate=sample_rate)[0].mean(axis=0) for d, f in files.items()}
        length = min(len(s) for s in sounds.values())
        for i in range(min(each, length // samples)):
            part = slice(i * samples, (i + 1) * samples)
            segments.append({d: s[part] for d, s in sounds.items()})
    return segments


@torch.inference_mode()
def measure_transfer(
    model: AudioVAE,
    folder: str | Path,
    *,
    sources: Sequence[str] | None = None,
    unseen: str | Path | None = None,
    segments: int = 2,
    precision: str = "auto",
) -> list[Row]:
    """Measure transfer between all pairs of domains on aligned renders that never trained.

    Args:
        model: to judge.
        folder: aligned renders, `<domain>/<piece>.flac` and `groups.json`.
        sources: domains to transfer from; the model's own when left out. They may be unknown to it.
        unseen: a second such folder, of the same pieces on other instruments: all of them become
            sources too.
        segments: of 8 seconds, from each piece.
        precision: `auto`, `fp32` or `bf16`.

    Returns:
        A row for each ordered pair, reconstruction (`source == target`) among them. The distance
        is that of `audiovae.metrics.distances.log_spectral_distance`, audio to audio.
    """
    rate = model.config.audio.sample_rate
    pieces = read_groups(Path(folder))
    others: set[str] = set()
    for piece, files in read_groups(Path(unseen)).items() if unseen is not None else ():
        if piece in pieces:
            pieces[piece] |= files
            others |= set(files)
    cut = cut_segments(pieces, rate, segments)
    targets = [d for d in model.domains if all(d in s for s in cut)]
    chosen = (list(sources) if sources is not None else targets) + sorted(others)
    missing = [d for d in chosen if not all(d in s for s in cut)]
    if missing or not targets or not cut:
        odd = ", ".join(missing) or "the model's domains"
        raise CorpusError(f"{folder} has no aligned renders of {odd}")
    spectra = {
        d: log_mel_spectrogram(torch.from_numpy(np.stack([s[d] for s in cut])), rate)
        for d in {*chosen, *targets}
    }
    loud = {d: torch.tensor([level(s[d]) > QUIETEST_DB for s in cut]) for d in spectra}
    rows = []
    for source in chosen:
        audio = torch.from_numpy(np.stack([s[source] for s in cut])).float()
        gain = torch.tensor([_gain(model, s[source]) for s in cut])[:, None]
        parts = (audio * gain).split(BATCH)
        with autocast(model.device, precision):
            z = [model.encode(part.to(model.device)).mean for part in parts]
        for target in targets:
            with autocast(model.device, precision):
                made = torch.cat([_decode(model, part, target) for part in z]).float().cpu()
            made = made[:, : audio.shape[1]]
            used = loud[source] & loud[target]
            if not used.any():
                continue
            truth, copied = spectra[target][used], spectra[source][used]
            result = log_mel_spectrogram(made[used], rate)
            distances = (log_spectral_distance_from(x, truth) for x in (copied, result))
            copy, model_ = (float(d.mean()) for d in distances)
            rows.append(Row(source, target, copy, model_, int(used.sum())))
    return rows


def level(audio: np.ndarray) -> float:
    """Return the root mean square in decibels of full scale."""
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))


def _gain(model: AudioVAE, audio: np.ndarray) -> float:
    """Return the factor that brings a source to the level of the training recordings."""
    return float(10 ** ((model.statistics.loudness - level(audio)) / 20))


def _decode(model: AudioVAE, z: Tensor, target: str) -> Tensor:
    return model.vocode(model.decode(z, target))


def summarise(rows: Sequence[Row]) -> dict[str, float]:
    """Return means over pairs: `transfer`, `copy` (of pairs that differ) and `reconstruction`."""
    pairs = [r for r in rows if r.source != r.target]
    same = [r for r in rows if r.source == r.target]
    means = {}
    if pairs:
        means["transfer"] = float(np.mean([r.lsd_model for r in pairs]))
        means["copy"] = float(np.mean([r.lsd_copy for r in pairs]))
    if same:
        means["reconstruction"] = float(np.mean([r.lsd_model for r in same]))
    return {k: round(v, 3) for k, v in means.items()}
