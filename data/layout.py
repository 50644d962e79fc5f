"""What the scripts of this folder share: one-line errors, safe names, links into domain folders."""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au")


class DataError(ValueError):
    """The user's input is wrong. The message is one line: what, what was expected, the fix."""


def run(
    command: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Calls a script's command and exits: 0 done, 2 the input is wrong (one line on stderr)."""
    try:
        command(arguments)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(0)


def safe_name(text: str) -> str:
    """`text` with everything but letters, digits, dots and dashes turned into one dash."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c == ".") else "-" for c in text)
    return "-".join(part for part in kept.split("-") if part).lstrip(".")


def parser(description: str) -> argparse.ArgumentParser:
    """The options every script for a local data set takes: SOURCE, OUT and --copy."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("source", type=Path, metavar="SOURCE", help="folder of the data set")
    made.add_argument("out", type=Path, metavar="OUT", help="folder to make: OUT/<domain>/…")
    made.add_argument("--copy", action="store_true", help="copy files instead of linking them")
    return made


def need_folder(path: Path, what: str, hint: str) -> Path:
    """`path` if it is a folder, else a DataError that names `what` and says what to do."""
    if not path.is_dir():
        raise DataError(f"{what} is missing: no folder {path}; {hint}")
    return path


def need_file(path: Path, what: str, hint: str) -> Path:
    """`path` if it is a file, else a DataError that names `what` and says what to do."""
    if not path.is_file():
        raise DataError(f"{what} is missing: no file {path}; {hint}")
    return path


def read_csv(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, after a check that it has all `columns`."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = sorted(set(columns) - set(reader.fieldnames or ()))
        if missing:
            raise DataError(
                f"{path} has no column {', '.join(missing)}; expected the table as published"
            )
        return list(reader)


class Tree:
    """Fills OUT/<domain>/ with links to (or copies of) files and counts them.

    A file that is there already and is the same one stays; another one under its name is an error,
    so that two data sets never mix without a word.
    """

    def __init__(self, source: Path, out: Path, copy: bool = False) -> None:
        resolved, root = out.resolve(), source.resolve()
        if resolved == root or root in resolved.parents:
            raise DataError(f"OUT {out} lies inside SOURCE {source}; choose a folder outside it")
        self.out, self.copy = out, copy
        self.counts: Counter[str] = Counter()

    def add(self, file: Path, domain: str, name: str | None = None) -> Path:
        """Puts `file` under the domain's folder as `name` (default: its own). Returns the path."""
        target = self.out / domain / (name or file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.counts[domain] += 1
        if target.is_symlink() or target.exists():
            same = target.exists() and (
                os.path.samefile(target, file) or target.stat().st_size == file.stat().st_size
            )
            if not same:
                raise DataError(f"{target} is there and is another file; choose a new OUT folder")
        elif self.copy:
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(file, partial)
            os.replace(partial, target)
        else:
            target.symlink_to(file.resolve())
        return target

    def report(self, wanted: str) -> None:
        """Prints files a domain; a DataError that says what was `wanted` when there are none."""
        if not self.counts:
            raise DataError(f"nothing was found for {self.out}; expected {wanted}")
        for domain, count in sorted(self.counts.items()):
            print(f"{count:7d}  {domain}")
        print(f"{sum(self.counts.values()):7d}  files in {len(self.counts)} domains: {self.out}")
