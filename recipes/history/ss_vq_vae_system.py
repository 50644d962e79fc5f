"""SS-VQ-VAE as a system of the transfer test."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from ss_vq_vae_network import RATE, SSVQVAE, invert, spectrogram
from torch import Tensor

import audiovae

SECONDS = 8.0
"""Of a style reference."""
REFERENCES = 8
"""Of each domain; which of them a segment gets is as good as random."""
QUIETEST_DB = -45.0
"""Root mean square under which a clip is no reference."""


class StyleTransfer:
    """The content of a source with the style of a clip of the target's unpaired recordings.

    Args:
        network: trained, in evaluation mode.
        level: root mean square of the recordings that trained it, to which all input is brought.
        seed: of the choice of references.
    """

    name = "ss-vq-vae"
    oracle = False

    def __init__(self, network: SSVQVAE, level: float, seed: int = 0) -> None:
        self.network, self.level, self.seed = network, level, seed
        self.rate = RATE
        self.styles: dict[str, Tensor] = {}
        digest = hashlib.sha256(f"{level} {seed}".encode())
        for values in network.state_dict().values():
            digest.update(values.cpu().contiguous().numpy())
        self.fingerprint = f"{self.name} 1 {digest.hexdigest()[:32]}"

    @classmethod
    def load(cls, state: Path, seed: int = 0) -> StyleTransfer:
        """Load what training wrote."""
        stored = torch.load(state, map_location="cpu", weights_only=True)
        network = SSVQVAE(**stored["sizes"])
        network.load_state_dict(stored["network"])
        return cls(network.eval(), stored["level"], seed)

    @torch.inference_mode()
    def fit(self, testset: Any, domains: Sequence[str]) -> None:
        """Draw style references from each domain's unpaired recordings."""
        self.rate = testset.sample_rate
        files = testset.classifier_files()
        for domain in domains:
            clips = list(_clips(files.get(domain, ())))
            if not clips:
                raise audiovae.UserError(
                    f"the test set has no unpaired recording of {domain!r} to take a style from: "
                    "make it with data/transfer_test.py"
                )
            draw = np.random.default_rng([self.seed, zlib.crc32(domain.encode())])
            chosen = draw.permutation(len(clips))[:REFERENCES]
            references = [self._features(clips[i][None]) for i in chosen]
            self.styles[domain] = torch.cat([self.network.encode_style(x) for x in references])

    @torch.inference_mode()
    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Play `audio (batch, sample)` on a target: the same shape."""
        if target not in self.styles:
            raise audiovae.UserError(f"{self.name} knows no {target!r}: fit it on a test set")
        return torch.stack([self._play(row, self.styles[target]) for row in audio.cpu()])

    def _play(self, row: Tensor, styles: Tensor) -> Tensor:
        sound = row.numpy()
        given = soxr.resample(sound, self.rate, RATE).astype(np.float32)
        features = self._features(given[None])
        codes = self.network.quantise(self.network.encode_content(features))[0]
        # The same segment gets the same reference, however segments are batched.
        style = styles[zlib.crc32(sound.tobytes()) % len(styles)][None]
        made = invert(self.network.decode(codes, style, features.shape[-1]), len(given))
        back = torch.from_numpy(soxr.resample(made[0].numpy(), RATE, self.rate).astype(np.float32))
        return F.pad(back, (0, max(0, len(row) - len(back))))[: len(row)]

    def _features(self, audio: np.ndarray) -> Tensor:
        level = np.sqrt(np.mean(np.square(audio, dtype=np.float64)))
        scaled = audio * np.float32(self.level / max(level, 1e-4))
        return spectrogram(torch.from_numpy(scaled))


def _clips(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield clips `(sample,)` at 16 kHz, and recordings that are shorter as they are."""
    samples = round(SECONDS * RATE)
    for path in files:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(sound.mean(axis=1), rate, RATE)
        for start in range(0, max(1, len(mono) - samples + 1), samples):
            clip = mono[start : start + samples]
            power = np.mean(np.square(clip, dtype=np.float64)) if len(clip) else 0.0
            if 10 * np.log10(power + 1e-12) > QUIETEST_DB:
                yield clip
