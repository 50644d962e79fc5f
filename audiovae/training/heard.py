"""What the encoder says of whole recordings of a piece, kept on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from audiovae.corpus.crops import name_key
from audiovae.corpus.manifest import Entry
from audiovae.corpus.store import FilesStore, Store
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.lines import Listener
from audiovae.model.precision import run_in

MOST_HEARD = 2
"""Recordings of a piece that are heard: one code should say what is in all of them."""
FULL_SCALE = 32768
PIECE_SECONDS = 8.0
"""Of a recording that is encoded at once."""


@dataclass(frozen=True)
class Heard:
    """A piece as the encoder hears it: mean and variance of the mixture of its recordings'."""

    mean: Tensor
    """`(latent, frame)`."""
    logvar: Tensor
    gains: Mapping[str, float]
    """Domain to the factor that brings int16 samples to the level of the training recordings."""

    def frames(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of some frames; where they end, the last is repeated."""
        parts = (part[:, first : first + count] for part in (self.mean, self.logvar))
        mean, logvar = (
            F.pad(part[None], (0, count - part.shape[1]), mode="replicate")[0] for part in parts
        )
        return mean, logvar


def hear_all(
    model: AudioVAE,
    store: Store | FilesStore,
    pieces: Mapping[str, Mapping[str, Entry]],
    kept: Path,
    progress: bool,
) -> dict[str, Heard]:
    """Return each piece as it is heard, from the file `kept` where that has it.

    Args:
        model: whose encoder hears, in the fastest arithmetic.
        store: that has the recordings.
        pieces: name to recordings by domain.
        kept: a safetensors file, written when all are heard.
        progress: whether to show any.
    """
    stamp = stamp_of(model, store, *sorted(pieces))
    said = load_file(kept) if kept.is_file() else {}
    if f"{stamp}/" not in said:
        said = {f"{stamp}/": torch.zeros(1)}
        for name in tqdm(sorted(pieces), "heard", disable=not progress, mininterval=10):
            posterior = _hear(model, store, pieces[name])
            said[f"mean/{name}"] = posterior.mean[0].half().contiguous()
            said[f"logvar/{name}"] = posterior.logvar[0].half().contiguous()
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file(said, kept)
    return {
        name: Heard(
            said[f"mean/{name}"].float(),
            said[f"logvar/{name}"].float(),
            {domain: level_gain(model, store, entry) for domain, entry in entries.items()},
        )
        for name, entries in pieces.items()
    }


def stamp_of(model: AudioVAE, store: Store | FilesStore, *facts: object) -> str:
    """Return 16 hexadecimal digits that say which encoder hears which recordings."""
    known = [store.fingerprint, repr(model.statistics), *map(str, facts)]
    digest = hashlib.sha256("\n".join(known).encode())
    for tensor in model.encoder.state_dict().values():
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _hear(
    model: AudioVAE, store: Store | FilesStore, entries: Mapping[str, Entry]
) -> DiagonalGaussian:
    """Return the Gaussian of the mixture of what some recordings of a piece are heard as."""
    chosen = sorted(entries, key=lambda domain: name_key(f"{domain} {entries[domain].path}"))
    samples = min(entry.frames for entry in entries.values())
    said = [hear_recording(model, store, entries[d], samples) for d in chosen[:MOST_HEARD]]
    means = torch.cat([posterior.mean for posterior in said])
    variances = torch.cat([posterior.logvar for posterior in said]).exp()
    mean = means.mean(dim=0, keepdim=True)
    variance = (variances + (means - mean).square()).mean(dim=0, keepdim=True)
    return DiagonalGaussian(mean, variance.log())


@torch.inference_mode()
def hear_recording(
    model: AudioVAE, store: Store | FilesStore, entry: Entry, samples: int
) -> DiagonalGaussian:
    """Return the posterior `(1, latent, frame)` of a recording's first samples, on the processor.

    They are brought to the level of the training recordings and heard in pieces.
    """
    runner, config = run_in(model), model.config
    listener, gain = Listener(runner.model), level_gain(model, store, entry)
    hop = config.latent_hop
    step = max(1, round(PIECE_SECONDS * config.audio.sample_rate / hop)) * hop
    parts = []
    for start in range(0, samples, step):
        piece = store.audio(entry, start, min(step, samples - start)).astype(np.float32)
        sound = torch.from_numpy(gain * piece)[None].to(model.device)
        with runner.context():
            posterior = listener.push(sound, start + step >= samples)
        if posterior is not None:
            parts.append(posterior)
    return DiagonalGaussian(
        torch.cat([part.mean for part in parts], dim=2).float().cpu(),
        torch.cat([part.logvar for part in parts], dim=2).float().cpu(),
    )


def level_gain(model: AudioVAE, store: Store | FilesStore, entry: Entry) -> float:
    """Return the factor that brings int16 samples to the level of the training recordings."""
    level = entry.loudness
    if math.isnan(level):
        sound = store.audio(entry, 0, entry.frames).astype(np.float64) / FULL_SCALE
        level = 10 * math.log10(float(np.square(sound).mean()) + 1e-10)
    return 10 ** ((model.statistics.loudness - level) / 20) / FULL_SCALE
