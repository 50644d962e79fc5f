"""Make one checkpoint of a model and a vocoder that were trained apart, stored small."""

from __future__ import annotations

from pathlib import Path

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.header import read_header
from audiovae.model.weights import load_model
from audiovae.training.start import checkpoint_folder, load_vocoder


def join_vocoder(
    model: str | Path,
    vocoder: str | Path,
    output: str | Path,
    *,
    storage: str = "float32",
    card: str = "",
) -> AudioVAE:
    """Write `output`: the model of one run or checkpoint with the vocoder of another.

    Args:
        model: a run or checkpoint of `train`.
        vocoder: a run or checkpoint of `train_vocoder`, of the same audio settings.
        output: checkpoint folder to write.
        storage: `float32`, `bfloat16` or `int8` (8 bits with a scale a row).
        card: text of the model card; a plain one when left out.

    Returns:
        The model as it was written, loaded back.

    Raises `CheckpointError` when either is missing or they do not fit each other.
    """
    joined = load_model(checkpoint_folder(model))
    folder = checkpoint_folder(vocoder)
    joined.vocoder = load_vocoder(folder, joined.config)
    joined.config = joined.vocoder.config
    joined.provenance["vocoder"] = read_header(folder).get("provenance", {})
    joined.save_pretrained(output, storage=storage, card=card)
    return load_model(Path(output))
