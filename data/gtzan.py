"""GTZAN → domains: one folder a genre.

    python data/gtzan.py SOURCE OUT --genres jazz classical metal

SOURCE is the folder genres/ (the archive's <genre>/<genre>.00000.au), genres_original/ (the same
as .wav) or the folder above it. jazz.00054.wav of the well-known .wav copy is damaged; it is left
out where it can't be opened, and said so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from layout import DataError, Tree, need_folder, parser, run

GENRES = (
    *("blues", "classical", "country", "disco", "hiphop"),
    *("jazz", "metal", "pop", "reggae", "rock"),
)


def genres_folder(source: Path) -> Path:
    """The folder that holds the genres, at SOURCE or up to two levels below it."""
    for path in (
        source,
        *(source / n for n in ("genres", "genres_original", "Data/genres_original")),
    ):
        if any((path / genre).is_dir() for genre in GENRES):
            return path
    raise DataError(
        f"{source} holds no genre folder such as blues; expected GTZAN's genres or genres_original"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    import soundfile

    made = parser(__doc__ or "")
    made.add_argument("--genres", nargs="+", choices=GENRES, help="default: all ten")
    options = made.parse_args(arguments)
    need_folder(options.source, "GTZAN", "expected the folder genres")
    root = genres_folder(options.source)
    tree = Tree(options.source, options.out, options.copy)
    for genre in options.genres or GENRES:
        folder = need_folder(root / genre, f"GTZAN's genre '{genre}'", "unpack the archive again")
        named = re.compile(rf"{genre}\.\d{{5}}\.(au|wav)")
        tracks = [p for p in sorted(folder.iterdir()) if named.fullmatch(p.name)]
        if not tracks:
            raise DataError(f"{folder} holds no {genre}.00000.au or .wav; unpack the archive again")
        for track in tracks:
            try:
                soundfile.info(track)
            except soundfile.LibsndfileError:
                print(f"left out, can't be opened: {track}")
                continue
            tree.add(track, genre)
    tree.report("GTZAN's tracks")


if __name__ == "__main__":
    run(main)
