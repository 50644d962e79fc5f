"""Readers of recordings: a prepared store of memory-mapped int16, or a folder of audio files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.audio.files import probe
from audiovae.corpus.checksums import CheckedSamples, sum_of_sums, sums_file
from audiovae.corpus.convert import plain_reason, read_samples, resampled_frames
from audiovae.corpus.manifest import Entry, Split, read_manifest
from audiovae.corpus.scan import hash_file, scan
from audiovae.corpus.split import assign_splits
from audiovae.errors import AudioError, CorpusError

STORE_FILE = "store.json"
MANIFEST_FILE = "manifest.jsonl"
AUDIO_FOLDER = "audio"
PARTS_FOLDER = ".parts"
FORMAT = "audiovae-store"
VERSION = 1
SAMPLE = np.dtype("<i2")


class Recordings:
    """Entries by domain and split: what a store and a folder of files have in common."""

    def __init__(self, entries: Iterable[Entry], sample_rate: int, fingerprint: str) -> None:
        self.sample_rate = sample_rate
        """Samples a second of `audio`."""
        self.fingerprint = fingerprint
        """SHA-256 of what the recordings are."""
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.domain, []).append(entry)

    @property
    def domains(self) -> list[str]:
        """The domains' names, sorted."""
        return sorted(self._entries)

    def entries(self, domain: str, split: Split | str | None = None) -> list[Entry]:
        """Return the recordings of a domain, of one split or of all; `CorpusError` if unknown."""
        if domain not in self._entries:
            known = ", ".join(self.domains)
            raise CorpusError(f"no domain {domain!r} here; the domains are {known}")
        return [e for e in self._entries[domain] if split is None or e.split == split]

    def loudness(self, domains: Iterable[str]) -> float:
        """Return the median level of domains' training recordings in dB, NaN where unknown."""
        levels = sorted(e.loudness for d in domains for e in self.entries(d, "train"))
        return levels[len(levels) // 2] if levels else math.nan

    def hours(self, domain: str, split: Split | str | None = None) -> float:
        """Return the hours of audio of a domain, of one split or of all."""
        return sum(e.frames for e in self.entries(domain, split)) / self.sample_rate / 3600


class Store(Recordings):
    """A folder that `prepare` made: `store.json`, `manifest.jsonl`, `audio/<domain>.i16`.

    Samples are checked when they are first read, see `audiovae.corpus.checksums`.
    """

    def __init__(self, path: Path, entries: list[Entry], settings: dict[str, Any]) -> None:
        digest = hashlib.sha256((path / MANIFEST_FILE).read_bytes()).hexdigest()
        super().__init__(entries, settings["sample_rate"], digest)
        self.path = path
        self.settings = settings
        self._files: dict[str, CheckedSamples] = {}

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store; raise `CorpusError` where it is none, unfinished, damaged or too new."""
        path = Path(path)
        settings = read_settings(path)
        entries = read_manifest(path / MANIFEST_FILE)
        ends: dict[str, int] = {}
        for entry in entries:
            if entry.offset != ends.get(entry.domain, 0):
                raise CorpusError(f"{path} is damaged at {entry.path}: prepare it anew")
            ends[entry.domain] = entry.offset + entry.frames
        for domain, end in ends.items():
            file = audio_file(path, domain)
            size = file.stat().st_size if file.is_file() else 0
            if size != end * SAMPLE.itemsize:
                raise CorpusError(
                    f"{file} has {size} bytes where the manifest counts {end * SAMPLE.itemsize}: "
                    "remove the store and prepare it anew"
                )
        return cls(path, entries, settings)

    def __reduce__(self) -> tuple[Any, ...]:
        # A memory map would be pickled as its whole content: the copy opens the store again.
        return _reopen, (self.path, self.fingerprint)

    def audio(self, entry: Entry, start: int, frames: int) -> np.ndarray:
        """Return int16 samples (frames,) of a recording from `start`: a view of the file.

        Raises `CorpusError` where they are no longer what was prepared.
        """
        _check_range(entry, start, frames)
        samples = self._samples(entry.domain).read(entry.offset + start, frames)
        if samples is None:
            raise CorpusError(
                f"{audio_file(self.path, entry.domain)} is damaged in {entry.path}: run the same "
                "prepare command again, which converts it anew"
            )
        return samples

    def is_whole(self, entry: Entry) -> bool:
        """Say whether a recording's samples are what was prepared; reads them all."""
        return self._samples(entry.domain).are_whole(entry.offset, entry.frames)

    def _samples(self, domain: str) -> CheckedSamples:
        if domain not in self._files:
            file = audio_file(self.path, domain)
            self._files[domain] = CheckedSamples(file, self._sums(file, domain))
        return self._files[domain]

    def _sums(self, file: Path, domain: str) -> np.ndarray | None:
        """Return the checksums of a domain's file; a store of an older version has none."""
        known = self.settings.get("checksums", {}).get(domain)
        if known is None:
            return None
        try:
            sums = np.fromfile(sums_file(file), "<u4")
        except OSError:
            sums = np.zeros(0, "<u4")
        if sum_of_sums(sums) != known:
            raise CorpusError(
                f"{sums_file(file)} is damaged: run the same prepare command again, which mends it"
            )
        return sums


def _reopen(path: Path, fingerprint: str) -> Store:
    store = Store.open(path)
    if store.fingerprint != fingerprint:
        raise CorpusError(f"{path} was prepared anew while it was in use: start again")
    return store


def audio_file(store: Path, domain: str) -> Path:
    """Return the file of a domain's samples."""
    return store / AUDIO_FOLDER / f"{domain}.i16"


def read_settings(path: Path) -> dict[str, Any]:
    """Read `store.json`; raise `CorpusError` unless this version can read the store."""
    if not (path / STORE_FILE).is_file():
        if (path / PARTS_FOLDER).is_dir():
            raise CorpusError(f"{path} is unfinished: run the same prepare command to its end")
        what = "holds no store" if path.is_dir() else "is no folder"
        raise CorpusError(f"{path} {what}: make one with audiovae prepare FOLDER -o {path}")
    try:
        settings = json.loads((path / STORE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{path / STORE_FILE} can't be read: {error}") from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise CorpusError(f"{path} is not an audiovae store: make one with audiovae prepare")
    if settings.get("version") != VERSION:
        raise CorpusError(
            f"{path} has store version {settings.get('version')}, this audiovae reads {VERSION}: "
            "prepare it anew"
        )
    rate = settings.get("sample_rate")
    if not isinstance(rate, int) or rate < 1:
        raise CorpusError(f"{path / STORE_FILE} has no valid sample_rate: prepare the store anew")
    sums = settings.get("checksums", {})
    if not isinstance(sums, dict) or not all(isinstance(known, str) for known in sums.values()):
        raise CorpusError(f"{path / STORE_FILE} has no valid checksums: prepare the store anew")
    return settings


def _check_range(entry: Entry, start: int, frames: int) -> None:
    if start < 0 or frames < 0 or start + frames > entry.frames:
        raise IndexError(f"{entry.path} has no samples {start} to {start + frames}")


class FilesStore(Recordings):
    """The same interface straight from `FOLDER/<domain>/**`, with nothing prepared.

    Opening reads every file once for its hash, so that duplicates are left out and recordings fall
    into the splits that `prepare` gives them. Samples equal the store's: to the bit for mono 16-bit
    files of the right rate, and else to within rounding. What only decoding the whole file tells is
    not known here: silent recordings stay in and count in the splits, `loudness` is NaN, and what
    exceeds full scale is clipped, where `prepare` turns the recording down.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sample_rate: int = 44_100,
        valid: float = 0.1,
        test: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.folder = Path(folder)
        self._settings = {"sample_rate": sample_rate, "valid": valid, "test": test, "seed": seed}
        found = scan(folder)
        self.skipped = list(found.skipped)
        """(path, reason) of each file left out."""
        with ThreadPoolExecutor() as pool:
            hashes = list(pool.map(hash_file, [source.file for source in found.sources]))
        first: dict[str, str] = {}
        kept = []
        for source, digest in zip(found.sources, hashes, strict=True):
            try:
                info = probe(source.file)
            except AudioError as error:
                self.skipped.append((source.path, plain_reason(error, source)))
                continue
            if digest in first:
                self.skipped.append((source.path, f"the same bytes as {first[digest]}"))
                continue
            first[digest] = source.path
            kept.append((source, digest, info))
        units = {s.path: found.groups.get(s.path, s.path) for s, _, _ in kept}
        splits = assign_splits([(s.domain, units[s.path]) for s, _, _ in kept], valid, test, seed)
        entries = [
            Entry(
                path=source.path,
                domain=source.domain,
                sha256=digest,
                frames=resampled_frames(info.frames, info.sample_rate, sample_rate),
                sample_rate=info.sample_rate,
                channels=info.channels,
                loudness=float("nan"),
                split=splits[units[source.path]],
                group=found.groups.get(source.path),
            )
            for source, digest, info in kept
        ]
        if not entries:
            raise CorpusError(f"no recording can be read in {folder}: {len(self.skipped)} left out")
        lines = [f"{e.path}\t{e.sha256}\t{e.split}\t{sample_rate}\n" for e in entries]
        text = "".join(lines).encode("utf-8", "surrogatepass")
        super().__init__(entries, sample_rate, hashlib.sha256(text).hexdigest())

    def audio(self, entry: Entry, start: int, frames: int) -> np.ndarray:
        """Return int16 samples (frames,) of a recording from `start`, counted at `sample_rate`."""
        _check_range(entry, start, frames)
        return read_samples(self.folder / entry.path, entry, start, frames, self.sample_rate)
