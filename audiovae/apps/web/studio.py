"""What the web page's jobs do with a sound: open it, play it, embed it, find what is like it."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from audiovae.apps.embed import KINDS, Encoder, Kind
from audiovae.apps.embed_output import encoder_metadata
from audiovae.apps.embed_timbre import check_timbre
from audiovae.apps.models import Resolved
from audiovae.apps.search import Hit, Library
from audiovae.apps.sources import BLOCK, FileSource, Watched
from audiovae.apps.transfer import TransferSettings, pick_voices, transfer_files
from audiovae.apps.web.jobs import Tell
from audiovae.apps.web.settings import RATE, WebSettings
from audiovae.apps.web.shelf import SOURCE
from audiovae.audio.files import AudioInfo, Writer, probe, stream, write
from audiovae.errors import UserError
from audiovae.metrics.pictures import RATE as PICTURE_RATE
from audiovae.metrics.pictures import encode_spectrogram
from audiovae.tables import from_dict

PICTURE, EMBEDDING = "source.webp", "embedding.npz"
PLAYED = frozenset([".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac"])
"""Suffixes of what browsers play."""
HITS = 12
"""Files of the library that are shown."""


@dataclass(frozen=True)
class Wish:
    """What a browser asks to be played."""

    to: tuple[str, ...] = ()
    blend: tuple[tuple[str, float], ...] = ()
    """Domains and weights of one more sound."""
    mix: float = 1.0
    keep_loudness: bool = False
    octave: Literal["keep", "auto"] = "keep"

    @property
    def weights(self) -> dict[str, float] | None:
        """The blend, where there is one."""
        return dict(self.blend) or None

    @property
    def count(self) -> int:
        """Sounds that will be made."""
        return len(self.to) + bool(self.blend)


class Studio:
    """A model and what is done with it.

    Args:
        resolved: the model and what is said of it.
        settings: limits, and the arithmetic to run in.
        library: sounds that nearest neighbours are looked for in, with embeddings of `both` kinds
            where the model has them.
    """

    def __init__(
        self, resolved: Resolved, settings: WebSettings, library: Library | None = None
    ) -> None:
        self.model, self.settings = resolved.model, settings
        # A browser is told no path.
        path = Path(resolved.source)
        self.name = path.name if path.exists() else resolved.source
        self.library = library
        self.encoder = Encoder(self.model, precision=settings.precision)
        self.kinds = known_kinds(resolved)
        self.timbre = None
        if "timbre" in self.kinds:
            self.timbre = Encoder(self.model, precision=settings.precision, kind="timbre")

    @property
    def ranged(self) -> bool:
        """Whether the model knows what its domains can play, so that octaves can be chosen."""
        return set(self.model.domains) <= set(self.model.provenance.get("ranges", {}))

    def read(self, wish: Any) -> Wish:
        """Return a wish as it came from a browser. Raises `UserError` on one that is none."""
        asked = from_dict(Wish, wish, "request")
        if not asked.count:
            raise UserError("no target: choose at least one domain, or a blend")
        if len(dict(asked.blend)) != len(asked.blend):
            raise UserError("request.blend names a domain twice: name it once")
        if asked.octave == "auto" and not self.ranged:
            raise UserError("this model does not know the ranges of its domains: keep the octave")
        pick_voices(self.model, asked.to, asked.weights)
        self._transfer_settings(asked)
        return asked

    def _transfer_settings(self, wish: Wish) -> TransferSettings:
        return TransferSettings(
            wish.mix,
            wish.keep_loudness,
            octave=wish.octave,
            precision=self.settings.precision,  # type: ignore[arg-type]
        )

    def open(self, upload: Path, folder: Path, tell: Tell) -> tuple[AudioInfo, AudioInfo]:
        """Decode an upload once, to a WAV file and a picture in `folder`, and remove the upload.

        Returns:
            What its header said, and that of the WAV file.

        Raises:
            AudioError: when it is no sound, or one beyond the limits.
        """
        limits = self.settings.limits
        info = probe(upload, limits)
        rate = min(info.sample_rate, RATE)
        length, done = info.seconds * rate, 0
        with Writer(folder / SOURCE, rate, info.channels) as writer:
            for block in stream(upload, BLOCK, None if rate == info.sample_rate else rate, limits):
                writer.append(block)
                done += block.shape[1]
                tell(0.9 * min(1.0, done / length))
        upload.unlink(missing_ok=True)
        _draw(folder / SOURCE, folder / PICTURE)
        return info, probe(folder / SOURCE)

    def play(self, source: Path, folder: Path, wish: Wish, tell: Tell) -> dict[str, Any]:
        """Play a sound as wished; write sounds and pictures to `folder`.

        Returns:
            `sounds`, a table for each; `files`, name to path; seconds of sound that were made,
            seconds that it took, and the one by the other.
        """
        began = time.perf_counter()
        made = transfer_files(
            [source],
            wish.to,
            folder,
            model=self.model,
            blend=wish.weights,
            settings=self._transfer_settings(wish),
            progress=lambda share: tell(0.9 * share),
        )
        spent = time.perf_counter() - began
        files: dict[str, Path] = {}
        sounds = []
        for number, one in enumerate(made):
            tell(0.9 + 0.1 * number / len(made))
            sound, picture = f"{number}.wav", f"{number}.webp"
            files |= {sound: one.path, picture: folder / picture}
            _draw(one.path, folder / picture)
            facts = {"clipped": one.clipped, "transposed": one.transposed}
            sounds.append({"target": one.target, "sound": sound, "picture": picture, **facts})
        seconds = sum(one.seconds for one in made)
        return {"sounds": sounds, "files": files, **_pace(seconds, spent)}

    def embed(self, source: Path, folder: Path, tell: Tell) -> dict[str, Any]:
        """Write a sound's embeddings to one `.npz` file.

        It holds `embeddings (frame, latent)`, `timestamps (frame,)`, `metadata` (a JSON text), and
        `timbre (dimension,)` where the model has one.
        """
        began = time.perf_counter()
        sound = self._watched(source, tell)
        content = self.encoder.embed_source(sound)
        arrays: dict[str, Any] = {"embeddings": content.embeddings}
        arrays["timestamps"] = content.timestamps
        metadata = {"seconds": sound.seconds, **encoder_metadata(self.encoder)}
        if self.timbre is not None:
            arrays["timbre"] = self.timbre.embed_source(sound).embeddings
            metadata["timbre"] = encoder_metadata(self.timbre)
        buffer = io.BytesIO()
        np.savez(buffer, metadata=np.array(json.dumps(metadata)), **arrays)
        (folder / EMBEDDING).write_bytes(buffer.getvalue())
        facts = {name: list(array.shape) for name, array in arrays.items()}
        pace = _pace(sound.seconds, time.perf_counter() - began)
        return {"shapes": facts, "files": {EMBEDDING: folder / EMBEDDING}, **pace}

    def nearest(self, source: Path, kind: Kind, tell: Tell) -> dict[str, Any]:
        """Return the files of the library that are most like a sound, the likest first."""
        if self.library is None:
            raise UserError("there is no folder to search: start audiovae web with --folder")
        began = time.perf_counter()
        sound = self._watched(source, tell)
        query = self.encoder.embed_source(sound, "mean").embeddings
        if self.timbre is not None:
            query = np.concatenate([query, self.timbre.embed_source(sound).embeddings])
        hits = self.library.nearest(query, self._part(kind))
        shown = [_row(hit, self.library) for hit in hits[:HITS]]
        return {"hits": shown, **_pace(sound.seconds, time.perf_counter() - began)}

    def _watched(self, source: Path, tell: Tell) -> Watched:
        """Return a sound that will be embedded: an embedding reads it for its level, and again."""
        return Watched(FileSource(probe(source)), 2 if self.timbre is None else 4, tell)

    def _part(self, kind: Kind) -> slice:
        """Return the dimensions of a kind in what `nearest` compares."""
        if kind not in self.kinds:
            raise UserError(f"kind is {kind!r}; expected one of {', '.join(self.kinds)}")
        split = self.encoder.dimension
        parts = {"content": slice(0, split), "timbre": slice(split, None), "both": slice(None)}
        return parts[kind]

    def check_kind(self, wish: Any) -> Kind:
        """Return the kind of neighbours that a browser asks for. Raises `UserError`."""
        kind = wish.get("kind") if isinstance(wish, Mapping) else None
        if not isinstance(kind, str) or kind not in self.kinds:
            raise UserError(f"request.kind must be one of {', '.join(self.kinds)}")
        return kind

    def warm(self, folder: Path, tell: Tell) -> None:
        """Do all once on half a second of noise, so that the first who asks need not wait."""
        rate = self.model.config.audio.sample_rate
        noise = np.random.default_rng(0).normal(0, 0.1, (1, rate // 2)).astype(np.float32)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source = write(Path(scratch) / SOURCE, noise, rate)
            if self.model.domains:
                self.play(source, source.parent, Wish(to=(self.model.domains[0],)), tell)


def known_kinds(resolved: Resolved) -> tuple[Kind, ...]:
    """Return the kinds of embedding that a model has."""
    try:
        check_timbre(resolved.model)
    except UserError:
        return ("content",)
    return KINDS


def _row(hit: Hit, library: Library) -> dict[str, Any]:
    """Return what a browser is told of a file: number and name, and no path from outside."""
    return {
        "number": library.paths.index(hit.path),
        "name": hit.path.relative_to(library.folder).as_posix(),
        "plays": hit.path.suffix.lower() in PLAYED,
        "similarity": round(hit.similarity, 4),
    }


def _pace(seconds: float, spent: float) -> dict[str, float]:
    return {
        "seconds": round(seconds, 3),
        "spent": round(spent, 4),
        "times_real_time": round(seconds / max(spent, 1e-9), 2),
    }


def _draw(sound: Path, picture: Path) -> None:
    """Write a sound's spectrogram."""
    mono = [block.mean(axis=0) for block in stream(sound, BLOCK, PICTURE_RATE)]
    # A few samples may be none at a lower rate.
    audio = np.concatenate([*mono, np.zeros(1, np.float32)])
    picture.write_bytes(encode_spectrogram(audio, PICTURE_RATE))
