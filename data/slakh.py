"""Slakh2100 → domains: the stems of one instrument class a folder.

    python data/slakh.py SOURCE OUT --splits train --classes Piano Guitar Bass

SOURCE is slakh2100_flac_redux (or slakh2100_flac, or babyslakh_16k): train/, validation/, test/
with Track00001/metadata.yaml and Track00001/stems/S00.flac, or the track folders themselves.
Stems come as OUT/piano/Track00001-S00.flac. Drums and sound effects are left out unless named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from layout import DataError, Tree, need_file, need_folder, parser, run, safe_name

SPLITS = ("train", "validation", "test", "omitted")
NO_PITCH = ("Drums", "Sound Effects", "Sound effects")


def read_stems(metadata: Path) -> dict[str, dict[str, str]]:
    """{"S00": {"inst_class": "Piano", "audio_rendered": "true", …}} of a track's metadata.yaml.

    Reads the two levels of plain `key: value` lines that Slakh writes; no YAML package is needed.
    """
    stems: dict[str, dict[str, str]] = {}
    inside, current = False, ""
    for line in metadata.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"( *)([^:#]+):\s*(.*)", line.rstrip())
        if match is None:
            continue
        indent, key, value = len(match[1]), match[2].strip("'\" "), match[3].strip("'\"")
        if indent == 0:
            inside = key == "stems"
        elif inside and re.fullmatch(r"S\d+", key) and not value:
            current = key
            stems[current] = {}
        elif inside and current:
            stems[current][key] = value
    if not stems or any("inst_class" not in s for s in stems.values()):
        raise DataError(f"{metadata} lists no stems with inst_class; expected Slakh's metadata")
    return stems


def find_tracks(source: Path, splits: Sequence[str] | None) -> list[Path]:
    """The folders TrackNNNNN of the wanted splits, or of SOURCE where it has no split folders."""
    there = [s for s in SPLITS if (source / s).is_dir()]
    for split in splits or ():
        need_folder(source / split, f"Slakh's split '{split}'", f"there are: {there or 'none'}")
    wanted = [source / s for s in (splits or [s for s in there if s != "omitted"])] or [source]
    tracks = [t for w in wanted for t in sorted(w.glob("Track*")) if t.is_dir()]
    if not tracks:
        raise DataError(
            f"{source} holds no folder such as Track00001 or train/Track00001; expected Slakh2100"
        )
    return tracks


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = parser(__doc__ or "")
    made.add_argument("--splits", nargs="+", choices=SPLITS, help="default: all but omitted")
    made.add_argument("--classes", nargs="+", metavar="CLASS", help='such as Piano "Synth Lead"')
    options = made.parse_args(arguments)
    need_folder(options.source, "Slakh2100", "expected the folder slakh2100_flac_redux")
    tree, left_out = Tree(options.source, options.out, options.copy), Counter[str]()
    wanted = {safe_name(c).lower() for c in options.classes or ()}
    for track in find_tracks(options.source, options.splits):
        metadata = track / "metadata.yaml"
        need_file(metadata, f"the metadata of {track.name}", "unpack Slakh2100 again")
        for stem, facts in sorted(read_stems(metadata).items()):
            domain = safe_name(facts["inst_class"]).lower()
            if facts.get("audio_rendered", "true").lower() != "true":
                left_out["stems that Slakh did not render"] += 1
            elif domain not in wanted if wanted else facts["inst_class"] in NO_PITCH:
                left_out[facts["inst_class"]] += 1
            else:
                audio = _audio(track, stem)
                tree.add(audio, domain, f"{track.name}-{audio.name}")
    for reason, count in sorted(left_out.items()):
        print(f"{count:7d}  left out: {reason}")
    tree.report("rendered stems; give other --classes or --splits")


def _audio(track: Path, stem: str) -> Path:
    for suffix in (".flac", ".wav"):
        path = track / "stems" / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise DataError(
        f"stem {stem} of {track} is missing; expected {track.name}/stems/{stem}.flac, unpack again"
    )


if __name__ == "__main__":
    run(main)
