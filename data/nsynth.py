"""NSynth → domains: one folder an instrument family (or an instrument, or a kind of source).

    python data/nsynth.py SOURCE OUT --splits train valid --sources acoustic

SOURCE holds the published folders nsynth-train, nsynth-valid and nsynth-test, each with
examples.json and audio/<note>.wav (four seconds at 16 kHz); any of the three will do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from layout import DataError, Tree, need_file, need_folder, parser, run

SPLITS = ("train", "valid", "test")
KEYS = {"family": "instrument_family_str", "source": "instrument_source_str"}


def domain_of(note: dict[str, object], by: str) -> str:
    """The domain of one entry of examples.json: "brass", "acoustic" or "brass-acoustic-000"."""
    value = note["instrument_str"] if by == "instrument" else note[KEYS[by]]
    return str(value).replace("_", "-")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = parser(__doc__ or "")
    made.add_argument("--by", choices=("family", "instrument", "source"), default="family")
    made.add_argument("--splits", nargs="+", choices=SPLITS, help="default: those that are there")
    made.add_argument("--sources", nargs="+", choices=("acoustic", "electronic", "synthetic"))
    options = made.parse_args(arguments)
    need_folder(options.source, "NSynth", "expected the folder that holds nsynth-train")
    there = [s for s in SPLITS if (options.source / f"nsynth-{s}").is_dir()]
    if not there:
        raise DataError(
            f"{options.source} holds none of nsynth-train, nsynth-valid, nsynth-test; unpack the "
            "json/wav archives of NSynth there"
        )
    tree = Tree(options.source, options.out, options.copy)
    for split in options.splits or there:
        folder = options.source / f"nsynth-{split}"
        need_folder(folder / "audio", f"the audio of NSynth's {split} split", "unpack its archive")
        table = need_file(folder / "examples.json", f"the notes of {split}", "unpack its archive")
        _add_split(tree, folder / "audio", table, options)
    tree.report("NSynth notes; lower the filters --sources and --splits")


def _add_split(tree: Tree, audio: Path, table: Path, options: argparse.Namespace) -> None:
    try:
        notes = json.loads(table.read_text())
        chosen = {
            name: domain_of(note, options.by)
            for name, note in notes.items()
            if not options.sources or note["instrument_source_str"] in options.sources
        }
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{table} is not NSynth's examples.json ({error!r}); unpack it again"
        ) from None
    for name, domain in sorted(chosen.items()):
        wav = need_file(audio / f"{name}.wav", f"note {name}", "unpack the archive again")
        tree.add(wav, domain)


if __name__ == "__main__":
    run(main)
