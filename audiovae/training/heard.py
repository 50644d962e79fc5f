"""What the encoder says of whole recordings of a piece, kept on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
from audiovae.model.precision import run_in

MOST_HEARD = 2
"""Recordings of a piece that are heard: one code should say what is in all of them."""
FULL_SCALE = 32768


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
    facts = [store.fingerprint, repr(model.statistics), *sorted(pieces)]
    digest = hashlib.sha256("\n".join(facts).encode())
    for tensor in model.encoder.state_dict().values():
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    stamp = digest.hexdigest()[:16]
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
            {domain: _gain(model, store, entry) for domain, entry in entries.items()},
        )
        for name, entries in pieces.items()
    }


@torch.inference_mode()
def _hear(
    model: AudioVAE, store: Store | FilesStore, entries: Mapping[str, Entry]
) -> DiagonalGaussian:
    """Return the Gaussian of the mixture of what some recordings of a piece are heard as."""
    chosen = sorted(entries, key=lambda domain: name_key(f"{domain} {entries[domain].path}"))
    runner, said = run_in(model), []
    samples = min(entry.frames for entry in entries.values())
    for domain in chosen[:MOST_HEARD]:
        sound = torch.from_numpy(store.audio(entries[domain], 0, samples).astype("float32"))
        gain = _gain(model, store, entries[domain])
        with runner.context():
            said.append(runner.model.encode(gain * sound[None].to(model.device)))
    means = torch.cat([posterior.mean for posterior in said]).float().cpu()
    variances = torch.cat([posterior.logvar for posterior in said]).float().cpu().exp()
    mean = means.mean(dim=0, keepdim=True)
    variance = (variances + (means - mean).square()).mean(dim=0, keepdim=True)
    return DiagonalGaussian(mean, variance.log())


def _gain(model: AudioVAE, store: Store | FilesStore, entry: Entry) -> float:
    level = entry.loudness
    if math.isnan(level):
        sound = store.audio(entry, 0, entry.frames).astype("float64") / FULL_SCALE
        level = 10 * math.log10(float((sound**2).mean()) + 1e-10)
    return 10 ** ((model.statistics.loudness - level) / 20) / FULL_SCALE
