"""What the latent still says of the domain: fresh probes on single latent frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.evaluation.systems import convert, to_training_level
from audiovae.evaluation.testset import TestSet
from audiovae.metrics.probe import probe
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.precision import run_in

SEGMENTS = 24
"""The same of all domains, so that no register gives a domain away."""
AUDIBLE = 10 ** (-50 / 20)
"""Root mean square under which a latent frame is silence, and left out."""


@torch.inference_mode()
def hear(
    model: AudioVAE, audio: Tensor, sample_rate: int, precision: str = "auto"
) -> tuple[DiagonalGaussian, Tensor]:
    """Return the posterior of `audio (row, sample)`, and which of its frames are audible.

    Returns:
        On the processor in float32, and `(row, frame)`.
    """
    given = convert(audio, sample_rate, model.config.audio.sample_rate)
    runner = run_in(model, precision)
    with runner.context():
        said = runner.model.encode(to_training_level(model, given).to(model.device))
    posterior = DiagonalGaussian(said.mean.float().cpu(), said.logvar.float().cpu())
    heard = _audible(given, model.config.latent_hop)
    frames = min(heard.shape[1], posterior.mean.shape[2])
    cut = DiagonalGaussian(posterior.mean[..., :frames], posterior.logvar[..., :frames])
    return cut, heard[:, :frames]


def probe_latent(
    model: AudioVAE, testset: TestSet, domains: Sequence[str], *, seed: int = 0
) -> dict[str, float]:
    """Guess the domain from posterior means, one latent frame at a time.

    The probes learn from every other piece and are judged on the pieces between: no score lies on
    both sides.

    Returns:
        Accuracy of a `linear` and an `mlp` probe, `chance`, and the number of judged `frames`;
        nothing where fewer than two pieces fit all domains.
    """
    train: dict[str, Tensor] = {}
    held: dict[str, Tensor] = {}
    segments = testset.shared(domains, SEGMENTS)
    if len({s.piece for s in segments}) < 2:
        return {}
    learned = set(sorted({s.piece for s in segments})[::2])
    for domain in domains:
        audio = torch.from_numpy(np.stack([testset.audio(domain, s) for s in segments]))
        posterior, heard = hear(model, audio, testset.sample_rate)
        frames = posterior.mean.transpose(1, 2)
        for side, inside in ((train, True), (held, False)):
            chosen = torch.tensor([(s.piece in learned) == inside for s in segments])
            side[domain] = frames[chosen][heard[chosen]]
    return {
        "linear": probe(train, held, kind="linear", seed=seed),
        "mlp": probe(train, held, kind="mlp", seed=seed),
        "chance": 1 / len(domains),
        "frames": float(sum(len(f) for f in held.values())),
    }


def _audible(audio: Tensor, hop: int) -> Tensor:
    """Return whether each stretch of `hop` samples of `audio (row, sample)` is heard."""
    power = F.avg_pool1d(audio.square()[:, None], hop, ceil_mode=True)[:, 0]
    return power.sqrt() > AUDIBLE
