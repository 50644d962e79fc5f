"""Renders scores into domains through a soundfont.

    python data/render.py OUT --scores music21 --mode aligned --pieces 100 --max-seconds 40

writes OUT/<domain>/<piece>.flac (44.1 kHz, mono, 16 bits). `unpaired`: each composition lies in
exactly one domain, minutes balanced. `aligned`: each piece in every domain with the same notes,
timing and velocities, and OUT/groups.json says which files belong together. Everything follows
from the options and --seed; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from invented import invented_scores
from layout import DataError, run, safe_name
from scores import Note, Score, load_scores, order

DOMAINS = {
    **{"piano": 0, "harpsichord": 6, "organ": 19, "guitar": 24},
    **{"strings": 48, "trumpet": 56, "clarinet": 71, "flute": 73},
}
TAIL = 1.0  # seconds that ring on after the last note
PEAK = 10 ** (-3 / 20)  # every file is scaled to −3 dB of full scale
LOWEST, HIGHEST = 33, 98  # pitches a varied piece stays within


@dataclass(frozen=True)
class Piece:
    """A performance: notes in seconds, and the domains (name, program) that play it."""

    name: str
    notes: tuple[Note, ...]
    seconds: float
    domains: tuple[tuple[str, int], ...]


def perform(
    score: Score, seed: int, max_seconds: float | None = None, vary: bool = True
) -> tuple[Note, ...]:
    """A humanised performance of a score: notes in seconds from 0, sorted by start.

    Tempo, excerpt, phrasing, touch and velocities follow from (seed, the score's name) alone, so
    the piece is the same in every domain. A pitch sounds once at a time. `max_seconds` cuts an
    excerpt that starts at a random note and holds, with `TAIL`, no more than that; `vary` also
    transposes by a few semitones and, when every note fits, an octave.
    """
    draw = random.Random(f"{seed} {score.name}")
    tempo = score.tempo if score.tempo and 40 <= score.tempo <= 200 else draw.uniform(70, 120)
    second = tempo / 60 * draw.uniform(0.92, 1.08)  # quarters a second
    shift = transposition([n.pitch for n in score.notes], draw) if vary else 0
    touch = draw.choice([1.0, 0.97, 0.92, 0.85, 0.6])
    level, swell = draw.uniform(62, 100), draw.uniform(4, 14)
    period, phase = draw.uniform(4, 12), draw.uniform(0, 2 * math.pi)
    drift, top = draw.uniform(0, 0.04), max(n.pitch for n in score.notes)
    loudest = sum(n.velocity for n in score.notes) / len(score.notes)

    def when(quarter: float) -> float:
        wave = math.sin(2 * math.pi * quarter / 16 + phase) - math.sin(phase)
        return (quarter + drift * 16 / (2 * math.pi) * wave) / second

    played = []
    for note in score.notes:
        start = when(note.start)
        length = (when(note.start + note.length) - start) * touch
        curve = swell * math.sin(2 * math.pi * start / period + phase)
        velocity = level + curve + (note.velocity - loudest) + draw.gauss(0, 4)
        velocity += 6 if top - note.pitch < 5 else 0
        start += min(max(draw.gauss(0, 0.008), -0.024), 0.024)
        played.append((start, length, note.pitch + shift, velocity, note.part))
    notes = [
        Note(s, max(d, 0.04), p, round(min(max(v, 24), 124)), part) for s, d, p, v, part in played
    ]
    notes = excerpt(sorted(notes), max_seconds, draw) if max_seconds else sorted(notes)
    origin = min(n.start for n in notes) - 0.05  # a breath before the first note
    moved = (n._replace(start=round(n.start - origin, 5), length=round(n.length, 5)) for n in notes)
    return tuple(single_voice_a_pitch(list(moved)))


def transposition(pitches: Sequence[int], draw: random.Random) -> int:
    """Semitones to move a piece by: up to five, often with an octave, where every note fits."""
    semitones = draw.randint(-5, 5)
    octave = draw.choice([-12, 0, 0, 12])
    for shift in (semitones + octave, semitones, 0):
        if min(pitches) + shift >= LOWEST and max(pitches) + shift <= HIGHEST:
            return shift
    return 0


def excerpt(notes: list[Note], max_seconds: float, draw: random.Random) -> list[Note]:
    """The notes of a window of `max_seconds` less `TAIL` that starts at a random note's onset."""
    room = max_seconds - TAIL - 0.1
    last = notes[-1].start
    starts = [n.start for n in notes if n.start <= max(last - room, notes[0].start)]
    begin = draw.choice(starts)
    return [
        n._replace(length=min(n.length, begin + room - n.start))
        for n in notes
        if begin <= n.start < begin + room - 0.05
    ]


def single_voice_a_pitch(notes: list[Note]) -> list[Note]:
    """One note at a time on each pitch: unisons become one, a repeat ends the note before it."""
    by_pitch: dict[int, list[Note]] = {}
    for note in sorted(notes):
        voice = by_pitch.setdefault(note.pitch, [])
        if voice and note.start - voice[-1].start < 0.06:
            if note.length > voice[-1].length:
                voice[-1] = voice[-1]._replace(length=note.length)
            continue
        if voice and voice[-1].start + voice[-1].length > note.start - 0.01:
            voice[-1] = voice[-1]._replace(length=round(note.start - 0.01 - voice[-1].start, 5))
        voice.append(note)
    return sorted(n for voice in by_pitch.values() for n in voice)


def seconds(notes: Sequence[Note]) -> float:
    """Length of a performance with its tail."""
    return max(n.start + n.length for n in notes) + TAIL


def plan(
    scores: Sequence[Score], domains: dict[str, int], options: argparse.Namespace
) -> list[Piece]:
    """The pieces to render, in order, with the domains each is for.

    Unpaired: each tune goes, with all its settings, to the domain that has the least so far.
    """
    everyone = tuple(domains.items())
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
        chosen = everyone
        if options.mode == "unpaired":
            home = homes.setdefault(score.tune, min(filled, key=lambda d: (filled[d], d)))
            chosen = ((home, domains[home]),)
        if all(filled[d] >= cap for d, _ in chosen):
            continue
        for domain, _ in chosen:
            filled[domain] += length
        pieces.append(Piece(score.name, notes, length, chosen))
    if not pieces:
        raise DataError(
            f"no piece is left of {len(scores)} scores; expected pieces of at least "
            f"{options.min_seconds:g} s in split '{options.split}', lower --min-seconds or --start"
        )
    return pieces


_synthesiser = None


def _start(soundfont: Path) -> None:
    global _synthesiser  # one soundfont a process: loading takes longer than a piece
    from synthesis import open_synthesiser

    _synthesiser = open_synthesiser(soundfont)


def _render(job: tuple[Piece, Path]) -> Piece:
    import numpy as np
    import soundfile
    from synthesis import SAMPLE_RATE

    piece, out = job
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
    return piece


def render(pieces: Sequence[Piece], out: Path, soundfont: Path, workers: int, mode: str) -> None:
    """Renders pieces in order with `workers` processes; groups.json grows with them."""
    for domain in {d for p in pieces for d, _ in p.domains}:
        (out / domain).mkdir(parents=True, exist_ok=True)
    groups: dict[str, str] = {}
    jobs, began, audio = [(p, out) for p in pieces], time.monotonic(), 0.0
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(jobs)), _start, (soundfont,)) as pool:
        for i, piece in enumerate(pool.imap(_render, jobs)):
            audio += piece.seconds * len(piece.domains)
            groups |= {f"{domain}/{piece.name}.flac": piece.name for domain, _ in piece.domains}
            if i % 20 == 19 or i + 1 == len(jobs):
                if mode == "aligned":
                    _write_json(out / "groups.json", groups)
                speed = audio / (time.monotonic() - began)
                print(f"{i + 1}/{len(jobs)} pieces, {audio / 3600:.2f} h, {speed:.0f}x", flush=True)


