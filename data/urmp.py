"""URMP → domains: one folder an instrument, from the separately recorded tracks.

    python data/urmp.py SOURCE OUT

SOURCE is the published folder Dataset/ (or the one above it) with <piece folders> such as
01_Jupiter_vn_vc, each with AuSep_<part>_<instrument>_<piece>.wav.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from layout import DataError, Tree, need_folder, parser, run

INSTRUMENTS = {
    **{"vn": "violin", "va": "viola", "vc": "cello", "db": "double-bass"},
    **{"fl": "flute", "ob": "oboe", "cl": "clarinet", "sax": "saxophone", "bn": "bassoon"},
    **{"tpt": "trumpet", "hn": "horn", "tbn": "trombone", "tba": "tuba"},
}
TRACK = re.compile(r"AuSep_(\d+)_([a-z]+)_(\d+)_(.+)\.wav")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    options = parser(__doc__ or "").parse_args(arguments)
    need_folder(options.source, "URMP", "expected its folder Dataset")
    inner = options.source / "Dataset"
    root = inner if inner.is_dir() else options.source
    pieces = sorted(p for p in root.iterdir() if p.is_dir() and re.match(r"\d\d_", p.name))
    if not pieces:
        raise DataError(
            f"{root} holds no piece folder such as 01_Jupiter_vn_vc; expected URMP's Dataset"
        )
    tree = Tree(options.source, options.out, options.copy)
    for piece in pieces:
        tracks = sorted(piece.glob("AuSep_*.wav"))
        if not tracks:
            raise DataError(
                f"the separate tracks of {piece} are missing; expected AuSep_1_vn_01_Jupiter.wav "
                "and the like, unpack URMP again"
            )
        for track in tracks:
            match = TRACK.fullmatch(track.name)
            if match is None or match[2] not in INSTRUMENTS:
                raise DataError(
                    f"{track} names no instrument of URMP; expected AuSep_<part>_<instrument>_"
                    f"<piece>.wav with one of {', '.join(INSTRUMENTS)}"
                )
            tree.add(track, INSTRUMENTS[match[2]])
    tree.report("URMP's AuSep tracks")


if __name__ == "__main__":
    run(main)
