"""Renders scores into domains through a soundfont.

    python data/render.py OUT --scores music21 --mode aligned --pieces 100 --max-seconds 40

writes OUT/<domain>/<piece>.flac (44.1 kHz, mono, 16 bits). `unpaired`: each composition lies in
exactly one domain, minutes balanced. `aligned`: each piece in every domain with the same notes,
timing and velocities; OUT/groups.json says which files belong together, and OUT/notes.json what
each piece's notes are (start and length in seconds, pitch, velocity). A domain of several
programs (mixed=4,40,52) has its pieces played by each in turn. Everything follows from the options
and --seed. The same command goes on where it was stopped, and does more with more --pieces or
--minutes. In aligned mode other domains, from another soundfont too, may join a folder of the same
pieces.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invented import invented_scores
from layout import DataError, run, safe_name
from performance import perform, rows, seconds
from scores import Note, Score, load_scores, order
from synthesis import SAMPLE_RATE, Synthesiser, find_soundfont, open_synthesiser

DOMAINS = {
    **{"piano": 0, "harpsichord": 6, "organ": 19, "guitar": 24},
    **{"strings": 48, "trumpet": 56, "clarinet": 71, "flute": 73},
}
Programs = dict[str, tuple[int, ...]]  # of each domain; its pieces take turns
Settings = dict[str, Any]
PEAK = 10 ** (-3 / 20)  # every file is scaled to −3 dB of full scale


@dataclass(frozen=True)
class Piece:
    """A performance: notes in seconds, and the domains (name, program) that play it."""

    name: str
    notes: tuple[Note, ...]
    seconds: float
    domains: tuple[tuple[str, int], ...]


def plan(scores: Sequence[Score], domains: Programs, options: argparse.Namespace) -> list[Piece]:
    """The pieces to render, in order, with the domains each is for.

    Unpaired: each tune goes, with all its settings, to the domain that has the least so far.
    """
    filled = dict.fromkeys(domains, 0.0)
    homes: dict[str, str] = {}
    cap = options.minutes * 60 if options.minutes else math.inf
    pieces: list[Piece] = []
    skip = options.start
    for score in scores:
        if options.split != "all" and score.split != options.split:
            continue
        notes = perform(score, options.seed, options.max_seconds, options.vary)
        length = seconds(notes)
        if length < options.min_seconds:
            continue
        if skip > 0:
            skip -= 1
            continue
        if len(pieces) == (options.pieces or math.inf) or min(filled.values()) >= cap:
            break
        chosen = list(domains)
        if options.mode == "unpaired":
            chosen = [homes.setdefault(score.tune, min(filled, key=lambda d: (filled[d], d)))]
        if all(filled[d] >= cap for d in chosen):
            continue
        turn = options.start + len(pieces)
        for domain in chosen:
            filled[domain] += length
        players = tuple((d, domains[d][turn % len(domains[d])]) for d in chosen)
        pieces.append(Piece(score.name, notes, length, players))
    if not pieces:
        raise DataError(
            f"no piece is left of {len(scores)} scores; expected pieces of at least "
            f"{options.min_seconds:g} s in split '{options.split}', lower --min-seconds or --start"
        )
    return pieces


_synthesiser: Synthesiser | None = None


def _start(soundfont: Path) -> None:
    global _synthesiser  # one a process: a soundfont takes longer to load than a piece to play
    _synthesiser = open_synthesiser(soundfont)


def _render(job: tuple[Piece, Path]) -> tuple[Piece, float]:
    """Renders what is not there yet of a piece; returns it and the seconds of audio made."""
    import numpy as np
    import soundfile

    piece, out = job
    made = 0.0
    assert _synthesiser is not None
    for domain, program in piece.domains:
        target = out / domain / f"{piece.name}.flac"
        if target.exists():
            continue
        audio = _synthesiser.render(piece.notes, program, round(piece.seconds * SAMPLE_RATE))
        audio = audio * (PEAK / max(float(np.abs(audio).max()), 1e-6))
        partial = target.with_name(f".{target.name}.partial")
        soundfile.write(partial, audio, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        os.replace(partial, target)
        made += piece.seconds
    return piece, made


def render(pieces: Sequence[Piece], out: Path, soundfont: Path, workers: int, mode: str) -> None:
    """Renders pieces in order with `workers` processes; groups.json grows with them."""
    for domain in {d for p in pieces for d, _ in p.domains}:
        (out / domain).mkdir(parents=True, exist_ok=True)
    jobs = [(piece, out) for piece in pieces]
    if workers == 1:
        _start(soundfont)
        _follow(map(_render, jobs), len(jobs), out, mode)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(jobs)), _start, (soundfont,)) as pool:
        _follow(pool.imap(_render, jobs), len(jobs), out, mode)


def _follow(done: Iterable[tuple[Piece, float]], count: int, out: Path, mode: str) -> None:
    """Prints progress and, in aligned mode, lists what is complete in groups.json."""
    known = out / "groups.json"
    groups: dict[str, str] = json.loads(known.read_text()) if known.is_file() else {}
    began, audio = time.monotonic(), 0.0
    for i, (piece, made) in enumerate(done):
        audio += made
        groups |= {f"{domain}/{piece.name}.flac": piece.name for domain, _ in piece.domains}
        if i % 20 == 19 or i + 1 == count:
            if mode == "aligned":
                write_json(known, groups)
            speed = audio / (time.monotonic() - began)
            hours = audio / 3600
            print(f"{i + 1}/{count} pieces, {hours:.2f} h rendered, {speed:.0f}x", flush=True)


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)


def parse_domains(items: Sequence[str] | None) -> Programs:
    """{"piano": (0,), …} of ["piano=0", …]; the eight default domains when nothing is given."""
    domains: Programs = {}
    for item in items or ():
        name, _, given = item.partition("=")
        programs = (given or str(DOMAINS.get(name, ""))).split(",")
        named = name and safe_name(name) == name
        if not named or not all(p.isdecimal() and int(p) < 128 for p in programs):
            raise DataError(
                f"--domains {item} is no domain; expected name=program with a General MIDI program "
                "from 0 to 127, such as cello=42, or several that take turns, such as low=42,43"
            )
        domains[name] = tuple(map(int, programs))
    return domains or {name: (program,) for name, program in DOMAINS.items()}


def remember(out: Path, settings: Settings, voices: Settings) -> None:
    """Write OUT/render.json; DataError where it holds other pieces, or a domain another voice.

    Aligned, domains may join later, from another soundfont too. Unpaired they may not: tunes are
    shared out among all domains at once, and one would be heard in two.
    """
    known = out / "render.json"
    old = json.loads(known.read_text()) if known.is_file() else {**settings, "domains": {}}
    joined = {**old["domains"], **voices}
    if settings["mode"] == "unpaired" and old["domains"] and old["domains"] != voices:
        raise DataError(f"{out} holds other domains, unpaired; choose a new folder")
    if {**old, "domains": joined} != {**settings, "domains": {**joined, **old["domains"]}}:
        raise DataError(f"{out} holds a rendering with other options; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(known, {**settings, "domains": joined})


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("out", type=Path, metavar="OUT", help="folder to make: OUT/<domain>/<piece>.flac")
    add("--scores", nargs="+", default=["music21"], help="music21, invented, or MIDI folders")
    add("--domains", nargs="+", metavar="NAME=PROGRAM[,…]", help="default: eight instruments")
    add("--mode", choices=("unpaired", "aligned"), default="unpaired")
    add("--split", choices=("train", "test", "all"), default="train")
    add("--pieces", type=int, help="at most so many pieces")
    add("--start", type=int, default=0, help="leave the first so many pieces out")
    add("--minutes", type=float, help="at most so many minutes a domain")
    add("--max-seconds", type=float, help="cut an excerpt of at most so many seconds")
    add("--min-seconds", type=float, default=8.0, help="leave shorter pieces out")
    add("--vary", action=argparse.BooleanOptionalAction, default=True, help="transpose pieces")
    add("--soundfont", type=Path, help="an .sf2 file; default: FluidR3, else pretty_midi's")
    add("--cache", type=Path, help="folder that keeps parsed scores")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=os.cpu_count() or 1)
    options = made.parse_args(arguments)
    for name in ("pieces", "minutes", "workers"):
        if getattr(options, name) is not None and getattr(options, name) <= 0:
            raise DataError(f"--{name} must be more than 0, not {getattr(options, name)}")
    if options.max_seconds is not None and options.max_seconds < 2:
        raise DataError(f"--max-seconds must be at least 2, not {options.max_seconds:g}")

    domains = parse_domains(options.domains)
    soundfont = find_soundfont(options.soundfont)
    open_synthesiser(soundfont)
    found: list[Score] = []
    for source in options.scores:
        made_up = source == "invented"
        found += (
            invented_scores() if made_up else load_scores(source, options.cache, options.workers)
        )
    pieces = plan(order(found, options.seed), domains, options)
    kept = ("scores", "mode", "split", "start", "max_seconds", "min_seconds", "vary", "seed")
    settings = {name: getattr(options, name) for name in kept}
    voices = {
        name: {"program": p[0] if len(p) == 1 else list(p), "soundfont": soundfont.name}
        for name, p in domains.items()
    }
    remember(options.out, settings, voices)
    if options.mode == "aligned":
        known = options.out / "notes.json"
        notes = json.loads(known.read_text()) if known.is_file() else {}
        write_json(known, notes | {piece.name: rows(piece.notes) for piece in pieces})
    render(pieces, options.out, soundfont, options.workers, options.mode)


if __name__ == "__main__":
    run(main)
