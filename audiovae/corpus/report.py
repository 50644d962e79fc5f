"""What `prepare` took and what it left out, as data and as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from audiovae.corpus.manifest import SPLITS, Entry
from audiovae.corpus.scan import Skipped

COUNTED = ("not audio", "hidden")
"""Reasons that are given once for all files, with their number."""


@dataclass(frozen=True)
class PrepareReport:
    """The outcome of `prepare`."""

    store: Path
    sample_rate: int
    domains: list[str]
    """Every domain's folder, those without a usable recording too."""
    entries: list[Entry]
    skipped: Skipped
    """(path relative to the source folder, reason) of each file left out, sorted."""
    unchanged: bool = False
    """Whether the store was finished before, with the same recordings."""
    form: str = "store"
    """Or `shards`."""

    @property
    def hours(self) -> dict[str, float]:
        """Hours of audio in each domain."""
        frames = {domain: 0 for domain in self.domains}
        for entry in self.entries:
            frames[entry.domain] += entry.frames
        return {domain: n / self.sample_rate / 3600 for domain, n in frames.items()}

    def table(self) -> str:
        """Return hours and recordings a domain, and every file left out with its reason."""
        width = max([len("domain"), *map(len, self.domains)])
        counts = Counter((entry.domain, entry.split) for entry in self.entries)
        total = Counter(entry.split for entry in self.entries)
        heads = "".join(f"{split:>8}" for split in SPLITS)
        lines = [f"{'domain':<{width}}{'hours':>10}{heads}"]
        for domain, hours in self.hours.items():
            cells = "".join(f"{counts[domain, split]:>8}" for split in SPLITS)
            lines.append(f"{domain:<{width}}{hours:>10.3f}{cells}")
        cells = "".join(f"{total[split]:>8}" for split in SPLITS)
        lines.append(f"{'total':<{width}}{sum(self.hours.values()):>10.3f}{cells}")
        for domain, hours in self.hours.items():
            if not hours:
                where = f"not in the {self.form}"
                lines.append(f"domain {domain} has no usable recording and is {where}")
            elif not counts[domain, "valid"]:
                lines.append(f"domain {domain} has no recording for validation: add another one")
        lines += self._left_out()
        many = self.form == "shards"
        there = "were there already and are" if many else "was there already and is"
        end = f"{there} unchanged" if self.unchanged else "are ready" if many else "is ready"
        lines.append(f"{self.form} {self.store} {end}")
        return printable("\n".join(lines))

    def _left_out(self) -> list[str]:
        if not self.skipped:
            return ["no file was left out"]
        counted = Counter(reason for _, reason in self.skipped if reason.startswith(COUNTED))
        single = [(p, reason) for p, reason in self.skipped if not reason.startswith(COUNTED)]
        return [
            f"left out: {len(self.skipped)}",
            *(f"  {path!r}: {reason}"[:500] for path, reason in single),
            *(f"  {n} files: {reason}" for reason, n in sorted(counted.items())),
        ]


@dataclass(frozen=True)
class ShareReport:
    """The outcome of `prepare_share`."""

    store: Path
    share: str
    recordings: int
    """In the share."""
    fresh: int
    """How many of them were converted now."""
    skipped: Skipped
    """(path relative to the source folder, reason) of each that has no samples, sorted."""

    def table(self) -> str:
        """Return every file left out with its reason, and what is to be done next."""
        lines = [f"{path!r} is left out: {reason}"[:500] for path, reason in self.skipped]
        lines.append(
            f"shard {self.share}: {self.recordings} recordings, {self.fresh} converted now, "
            f"{len(self.skipped)} left out; when all shards are done, the same command without "
            "--shard joins them"
        )
        return printable("\n".join(lines))


def summarise(skipped: Skipped) -> str:
    """Return the commonest reasons for files left out in one line, each with an example."""
    counts = Counter(reason for _, reason in skipped)
    example = {reason: path for path, reason in reversed(skipped)}
    parts = [f"{n} {r} ({example[r]!r})" for r, n in counts.most_common(4)]
    rest = len(counts) - len(parts)
    return printable("; ".join(parts) + (f"; and {rest} more reasons" if rest > 0 else ""))


def printable(text: str) -> str:
    """Return `text` with what UTF-8 can't hold escaped: a file's name may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
