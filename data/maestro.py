"""MAESTRO → a piano domain, or one a composer or a competition year.

    python data/maestro.py SOURCE OUT --by composer --min-recordings 20

SOURCE holds maestro-v*.csv and the year folders it names (audio_filename: 2018/….wav).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from layout import DataError, Tree, need_folder, parser, read_csv, run, safe_name

COLUMNS = ("canonical_composer", "canonical_title", "split", "year", "audio_filename")


def domain_of(row: dict[str, str], by: str) -> str:
    """The domain of one row of the table: "piano", "Franz-Schubert" or "2018"."""
    if by == "piano":
        return "piano"
    return safe_name(row["canonical_composer"] if by == "composer" else row["year"])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = parser(__doc__ or "")
    made.add_argument("--by", choices=("piano", "composer", "year"), default="piano")
    made.add_argument("--splits", nargs="+", choices=("train", "validation", "test"))
    made.add_argument("--min-recordings", type=int, default=1, help="leave smaller domains out")
    options = made.parse_args(arguments)
    need_folder(options.source, "MAESTRO", "expected the folder maestro-v3.0.0")
    tables = sorted(options.source.glob("maestro-v*.csv"))
    if not tables:
        raise DataError(
            f"MAESTRO's table is missing: no maestro-v*.csv in {options.source}; expected the "
            "folder as unpacked, such as maestro-v3.0.0"
        )
    rows = read_csv(tables[-1], COLUMNS)
    if options.splits:
        rows = [r for r in rows if r["split"] in options.splits]
    sizes = Counter(domain_of(r, options.by) for r in rows)
    small = {d for d, count in sizes.items() if count < options.min_recordings}
    if small:
        print(f"left out, under {options.min_recordings} recordings: {', '.join(sorted(small))}")
    tree = Tree(options.source, options.out, options.copy)
    absent = [r for r in rows if not (options.source / r["audio_filename"]).is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(rows)} recordings of {tables[-1].name} are missing, first "
            f"{absent[0]['audio_filename']}; the midi-only archive has none, get the one with audio"
        )
    for row in rows:
        domain = domain_of(row, options.by)
        if domain not in small:
            audio = options.source / row["audio_filename"]
            tree.add(audio, domain, f"{row['year']}-{audio.name}")
    tree.report("recordings of MAESTRO; lower --min-recordings or --splits")


if __name__ == "__main__":
    run(main)
