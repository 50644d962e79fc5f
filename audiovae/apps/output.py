"""Where sound goes: names of files, and what happens to a sound before it is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from audiovae.apps.pieces import Level, Meter, Puller, Restorer
from audiovae.apps.sources import Source
from audiovae.atomic import writing
from audiovae.errors import AudioError, UserError

SPOOL_BLOCK = 1 << 16
FLAC_CHANNELS, OGG_RATE, WAV_SAMPLES = 8, 192_000, (1 << 32) // 3 - (1 << 16)
"""What the formats hold."""


def plan_names(
    found: Sequence[tuple[Path, Path]], output: Path, names: Sequence[str], suffix: str
) -> list[list[Path]]:
    """Return the outputs of each input: `output/<place>/<stem>.<name><suffix>`.

    Args:
        found: inputs, and the folder of each below the output folder.
        output: the output folder.
        names: of the outputs of one input; an empty one adds nothing.
        suffix: with its dot.

    Raises:
        UserError: when two outputs have one name, or an output is an input.
    """
    check_folder(output)
    taken: dict[str, Path] = {}
    sources = {_identity(path) for path, _ in found} - {None}
    planned = []
    for path, place in found:
        outputs = []
        for name in names:
            middle = f".{safe_name(name)}" if name else ""
            target = output / place / f"{path.stem}{middle}{suffix}"
            # Folded: on many file systems Take.wav and take.wav are one file.
            other = taken.setdefault(os.path.normpath(target).casefold(), path)
            if other is not path and other == path:
                raise UserError(f"{path} is named twice: name it once")
            if other is not path:
                raise UserError(
                    f"{other} and {path} would both be written to {target}: rename one, or "
                    "use two output folders"
                )
            if _identity(target) in sources:
                raise UserError(f"{target} is an input: choose another output folder")
            if target.is_dir():
                raise UserError(f"{target} is a folder: choose another output folder")
            outputs.append(target)
        planned.append(outputs)
    return planned


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what two names of one file have in common; nothing where there is no file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def safe_name(domain: str) -> str:
    """Return a domain as part of a file name. Raises `UserError` when it would lead elsewhere."""
    if any(c in domain for c in "/\\\0") or not domain.isprintable() or domain in (".", ".."):
        raise UserError(f"domain {domain!r} can't be part of a file name: rename it in the model")
    return domain


def check_folder(output: Path) -> None:
    """Raise `UserError` unless files can be written to a folder, which need not exist yet."""
    parent = output
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{parent} is a file; expected a folder to write to")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"can't write to {parent}: choose another output folder")


def check_format(source: Source, format: str, path: Path) -> None:
    """Raise `AudioError` when a format can't hold a source."""
    (channels, frames), rate = source.shape, source.sample_rate
    if format == "wav" and channels * frames > WAV_SAMPLES:
        raise AudioError(f"{path} is too long: its output would exceed the 4 GiB of WAV, use flac")
    if format == "flac" and channels > FLAC_CHANNELS:
        raise AudioError(f"{path} has {channels} channels, FLAC holds {FLAC_CHANNELS}: use wav")
    if format == "ogg" and rate > OGG_RATE:
        raise AudioError(f"{path} has {rate} Hz, Ogg Vorbis holds {OGG_RATE}: use wav or flac")


class Finish(Protocol):
    """What happens to a sound before it is written."""

    @property
    def mix(self) -> float:
        """Share of the new sound."""

    @property
    def keep_loudness(self) -> bool:
        """Whether to bring it to the input's level."""


class Output:
    """One sound on its way to a file: back to the source's rate, length and level, and mixed.

    Args:
        append: takes what is done, `(channel, sample)`.
        source: what the sound was made from.
        finish: mix and level.
        rate: of what is pushed.
        folder: for a temporary file, which a level that is known at the end alone needs.
    """

    def __init__(
        self,
        append: Callable[[np.ndarray], object],
        source: Source,
        finish: Finish,
        rate: int,
        folder: Path | None = None,
    ) -> None:
        channels, frames = source.shape
        self.append, self.settings, self.channels = append, finish, channels
        self.restorer = Restorer(rate, source.sample_rate, channels, frames)
        self.dry = Puller(source.blocks(source.sample_rate)) if finish.mix < 1 else None
        self.clipped = 0
        self.meter = Meter(source.sample_rate)
        self.spool: IO[bytes] | None = None
        if finish.keep_loudness:
            self.folder = Path(folder or tempfile.gettempdir())
            with writing(self.folder):
                self.spool = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115

    def push(self, sound: np.ndarray) -> None:
        """Take the next piece `(channel, sample)` at the model's rate."""
        self._take(self.restorer.push(sound))

    def _take(self, sound: np.ndarray) -> None:
        if self.spool is None:
            self._give(sound)
        else:
            self.meter.push(sound)
            with writing(self.folder):
                self.spool.write(np.ascontiguousarray(sound.T, np.float32).tobytes())

    def finish(self, level: Level) -> None:
        """Take the end; `level` is the source's."""
        self._take(self.restorer.finish())
        if self.spool is None:
            return
        made = self.meter.level()
        gain = np.float32(level.rms / made.rms if made.rms > 0 else 1.0)
        for block in self._spooled(self.spool):
            self._give(block * gain)
        self.close()

    def _spooled(self, spool: IO[bytes]) -> Iterator[np.ndarray]:
        with writing(self.folder):
            spool.seek(0)
        while data := spool.read(4 * self.channels * SPOOL_BLOCK):
            yield np.frombuffer(data, np.float32).reshape(-1, self.channels).T

    def _give(self, sound: np.ndarray) -> None:
        if sound.shape[1] == 0:
            return
        if self.dry is not None:
            mix = np.float32(self.settings.mix)
            sound = mix * sound + (1 - mix) * self.dry.take(sound.shape[1])
        self.clipped += int((np.abs(sound) > 1).sum())
        self.append(sound)

    def close(self) -> None:
        """Remove the temporary file."""
        if self.spool is not None:
            with suppress(OSError):
                self.spool.close()


def write_folders(paths: Iterable[Path]) -> None:
    """Make the folders of files that are about to be written."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
