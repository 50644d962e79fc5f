"""Verbs that say what is there: info, doctor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from audiovae.verbs.options import Common, Plain, Report


@dataclass(kw_only=True)
class Info:
    """Say what a model, run, store or sound file is."""

    path: Positional[Annotated[str | None, arg(metavar="PATH")]] = None
    """The shipped model when left out; shards may be a URL."""

    common: Plain = field(default_factory=Common)

    def run(self) -> Report:
        """Describe."""
        from audiovae.apps.info import as_lines, describe

        facts = describe(self.path)
        return Report(as_lines(facts), facts)


@dataclass(kw_only=True)
class Doctor:
    """Say what works on this machine, and how to get what does not."""

    common: Plain = field(default_factory=Common)

    def run(self) -> Report:
        """Look."""
        from audiovae.apps.doctor import examine

        checks = examine()
        missing = [c.name for c in checks if c.needed and not c.good]
        end = f"missing: {', '.join(missing)}" if missing else "everything that is needed is here"
        return Report([*(c.line() for c in checks), end], {"checks": checks, "missing": missing})
