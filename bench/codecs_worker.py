"""Codecs and Vocos with random weights of their published sizes: a run for each line on stdin.

Called as `codecs_worker.py THREADS SHORT.npy LOW.npy`: one sound at 44.1 kHz and at 24 kHz. A job
is a name; each encodes and decodes the sound once, but Vocos, which turns mel frames into it. It
imports nothing of audiovae.
"""

import os
import sys
from collections.abc import Callable

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from diffusers import AutoencoderOobleck
from transformers import (
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    MimiConfig,
    MimiModel,
)
from vocos.feature_extractors import MelSpectrogramFeatures
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone

RATE = 44_100


def main() -> None:
    """Build the models, then answer."""
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    sound, low = (torch.from_numpy(np.load(path))[None, None] for path in sys.argv[2:])
    jobs = {"EnCodec": encodec(low), "DAC": dac(sound), "Mimi": mimi(low)}
    jobs |= {"Oobleck": oobleck(sound), "Vocos": vocos(sound)}
    print("ready", flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            made, heard = (
                jobs[line.strip()](),
                low if line.strip() in ("EnCodec", "Mimi") else sound,
            )
            assert abs(made.shape[-1] / heard.shape[-1] - 1) < 0.02, made.shape
            print("done", flush=True)


def encodec(sound: torch.Tensor) -> Callable[[], torch.Tensor]:
    """EnCodec at 24 kHz and 6 kbit/s, in one piece."""
    model = EncodecModel(EncodecConfig()).eval()

    def run() -> torch.Tensor:
        coded = model.encode(sound, bandwidth=6.0)
        return model.decode(coded.audio_codes, coded.audio_scales).audio_values

    return run


def dac(sound: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Descript Audio Codec: its strides at 44.1 kHz are the config's."""
    model = DacModel(DacConfig(sampling_rate=RATE)).eval()
    return lambda: model.decode(model.encode(sound).quantized_representation).audio_values


def mimi(sound: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Mimi at 24 kHz with eight codebooks."""
    model = MimiModel(MimiConfig()).eval()

    def run() -> torch.Tensor:
        return model.decode(model.encode(sound, num_quantizers=8).audio_codes).audio_values

    return run


def oobleck(sound: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The autoencoder of Stable Audio: stereo."""
    model = AutoencoderOobleck().eval()
    stereo = sound.expand(-1, 2, -1)
    return lambda: model.decode(model.encode(stereo).latent_dist.mode()).sample


def vocos(sound: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Vocos at its published size with windows of 2048 at 44.1 kHz."""
    bands, width, n_fft, hop = 100, 512, 2048, 512
    backbone = VocosBackbone(bands, dim=width, intermediate_dim=1536, num_layers=8).eval()
    head = ISTFTHead(dim=width, n_fft=n_fft, hop_length=hop, padding="same").eval()
    mel = MelSpectrogramFeatures(RATE, n_fft, hop, bands, padding="same")(sound[0])
    return lambda: head(backbone(mel))


if __name__ == "__main__":
    main()
