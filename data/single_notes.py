"""Renders single notes through a soundfont, in NSynth's layout, for `audiovae probe`.

    python data/single_notes.py OUT

writes OUT/audio/<instrument>-<pitch>-<velocity>.flac (44.1 kHz, mono, 16 bits) and, at its end,
OUT/examples.json with `instrument_str`, `instrument_family_str`, `pitch` and `velocity` of each, as
NSynth has them. By default it plays 16 General MIDI programs that trained no encoder of the
package, on the same three octaves, so that no register gives an instrument away; lengths take
turns. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from layout import DataError, run
from render import PEAK, Settings, parse_domains, write_json
from scores import Note
from synthesis import SAMPLE_RATE, find_soundfont, open_synthesiser

UNHEARD = (
    "electric-grand=2 vibraphone=11 rock-organ=18 accordion=21 muted-guitar=28 fretless-bass=35 "
    "cello=42 pizzicato=45 tuba=58 baritone-sax=67 oboe=68 bottle=76 shakuhachi=77 shamisen=106 "
    "kalimba=108 bagpipe=109"
)
FAMILIES = (
    *("piano", "chromatic-percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth-lead", "synth-pad", "synth-effect", "ethnic", "percussive"),
    "sound-effect",
)
"""Of General MIDI: eight programs each."""
START, RELEASE = 0.05, 0.4
"""Seconds of silence before a note, and of what follows its end."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; DataError on wrong input."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("out", type=Path, metavar="OUT", help="folder to make")
    add("--domains", nargs="+", metavar="NAME=PROGRAM", default=UNHEARD.split())
    add("--pitches", nargs=2, type=int, default=(48, 83), metavar=("LOW", "HIGH"))
    add("--velocities", nargs="+", type=int, default=(50, 100))
    add("--lengths", nargs="+", type=float, default=(0.4, 1.0), help="seconds, in turn")
    add("--soundfont", type=Path, help="an .sf2 file; default: FluidR3, else pretty_midi's")
    options = made.parse_args(arguments)
    low, high = options.pitches
    if not 0 <= low <= high < 128 or not all(1 <= v < 128 for v in options.velocities):
        raise DataError("--pitches are two of 0 to 127, LOW first; --velocities are 1 to 127")
    if not all(0.05 <= length <= 60 for length in options.lengths):
        raise DataError("--lengths are 0.05 to 60 seconds")
    soundfont = find_soundfont(options.soundfont)
    synthesiser = open_synthesiser(soundfont)
    _remember(options.out, vars(options) | {"out": "", "soundfont": soundfont.name})
    (options.out / "audio").mkdir(parents=True, exist_ok=True)
    table = {}
    for name, (program, *_) in parse_domains(options.domains).items():
        for pitch in range(low, high + 1):
            for number, velocity in enumerate(options.velocities):
                length = options.lengths[(pitch + number) % len(options.lengths)]
                key = f"{name}-{pitch:03d}-{velocity:03d}"
                table[key] = {
                    **{"instrument_str": name, "instrument_family_str": FAMILIES[program // 8]},
                    **{"pitch": pitch, "velocity": velocity, "sample_rate": SAMPLE_RATE},
                    **{"program": program, "soundfont": soundfont.name, "length": length},
                }
                target = options.out / "audio" / f"{key}.flac"
                if target.exists():
                    continue
                note = Note(START, length, pitch, velocity, 0)
                samples = round((START + length + RELEASE) * SAMPLE_RATE)
                audio = synthesiser.render([note], program, samples)
                audio = audio * (PEAK / max(float(np.abs(audio).max()), 1e-6))
                partial = target.with_name(f".{target.name}.partial")
                soundfile.write(partial, audio, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
                partial.replace(target)
        print(f"{name}: {len(table)} notes in all", flush=True)
    write_json(options.out / "examples.json", table)


def _remember(out: Path, options: Settings) -> None:
    """Write OUT/render.json; DataError where it has other options."""
    known = out / "render.json"
    settings = json.loads(json.dumps(options))
    if known.is_file() and json.loads(known.read_text()) != settings:
        raise DataError(f"{out} holds notes of other options; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(known, settings)


if __name__ == "__main__":
    run(main)
