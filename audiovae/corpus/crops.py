"""Where clips are cut: pure arithmetic on a ring of recordings, no audio.

All recordings of a domain and split, one after the other, form a ring. A clip is a slice of the
ring: inside one recording where that is long enough, and across the joints of short ones.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audiovae.corpus.manifest import Entry
from audiovae.errors import CorpusError

FULL_SCALE = 32768
"""The int16 value that stands for an amplitude of 1."""
ATTEMPTS = 9
"""Draws of a crop: the first and eight more while it is silent."""
SILENCE_DB = -50.0
"""RMS in dB of full scale under which a crop counts as silent."""
PROBES = 2048
"""Samples of a crop that its level is estimated from."""

_MASK = (1 << 64) - 1


def mix(*keys: int) -> int:
    """Return 64 well-mixed bits of the integers `keys` (SplitMix64, Steele et al. 2014, chained).

    A counter-based draw: no state, so any step, row and attempt can be drawn by itself.
    """
    state = 0
    for key in keys:
        state = ((state ^ (key & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def name_key(name: str) -> int:
    """Return 64 bits of a name, equal in every process."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


@dataclass(frozen=True)
class Turns:
    """Which domains have their turn in a step: each as often as any other.

    Rounds of all domains follow one another, every round in an order of its own; a step takes the
    next ones. It is a function of seed and step, so that many processes agree without a word.
    """

    domains: tuple[str, ...]
    count: int
    """Domains a step; 0 stands for all."""
    seed: int

    def __call__(self, step: int) -> list[str]:
        """Return the domains of a step, in the order of `domains`."""
        many = len(self.domains)
        if not 0 < self.count < many:
            return list(self.domains)
        steps = -(-many // self.count)
        rounds, place = divmod(step, steps)
        order = sorted(self.domains, key=lambda name: mix(self.seed, rounds, 15, name_key(name)))
        # The last step of a round is filled with those that began it.
        chosen = {order[(place * self.count + i) % many] for i in range(self.count)}
        return [name for name in self.domains if name in chosen]

    def before(self, step: int) -> dict[str, int]:
        """Return how many turns each domain has had before a step.

        Where rounds come out even that is arithmetic; else they are gone through, so that a
        million steps take seconds.
        """
        many = len(self.domains)
        if not 0 < self.count < many:
            return dict.fromkeys(self.domains, step)
        steps = -(-many // self.count)
        rounds = step // steps
        had = dict.fromkeys(self.domains, rounds)
        if many % self.count:
            for last in range(steps - 1, rounds * steps, steps):
                begun = set(self(last - steps + 1))
                for name in begun.intersection(self(last)):
                    had[name] += 1
        for late in range(rounds * steps, step):
            for name in self(late):
                had[name] += 1
        return had


def probe_offsets(clip_samples: int) -> list[int]:
    """Return the samples of a clip that its level is estimated from, in rising order.

    One in each of `PROBES` equal stretches, at an irregular place: a regular stride would hear
    nothing of a tone whose period it is a multiple of.
    """
    count = min(PROBES, clip_samples)
    edges = [i * clip_samples // count for i in range(count + 1)]
    return [a + mix(i) % (b - a) for i, (a, b) in enumerate(itertools.pairwise(edges))]


def silence_floor(count: int) -> int:
    """Return the sum of squares of `count` int16 samples at which a crop counts as sounding."""
    return math.ceil((FULL_SCALE * 10 ** (SILENCE_DB / 20)) ** 2 * count)


@dataclass(frozen=True)
class Ring:
    """Recordings of one domain, end to end; each gives its first `lengths[i]` samples."""

    domain: str
    entries: Sequence[Entry]
    lengths: Sequence[int]

    @functools.cached_property
    def ends(self) -> list[int]:
        """Where each recording ends on the ring."""
        return list(itertools.accumulate(self.lengths))

    @property
    def total(self) -> int:
        """Samples in the ring."""
        return self.ends[-1] if self.lengths else 0

    def place(self, draw: int, clip_samples: int) -> int:
        """Turn 64 random bits into the start of a clip on the ring.

        Recordings come in proportion to their length. In one that holds a clip, every start that
        keeps the clip inside is as likely; a shorter one is left at its end for the next.
        """
        position = (draw * self.total) >> 64
        index = bisect.bisect_right(self.ends, position)
        length = self.lengths[index]
        if length < clip_samples:
            return position
        begin = self.ends[index] - length
        return begin + (position - begin) * (length - clip_samples + 1) // length

    def pieces(self, start: int, count: int) -> list[tuple[Entry, int, int]]:
        """Return the (entry, first sample, samples) that make up `count` samples from `start`."""
        found = []
        index = bisect.bisect_right(self.ends, start)
        while count > 0:
            inside = start - (self.ends[index] - self.lengths[index])
            taken = min(count, self.lengths[index] - inside)
            found.append((self.entries[index], inside, taken))
            count -= taken
            index = (index + 1) % len(self.lengths)
            start = self.ends[index] - self.lengths[index]
        return found


def separate_ring(domain: str, entries: Sequence[Entry]) -> Ring:
    """Return the ring of a domain that is drawn by itself."""
    return Ring(domain, entries, [entry.frames for entry in entries])


def aligned_rings(entries: Mapping[str, Sequence[Entry]], split: str) -> list[Ring]:
    """Return a ring for each domain such that one position is one moment of one score in all.

    Only groups with a recording in every domain count, each up to its shortest recording. Where a
    domain has several recordings of a group (two violins in a duet), the group comes once for each.

    Raises `CorpusError` when no group is in all domains.
    """
    groups: dict[str, dict[str, list[Entry]]] = {domain: {} for domain in entries}
    for domain, recordings in entries.items():
        for entry in recordings:
            if entry.group is not None:
                groups[domain].setdefault(entry.group, []).append(entry)
    shared = sorted(set.intersection(*(set(named) for named in groups.values())))
    if not shared:
        raise CorpusError(
            f"no group has a {split} recording in each of {', '.join(entries)}: give aligned "
            "recordings one group in groups.json, or set training.pairing to none"
        )
    chosen: dict[str, list[Entry]] = {domain: [] for domain in entries}
    lengths = []
    for group in shared:
        takes = {domain: groups[domain][group] for domain in entries}
        shortest = min(entry.frames for take in takes.values() for entry in take)
        for i in range(max(len(take) for take in takes.values())):
            lengths.append(shortest)
            for domain, take in takes.items():
                chosen[domain].append(take[i % len(take)])
    return [Ring(domain, chosen[domain], lengths) for domain in entries]
