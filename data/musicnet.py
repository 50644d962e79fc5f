"""MusicNet → the six domains of "A universal music translation network" (Mor et al. 2018).

    python data/musicnet.py SOURCE OUT

SOURCE holds musicnet_metadata.csv and the published folders train_data and test_data with
<id>.wav, either beside it or in a folder musicnet/ next to it. `--all` makes a domain of every
pair of composer and ensemble instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layout import DataError, Tree, need_file, need_folder, parser, read_csv, run, safe_name

# (ensemble, composer) as musicnet_metadata.csv writes them, and the domain's name here
DOMAINS = {
    ("Accompanied Violin", "Beethoven"): "accompanied-violin-beethoven",
    ("Solo Cello", "Bach"): "solo-cello-bach",
    ("Solo Piano", "Bach"): "solo-piano-bach",
    ("Solo Piano", "Beethoven"): "solo-piano-beethoven",
    ("String Quartet", "Beethoven"): "string-quartet-beethoven",
    ("Wind Quintet", "Cambini"): "wind-quintet-cambini",
}


def audio_folders(source: Path) -> list[Path]:
    """The folders train_data and test_data that are there."""
    parents = (source, source / "musicnet")
    found = [p / n for p in parents for n in ("train_data", "test_data") if (p / n).is_dir()]
    if not found:
        raise DataError(
            f"MusicNet's audio is missing: no train_data or test_data in {source} or "
            f"{source / 'musicnet'}; unpack musicnet.tar.gz there"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = parser(__doc__ or "")
    made.add_argument("--all", action="store_true", help="every composer and ensemble")
    options = made.parse_args(arguments)
    need_folder(options.source, "MusicNet", "expected the folder with musicnet_metadata.csv")
    table = options.source / "musicnet_metadata.csv"
    need_file(table, "MusicNet's list of recordings", "download it beside the audio folders")
    rows = read_csv(table, ("id", "composer", "ensemble"))
    folders = audio_folders(options.source)
    tree, absent = Tree(options.source, options.out, options.copy), []
    for row in rows:
        pair = (row["ensemble"].strip(), row["composer"].strip())
        domain = DOMAINS.get(pair)
        if options.all:
            domain = domain or safe_name("-".join(pair)).lower()
        if domain is None:
            continue
        wavs = [f / f"{row['id']}.wav" for f in folders]
        there = [w for w in wavs if w.is_file()]
        if there:
            tree.add(there[0], domain)
        else:
            absent.append(row["id"])
    if absent:
        raise DataError(
            f"{len(absent)} recordings of the list are missing, first {absent[0]}.wav; expected "
            f"them in {' or '.join(str(f) for f in folders)}, unpack musicnet.tar.gz again"
        )
    tree.report(f"recordings of {', '.join(DOMAINS.values())}; is {table.name} the published one?")


if __name__ == "__main__":
    run(main)
