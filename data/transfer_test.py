"""Renders the transfer test: the pieces of a fixed manifest in all its domains, and their notes.

    python data/transfer_test.py OUT --cache scores

writes OUT/<domain>/<piece>.flac, the same notes in every domain, and OUT/classifier/<domain>/ with
other pieces for an independent classifier. OUT/test.json says what each is, with hashes;
OUT/notes.json has the notes. Notes and soundfonts must be those of the manifest. The same command
goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invented import invented_scores
from layout import DataError, need_file, run
from performance import rows, seconds
from ranges import playing_range
from render import Piece, render, write_json
from repertoire import FORMAT, Item, digest, is_single, play
from scores import Note, Score, load_scores
from synthesis import SAMPLE_RATE, known_soundfonts, open_synthesiser

MANIFEST = Path(__file__).parent.parent / "recipes" / "transfer_test.json"
CLASSIFIER = "classifier"

Played = dict[str, tuple[Note, ...]]


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest as data/repertoire.py writes it; DataError when it is something else."""
    need_file(path, "the manifest", "give one with --manifest, or make one: data/repertoire.py")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        known = manifest["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError(f"{path} is no manifest of format {FORMAT}; make one: data/repertoire.py")
    return manifest


def find_scores(names: set[str], cache: Path | None, workers: int) -> dict[str, Score]:
    """The scores of these names, made up or from music21's corpus; DataError for a missing one."""
    numbers = [int(n.removeprefix("invented-")) for n in names if n.startswith("invented-")]
    found = invented_scores(count=max(numbers) + 1) if numbers else []
    scores = {s.name: s for s in found if s.name in names}
    others = names - scores.keys()
    if others:
        scores |= {s.name: s for s in load_scores("music21", cache, workers, only=others)}
    missing = sorted(names - scores.keys())
    if missing:
        raise DataError(
            f"music21's corpus lacks {len(missing)} of the manifest's scores, first {missing[0]}; "
            "expected music21 10 with its corpus"
        )
    return scores


def perform_items(
    items: Mapping[str, Mapping[str, Any]], scores: dict[str, Score], seed: int, longest: float
) -> Played:
    """Name to notes of a manifest's pieces; DataError when their hash is not the manifest's."""
    played = {}
    for name, content in items.items():
        item = Item(**content)
        played[name] = play(scores[item.score], item.close, item.shift, seed, longest)
        if digest(played[name]) != item.notes:
            raise DataError(
                f"the notes of {name} are not the manifest's: this music21, or this data/, reads "
                "or plays its score in another way; use the versions that the manifest came with"
            )
    return played


def perform_all(
    manifest: dict[str, Any], cache: Path | None, workers: int
) -> tuple[Played, dict[str, Played]]:
    """All that is to be played: the test's pieces, and the classifier's of each domain."""
    parts = [manifest["pieces"], *manifest["classifier"].values()]
    scores = find_scores({i["score"] for p in parts for i in p.values()}, cache, workers)
    seed, longest = manifest["seed"], manifest["seconds"]
    pieces = perform_items(manifest["pieces"], scores, seed, longest["pieces"])
    others = {
        domain: perform_items(items, scores, seed, longest["classifier"])
        for domain, items in manifest["classifier"].items()
    }
    return pieces, others


def find_soundfonts(wanted: Mapping[str, str], given: Sequence[Path]) -> dict[str, Path]:
    """File name to path of the soundfonts with these hashes; DataError for a missing one."""
    for path in given:
        need_file(path, "a soundfont", "give .sf2 files with --soundfonts")
    places = {hash_file(path): path for path in (*given, *known_soundfonts())}
    for name, hashed in wanted.items():
        if hashed not in places:
            raise DataError(
                f"no soundfont is the manifest's {name} (SHA-256 {hashed[:12]}…); install Debian's "
                "fluid-soundfont-gm and pip install pretty_midi, or give it with --soundfonts"
            )
    return {name: places[hashed] for name, hashed in wanted.items()}


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def render_all(
    manifest: dict[str, Any],
    pieces: Played,
    others: dict[str, Played],
    fonts: dict[str, Path],
    out: Path,
    workers: int,
) -> None:
    """Renders what is not there yet, a soundfont at a time, then the classifier's pieces."""
    domains = manifest["domains"]
    for font, path in fonts.items():
        who = tuple((d, v["program"]) for d, v in domains.items() if v["soundfont"] == font)
        jobs = [Piece(name, notes, seconds(notes), who) for name, notes in pieces.items()]
        render(jobs, out, path, workers, "aligned")
        jobs = [
            Piece(name, notes, seconds(notes), ((domain, domains[domain]["program"]),))
            for domain, played in others.items()
            if domains[domain]["soundfont"] == font
            for name, notes in played.items()
        ]
        if jobs:
            render(jobs, out / CLASSIFIER, path, workers, "unpaired")


def describe(
    manifest: dict[str, Any], pieces: Played, others: dict[str, Played], out: Path
) -> dict[str, Any]:
    """The content of test.json, after all is rendered."""
    domains = {}
    for name, domain in manifest["domains"].items():
        low, high = playing_range(domain["program"])
        domains[name] = {**domain, "low": low, "high": high}
    classifier = {d: [f"{CLASSIFIER}/{d}/{n}.flac" for n in played] for d, played in others.items()}
    files = [f"{d}/{p}.flac" for d in domains for p in pieces]
    files += [f for listed in classifier.values() for f in listed]
    return {
        "format": FORMAT,
        "sample_rate": SAMPLE_RATE,
        "seed": manifest["seed"],
        "domains": domains,
        "pieces": {
            name: {
                "seconds": round(seconds(notes), 5),
                "notes": digest(notes),
                "monophonic": is_single(notes),
            }
            for name, notes in pieces.items()
        },
        "classifier": classifier,
        "audio": {file: hash_file(out / file) for file in files},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("out", type=Path, metavar="OUT", help="folder to make: OUT/<domain>/<piece>.flac")
    add("--manifest", type=Path, default=MANIFEST, help="default: recipes/transfer_test.json")
    add("--soundfonts", type=Path, nargs="+", default=[], help="where they are not found alone")
    add("--cache", type=Path, help="folder that keeps parsed scores")
    add("--workers", type=int, default=os.cpu_count() or 1)
    options = made.parse_args(arguments)
    if options.workers < 1:
        raise DataError(f"--workers must be more than 0, not {options.workers}")

    manifest = read_manifest(options.manifest)
    fonts = find_soundfonts(manifest["soundfonts"], options.soundfonts)
    open_synthesiser(next(iter(fonts.values())))
    pieces, others = perform_all(manifest, options.cache, options.workers)
    known = options.out / "manifest.json"
    if known.is_file() and json.loads(known.read_text()) != manifest:
        raise DataError(f"{options.out} holds another manifest's renders; choose a new folder")
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(known, manifest)
    write_json(options.out / "notes.json", {name: rows(n) for name, n in pieces.items()})
    render_all(manifest, pieces, others, fonts, options.out, options.workers)
    write_json(options.out / "test.json", describe(manifest, pieces, others, options.out))
    print(f"{len(pieces)} pieces in {len(manifest['domains'])} domains: {options.out}")


if __name__ == "__main__":
    run(main)
