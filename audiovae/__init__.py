"""One shared VAE encoder, a decoder for each music domain, a vocoder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiovae.apps.embed import load_encoder
    from audiovae.apps.embed_files import embed_files
    from audiovae.apps.generate import generate_audio
    from audiovae.apps.models import resolve_model
    from audiovae.apps.play import play_score
    from audiovae.apps.stream import Stream
    from audiovae.apps.transfer import TransferSettings, transfer_audio, transfer_files
    from audiovae.config import Config
    from audiovae.config_files import load_config
    from audiovae.corpus.prepare import prepare
    from audiovae.errors import UserError
    from audiovae.evaluation.card import write_card
    from audiovae.evaluation.evaluate import evaluate
    from audiovae.model.autoencoder import AudioVAE
    from audiovae.training.add_domain import add_domain
    from audiovae.training.join import join_vocoder
    from audiovae.training.trainer import train
    from audiovae.training.vocoder import train_vocoder

__version__ = "0.1.0"

__all__ = [
    "AudioVAE",
    "Config",
    "Stream",
    "TransferSettings",
    "UserError",
    "add_domain",
    "embed_files",
    "evaluate",
    "generate_audio",
    "join_vocoder",
    "load_config",
    "load_encoder",
    "play_score",
    "prepare",
    "resolve_model",
    "train",
    "train_vocoder",
    "transfer_audio",
    "transfer_files",
    "write_card",
]

_PLACES = {
    "AudioVAE": "model.autoencoder",
    "Config": "config",
    "Stream": "apps.stream",
    "TransferSettings": "apps.transfer",
    "UserError": "errors",
    "add_domain": "training.add_domain",
    "embed_files": "apps.embed_files",
    "evaluate": "evaluation.evaluate",
    "generate_audio": "apps.generate",
    "join_vocoder": "training.join",
    "load_config": "config_files",
    "load_encoder": "apps.embed",
    "play_score": "apps.play",
    "prepare": "corpus.prepare",
    "resolve_model": "apps.models",
    "train": "training.trainer",
    "train_vocoder": "training.vocoder",
    "transfer_audio": "apps.transfer",
    "transfer_files": "apps.transfer",
    "write_card": "evaluation.card",
}


def __getattr__(name: str) -> Any:
    # Names are looked up when they are used, so that an import loads no torch.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
