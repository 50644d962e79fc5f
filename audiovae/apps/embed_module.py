"""The encoder as a PyTorch module: a batch of sound in, a batch of embeddings out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from audiovae.apps.embed_timbre import TIMBRE_DIMENSION, timbre_of
from audiovae.apps.models import find_model
from audiovae.apps.sources import check_audio, level_of
from audiovae.model.autoencoder import AudioVAE


class AudioEncoder(nn.Module):
    """Maps sound to embeddings; gradients pass, so it can be trained on as part of another model.

    It has the attributes that X-ARES and HEAR ask a model for.

    Args:
        model: a model; or a run folder, a checkpoint folder or a hub id, the shipped model when
            left out.
        device: `auto`, `cpu`, `cuda`, `mps`, where it is loaded.
    """

    def __init__(self, model: AudioVAE | str | Path | None = None, device: str = "auto") -> None:
        super().__init__()
        if not isinstance(model, AudioVAE):
            model = find_model(model, device=device).model
        self.model = model

    @property
    def sample_rate(self) -> int:
        """Of the sound it takes, in hertz: it does not resample."""
        return self.model.config.audio.sample_rate

    @property
    def sampling_rate(self) -> int:
        """The same, as X-ARES calls it."""
        return self.sample_rate

    @property
    def output_dim(self) -> int:
        """Dimensions of an embedding, as X-ARES calls them."""
        return self.model.config.model.latent_dim

    @property
    def hop_size_in_ms(self) -> float:
        """Milliseconds from one embedding to the next, as X-ARES calls them."""
        return 1000 / self.model.config.latent_rate

    @property
    def timestamp_embedding_size(self) -> int:
        """Dimensions of what `forward` gives of a frame, as HEAR calls them."""
        return self.output_dim

    @property
    def scene_embedding_size(self) -> int:
        """Dimensions of what `scene` gives, as HEAR calls them."""
        return self.output_dim + TIMBRE_DIMENSION

    def forward(self, audio: Tensor) -> Tensor:
        """Map `audio (batch, sample)`, or `(sample,)`, to `(batch, frame, output_dim)`.

        Each row is brought to the level of the training recordings. The means are rounded as
        `AudioVAE.encode` rounds them; gradients pass as if they were not.
        """
        return self._played(self._levelled(audio))

    def _played(self, levelled: Tensor) -> Tensor:
        posterior = self.model.encoder(self.model.read(levelled))
        rounding = self.model.rounded(posterior).mean - posterior.mean
        return (posterior.mean + rounding.detach()).transpose(1, 2)

    @torch.no_grad()
    def scene(self, audio: Tensor) -> Tensor:
        """Map `audio (batch, sample)` to one embedding a row, `(batch, scene_embedding_size)`.

        What is played, as the mean over time, and on what: see `embed_timbre`.
        """
        levelled = self._levelled(audio)
        played = self._played(levelled).mean(dim=1)
        return torch.cat([played, timbre_of(self.model, levelled)], dim=1)

    def _levelled(self, audio: Tensor) -> Tensor:
        audio = torch.atleast_2d(audio).to(self.model.device)
        loudness = self.model.statistics.loudness
        gains = [
            level_of(check_audio(row.detach().cpu().float().numpy(), self.sample_rate))
            .gain_to(loudness)
            for row in audio
        ]  # fmt: skip
        return audio.float() * audio.new_tensor(gains, dtype=torch.float32)[:, None]
