"""The vocoders by name, and those that are trained."""

from __future__ import annotations

from torch import nn

from audiovae.config import Config
from audiovae.errors import ConfigError
from audiovae.model.griffin_lim import GriffinLim
from audiovae.model.vocoder import LinkedVocoder

VOCODERS: dict[str, type[nn.Module]] = {"linked": LinkedVocoder, "griffin-lim": GriffinLim}


def make_vocoder(config: Config) -> LinkedVocoder:
    """Return a new vocoder of the kind that `config.vocoder.vocoder` names.

    Raises `ConfigError` when that kind has no weights.
    """
    vocoder = VOCODERS[config.vocoder.vocoder](config)
    if not isinstance(vocoder, LinkedVocoder):
        raise ConfigError(f"{config.vocoder.vocoder} is not trained: set vocoder.vocoder to linked")
    return vocoder
