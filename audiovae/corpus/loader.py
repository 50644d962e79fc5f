"""Batches of clips `{domain: (rows, samples)}`, balanced, a pure function of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from audiovae.corpus.crops import (
    ATTEMPTS,
    FULL_SCALE,
    Ring,
    aligned_rings,
    mix,
    name_key,
    probe_offsets,
    separate_ring,
    silence_floor,
)
from audiovae.corpus.manifest import SPLITS
from audiovae.corpus.resident import cut_resident
from audiovae.corpus.store import FilesStore, Store
from audiovae.errors import ConfigError, CorpusError

READERS = ("auto", "resident", "memmap", "files")


class Loader:
    """Cuts clips out of a store or a folder of recordings.

    `batch(step)` depends on `seed`, the step, the domain and the global row (`row_offset` + row)
    and on nothing else: not on the reader, the device, the order of calls or the number of ranks.
    Recordings are drawn in proportion to their length; those shorter than a clip are joined to the
    next; crops under -50 dB RMS are redrawn up to eight times, and the loudest is kept.

    With `pairing="aligned"` row i of every domain is one moment of one score.

    Of `processes` that train together each has a loader of its own, with its rows' numbers from
    `row_offset` up.

    With `turns`, a function of the step that can be pickled, only the domains that it names are
    cut: a step takes no longer for those that wait.

    Readers: *resident* keeps the audio as int16 on the device, *memmap* reads a store's pages and
    prepares the next step in a thread (from pinned memory on CUDA), *files* does so straight from
    the audio files of a `FilesStore`. *auto* takes files for a `FilesStore`, resident where the
    audio fits in a quarter of the free memory of a CUDA device, and memmap otherwise.

    Raises `CorpusError` on unknown domains or without shared groups, `ConfigError` on settings that
    don't fit each other.
    """

    def __init__(
        self,
        store: Store | FilesStore,
        *,
        domains: list[str],
        split: str,
        rows: int,
        clip_samples: int,
        seed: int,
        pairing: Literal["none", "aligned"] = "none",
        reader: Literal["auto", "resident", "memmap", "files"] = "auto",
        device: str | torch.device = "cpu",
        row_offset: int = 0,
        processes: int = 1,
        turns: Callable[[int], list[str]] | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {
            key: value for key, value in locals().items() if key not in ("self", "store")
        }
        if not domains or len(set(domains)) != len(domains):
            raise ConfigError("domains must be a list of at least one, each named once")
        if split not in SPLITS:
            raise ConfigError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        if pairing not in ("none", "aligned"):
            raise ConfigError(f"pairing is {pairing!r}; expected none or aligned")
        if rows < 0 or row_offset < 0 or clip_samples < 1:
            raise ConfigError("rows and row_offset must not be negative, clip_samples at least 1")
        self.store, self.domains, self.split, self.rows = store, list(domains), split, rows
        self.clip_samples, self.seed, self.row_offset = clip_samples, seed, row_offset
        self.device = torch.device(device)
        entries = {domain: store.entries(domain, split) for domain in domains}
        self.pairing, self.processes, self.turns = pairing, processes, turns
        if pairing == "aligned":
            self.rings = aligned_rings(entries, split)
        else:
            self.rings = [separate_ring(domain, e) for domain, e in entries.items()]
        self.reader = _choose_reader(reader, store, self.device, self.bytes)
        self._probes = np.array(probe_offsets(clip_samples))
        self._floor = silence_floor(len(self._probes))
        aligned = pairing == "aligned"
        self._lanes = [name_key("aligned" if aligned else ring.domain) for ring in self.rings]
        self._resident: list[np.ndarray] | Tensor | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._pending: tuple[tuple[int, list[int]], Future[Tensor]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Threads, memory maps and device memory stay behind: the copy opens its own.
        return _rebuild, (self.store, {**self._arguments, "turns": self.turns})

    @property
    def bytes(self) -> int:
        """Bytes of int16 audio that the resident reader keeps."""
        return 2 * sum(ring.total for ring in self.rings)

    def check(self) -> None:
        """Raise `CorpusError` naming the first domain with less than one clip of audio."""
        rate = self.store.sample_rate
        for ring in self.rings:
            if ring.total < self.clip_samples:
                shared = " in groups that all domains share" if self.pairing == "aligned" else ""
                raise CorpusError(
                    f"domain {ring.domain!r} has {ring.total / rate:.2f} s of {self.split} audio"
                    f"{shared}, less than one clip of {self.clip_samples / rate:.2f} s: add "
                    "recordings or lower training.clip"
                )

    def batch(self, step: int, domains: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return `{domain: (rows, clip_samples)}` float32 in [-1, 1) on the device.

        `domains` are those wanted; when left out, those whose turn it is.
        """
        chosen = self._chosen(step, domains)
        for ring in (self.rings[i] for i in chosen):
            if not ring.total:
                raise CorpusError(
                    f"domain {ring.domain!r} has no {self.split} recording: add recordings, or "
                    "prepare the store with another share of validation"
                )
        if self.reader == "resident" and self.device.type != "cpu":
            clips = self._cut_on_device(step, chosen)
        else:
            clips = self._take(step, chosen).to(self.device, non_blocking=True)
        audio = clips.to(torch.float32).mul_(1 / FULL_SCALE)
        parts = audio.view(len(chosen), self.rows, self.clip_samples)
        return {self.rings[i].domain: part for i, part in zip(chosen, parts, strict=True)}

    def _chosen(self, step: int, domains: Sequence[str] | None = None) -> list[int]:
        """Return the numbers of the rings that a step cuts."""
        if domains is None:
            domains = self.domains if self.turns is None else self.turns(step)
        wanted = set(domains)
        return [i for i, ring in enumerate(self.rings) if ring.domain in wanted]

    def close(self) -> None:
        """End the thread that cuts ahead; a batch after it begins anew."""
        self._pending = None
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = None

    def _take(self, step: int, chosen: list[int]) -> Tensor:
        """Return the clips of `step`, cut ahead if the thread was, and send it to the next."""
        if self.reader == "resident":
            return self._cut(step, chosen)
        pending, self._pending = self._pending, None
        ready = pending is not None and pending[0] == (step, chosen)
        clips = pending[1].result() if pending and ready else self._cut(step, chosen)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "audiovae-loader")
        following = (step + 1, self._chosen(step + 1))
        self._pending = (following, self._executor.submit(self._cut, *following))
        return clips

    def _start(self, index: int, step: int, row: int, attempt: int) -> int:
        """Return where the clip of a row starts on a ring."""
        draw = mix(self.seed, step, self._lanes[index], self.row_offset + row, attempt)
        return self.rings[index].place(draw, self.clip_samples)

    def _cut(self, step: int, chosen: list[int]) -> Tensor:
        """Cut the clips of some rings on the host: int16 (domains * rows, clip_samples)."""
        shape = (len(chosen), self.rows, self.clip_samples)
        clips = torch.empty(shape, dtype=torch.int16, pin_memory=self.device.type == "cuda")
        out = clips.numpy()
        parts = dict(zip(chosen, out, strict=True))
        for lane in [chosen] if self.pairing == "aligned" else [[i] for i in chosen]:
            for row in range(self.rows):
                self._cut_row(step, row, {i: parts[i][row] for i in lane})
        return clips.view(-1, self.clip_samples)

    def _cut_row(self, step: int, row: int, lane: dict[int, np.ndarray]) -> None:
        """Fill one row of the rings that share a draw; the quietest of them counts."""
        best, loudest, first = 0, -1, next(iter(lane))
        for attempt in range(ATTEMPTS):
            start = self._start(first, step, row, attempt)
            for i, out in lane.items():
                self._read(i, start, out)
            probes = [out.take(self._probes).astype(np.float64) for out in lane.values()]
            # Sums of squared integers below 2**53: exact, so that all readers decide alike.
            level = min(int(p @ p) for p in probes)
            if level >= self._floor:
                return
            if level > loudest:
                best, loudest = start, level
        for i, out in lane.items():
            self._read(i, best, out)

    def _read(self, index: int, start: int, out: np.ndarray) -> None:
        """Fill `out` with the ring's samples from `start`."""
        if self.reader == "resident":
            if self._resident is None:
                self._resident = [self._load(ring) for ring in self.rings]
            sound = self._resident[index]
            assert isinstance(sound, np.ndarray)
            if start + len(out) <= len(sound):
                out[:] = sound[start : start + len(out)]
            else:
                out[:] = sound.take(np.arange(start, start + len(out)), mode="wrap")
            return
        done = 0
        for entry, first, count in self.rings[index].pieces(start, len(out)):
            out[done : done + count] = self.store.audio(entry, first, count)
            done += count

    def _load(self, ring: Ring) -> np.ndarray:
        """Return the whole ring as int16 (ring.total,)."""
        sound, done = np.empty(ring.total, np.int16), 0
        for entry, length in zip(ring.entries, ring.lengths, strict=True):
            sound[done : done + length] = self.store.audio(entry, 0, length)
            done += length
        return sound

    def _cut_on_device(self, step: int, chosen: list[int]) -> Tensor:
        """Cut the clips of some rings where the audio lies, without waiting for the device."""
        if self._resident is None:
            totals = [ring.total for ring in self.rings]
            # Filled in its place: joining parts would take twice the memory for a moment.
            self._resident = torch.empty(sum(totals), dtype=torch.int16, device=self.device)
            for ring, place in zip(self.rings, self._resident.split(totals), strict=True):
                place.copy_(torch.from_numpy(self._load(ring)))
        assert isinstance(self._resident, Tensor)
        # Aligned rings are as long as each other and share their draws.
        drawn = chosen[:1] if self.pairing == "aligned" else chosen
        starts = [
            [[self._start(i, step, row, a) for a in range(ATTEMPTS)] for row in range(self.rows)]
            for i in drawn
        ] * (len(chosen) // len(drawn))
        return cut_resident(
            self._resident,
            [ring.total for ring in self.rings],
            chosen,
            starts,
            torch.from_numpy(self._probes),
            self._floor,
            self.clip_samples,
            together=self.pairing == "aligned",
        )


def _choose_reader(reader: str, store: Any, device: torch.device, size: int) -> str:
    """Return the reader to use for `size` bytes of audio, or raise `ConfigError`."""
    if reader not in READERS:
        raise ConfigError(f"reader is {reader!r}; expected one of {', '.join(READERS)}")
    files = isinstance(store, FilesStore)
    if reader == "memmap" and files:
        raise ConfigError("reader memmap needs a store: run audiovae prepare, or use files")
    if reader == "files" and not files:
        raise ConfigError("reader files needs a folder of recordings, not a store: use memmap")
    if reader != "auto":
        return reader
    if files:
        return "files"
    if device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] // 4:
        return "resident"
    return "memmap"


def _rebuild(store: Store | FilesStore, arguments: dict[str, Any]) -> Loader:
    return Loader(store, **arguments)
