"""The pieces that a note encoder is trained on: what is played, and recordings of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audiovae.audio.notes import Note, Score
from audiovae.corpus.manifest import Entry
from audiovae.corpus.store import FilesStore, Store
from audiovae.errors import CorpusError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.notes import Roll


@dataclass(frozen=True)
class Piece:
    """A piece of the corpus: what is played, and its recordings by domain."""

    name: str
    roll: Roll
    entries: Mapping[str, Entry]
    frames: int
    """Whole latent frames that all of its recordings have."""

    @property
    def pitches(self) -> list[int]:
        """The keys that are struck."""
        return self.roll.pitches.tolist()


def read_notes(path: str | Path) -> dict[str, Score]:
    """Read `notes.json`. Raises `CorpusError` when it is none."""
    path = Path(path)
    try:
        rows = json.loads(path.read_text("utf-8"))
        return {
            piece: Score.of((Note(*row) for row in listed), name=piece)
            for piece, listed in rows.items()
        }
    except OSError:
        raise CorpusError(
            f"no notes at {path}; data/render.py --mode aligned writes notes.json"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path} lists no notes ({error}): render it again") from None


def find_pieces(
    store: Store | FilesStore, known: Mapping[str, Score], model: AudioVAE
) -> dict[str, list[Piece]]:
    """Return the pieces to train and to validate on: those with notes, in the model's domains.

    Raises `CorpusError` where there is none.
    """
    config, found = model.config, {}
    for split in ("train", "valid"):
        entries: dict[str, dict[str, Entry]] = {}
        for domain in store.domains:
            for entry in store.entries(domain, split) if domain in model.domains else ():
                if entry.group is not None and entry.group in known:
                    entries.setdefault(entry.group, {})[domain] = entry
        found[split] = [
            Piece(
                name,
                Roll(known[name].notes, config.latent_rate),
                own,
                min(e.frames for e in own.values()) // config.latent_hop,
            )
            for name, own in sorted(entries.items())
        ]
        if not found[split]:
            raise CorpusError(
                f"no recording for {split}ing has notes: expected pieces of notes.json as groups "
                f"of the store, in some of {', '.join(model.domains)}"
            )
    return found