def _write_json(path: Path, content: object) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)


def parse_domains(items: Sequence[str] | None) -> dict[str, int]:
    """{"piano": 0, …} of ["piano=0", …]; the eight default domains when nothing is given."""
    domains = {}
    for item in items or ():
        name, _, program = item.partition("=")
        if not program and name in DOMAINS:
            program = str(DOMAINS[name])
        if safe_name(name) != name or not program.isdecimal() or int(program) > 127:
            raise DataError(
                f"--domains {item} is no domain; expected name=program with a General MIDI program "
                "from 0 to 127, such as cello=42"
            )
        domains[name] = int(program)
    return domains or dict(DOMAINS)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("out", type=Path, metavar="OUT", help="folder to make: OUT/<domain>/<piece>.flac")
    add("--scores", nargs="+", default=["music21"], help="music21, invented, or MIDI folders")
    add("--domains", nargs="+", metavar="NAME=PROGRAM", help="default: eight instruments")
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

    from synthesis import find_soundfont, open_synthesiser

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
    settings = {"pieces": [p.name for p in pieces], "domains": domains, "mode": options.mode}
    settings |= {"seed": options.seed, "max_seconds": options.max_seconds, "vary": options.vary}
    settings |= {"soundfont": soundfont.name, "split": options.split}
    known = options.out / "render.json"
    if known.is_file() and json.loads(known.read_text()) != settings:
        raise DataError(f"{options.out} holds a rendering with other options; choose a new folder")
    options.out.mkdir(parents=True, exist_ok=True)
    _write_json(known, settings)
    render(pieces, options.out, soundfont, options.workers, options.mode)


if __name__ == "__main__":
    run(main)
