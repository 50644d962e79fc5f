"""Fixed clips to hear and see while a model trains."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from audiovae.audio.files import write
from audiovae.corpus.kinds import AnyLoader
from audiovae.metrics.pictures import draw_spectrograms
from audiovae.model.autoencoder import AudioVAE

PREVIEWS = "previews"
"""Where a run keeps sounds and pictures of its last checkpoint."""
SOURCES = 2
"""Domains whose first clip is shown."""
TARGETS = 8
"""Domains it is transferred to."""


@torch.no_grad()
def draw_previews(
    model: AudioVAE, loader: AnyLoader, domains: list[str], folder: Path, vocoder: nn.Module | None
) -> None:
    """Write source, reconstruction and transfers of a fixed held-out clip, and their pictures."""
    rate = model.config.audio.sample_rate
    batch = loader.batch(0)
    folder.mkdir(exist_ok=True)
    for source in domains[:SOURCES]:
        audio = batch[source][:1]
        z = model.encode(audio).mean
        shown = [(f"{source}: source", audio[0].cpu().numpy())]
        for domain in [source, *(d for d in domains if d != source)][:TARGETS]:
            features = model.decode(z, domain)
            sound = features if model.config.speaks else (vocoder or model.griffin_lim)(features)
            clip = sound[0, : audio.shape[1]].float().cpu().numpy()
            kind = "reconstruction" if domain == source else f"to {domain}"
            write(folder / f"{source}.{kind.replace(' ', '-')}.wav", clip, rate)
            shown.append((f"{source}: {kind}", clip))
        write(folder / f"{source}.source.wav", shown[0][1], rate)
        draw_spectrograms(shown, rate, folder / f"{source}.png")
