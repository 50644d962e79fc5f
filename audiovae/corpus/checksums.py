"""Checksums of a store's samples: a CRC-32 of each block, checked when it is first read.

A file of samples is read in places, by memory map, for hours. So what it holds is checked block by
block, each once in a process, and a flipped bit is an error that names the recording.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

BLOCK = 1 << 20
"""Bytes that a checksum is of; the last block of a file may be shorter."""
SUMS = ".crc32"
"""Suffix of the file beside one of samples: a little-endian 32-bit number for each block."""


class Summing:
    """Takes bytes as they are written, and knows the CRC-32 of each block of them."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._last, self._held = 0, 0

    def update(self, data: bytes) -> None:
        """Take what comes next."""
        view = memoryview(data)
        while view:
            part = view[: BLOCK - self._held]
            self._last = zlib.crc32(part, self._last)
            self._held += len(part)
            if self._held == BLOCK:
                self._sums.append(self._last)
                self._last, self._held = 0, 0
            view = view[len(part) :]

    @property
    def sums(self) -> np.ndarray:
        """Checksums of all blocks, uint32 (block,); the last one may be shorter."""
        return np.array([*self._sums, *([self._last] if self._held else [])], "<u4")


def sums_file(samples: Path) -> Path:
    """Return the file with the checksums of a file of samples."""
    return samples.with_suffix(SUMS)


def sum_of_sums(sums: np.ndarray) -> str:
    """Return the checksum of checksums, eight hexadecimal digits: what `store.json` keeps."""
    return f"{zlib.crc32(sums.tobytes()):08x}"


class CheckedSamples:
    """int16 samples of a file, mapped into memory, whose blocks are checked when first read.

    Args:
        file: of samples.
        sums: of its blocks; without them nothing is checked.
    """

    def __init__(self, file: Path, sums: np.ndarray | None) -> None:
        self.samples = np.memmap(file, "<i2", "r").view(np.ndarray)
        """The whole file, int16 (sample,), unchecked."""
        self._sums = sums
        self._good = np.full(0 if sums is None else len(sums), False)

    def read(self, first: int, count: int) -> np.ndarray | None:
        """Return samples, a view of the file, or nothing where a block of them is damaged."""
        return self.samples[first : first + count] if self.are_whole(first, count) else None

    def are_whole(self, first: int, count: int) -> bool:
        """Say whether samples are what was written, as far as that is known."""
        if self._sums is None or count == 0:
            return True
        size = BLOCK // self.samples.itemsize
        begin, end = first // size, -(-(first + count) // size)
        if self._good[begin:end].all():
            return True
        for block in range(begin, end):
            if not self._good[block]:
                held = self.samples[block * size : (block + 1) * size]
                self._good[block] = zlib.crc32(held.data) == self._sums[block]
        return bool(self._good[begin:end].all())
