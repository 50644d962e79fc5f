"""Embeddings as a step of a scikit-learn pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from audiovae.apps.embed import Encoder, Kind, load_encoder
from audiovae.errors import AudioError


class AudioEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Maps sounds to one embedding each: nothing is learned from them.

    Sounds are files, arrays `(sample,)` or `(channel, sample)` of any lengths, or the rows of one
    matrix `(sound, sample)`.

    Args:
        model: a run folder, a checkpoint folder or a hub id; the shipped model when left out.
        kind: `content`, what is played, `timbre`, what it is played on, or `both`.
        sample_rate: of arrays, in hertz; the model's when left out. A file knows its own.
        device: `auto`, `cpu`, `cuda`, `mps`.
        precision: `fp32`, `bf16`, `int8` or `auto`.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        kind: Kind = "content",
        sample_rate: int | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.model = model
        self.kind = kind
        self.sample_rate = sample_rate
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: object = None) -> AudioEmbedder:
        """Load the model; the sounds are looked at, and no more."""
        self._sounds(X, reset=True)
        self.encoder_ = self._load()
        self._n_features_out = self.encoder_.dimension
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return `(sound, dimension)` float32.

        Raises:
            AudioError: on a file or samples that are no sound.
        """
        check_is_fitted(self)
        encoder = getattr(self, "encoder_", None) or self._load()
        rate = self.sample_rate or encoder.model.config.audio.sample_rate
        made = [
            encoder.embed(sound, None if isinstance(sound, str | Path) else rate, "mean").embeddings
            for sound in self._sounds(X, reset=False)
        ]
        return np.stack(made)

    def _load(self) -> Encoder:
        return load_encoder(
            self.model, device=self.device, precision=self.precision, kind=self.kind
        )

    def _sounds(self, X: Any, reset: bool) -> Sequence[Any]:
        """Return the sounds; a matrix is checked as scikit-learn checks any."""
        plain = list(X) if isinstance(X, list | tuple) or _is_column(X) else None
        if plain and all(isinstance(x, str | Path) for x in plain):
            return plain
        if plain and all(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in plain):
            return plain
        if plain and any(isinstance(x, str | Path) for x in plain):
            raise AudioError("sounds are files and samples; expected one of both")
        return validate_data(self, X, reset=reset, dtype=np.float32)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_n_features_out")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # The model is loaded again where the estimator arrives.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "encoder_"}


def _is_column(X: Any) -> bool:
    """Whether X is a column of files or of arrays: of a table, or an array of objects."""
    return getattr(X, "ndim", 0) == 1 and getattr(X, "dtype", np.dtype(float)).kind in "OUT"
