"""The tables: the bars, medians of every stage, and ratios to the rivals."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.bars import bar_rows, ratio
from bench.names import (
    CODECS,
    EMBED,
    FILES,
    GRIFFIN_LIM,
    PAIRS,
    RAVE,
    RAVE_SHORT,
    RAVE_TRAIN,
    STEPS,
    TRAIN,
    TRAIN_VOCODER,
)

HEAD = """# Speed

`python -m bench` wrote this file. "× real time" is seconds of audio a second. Times are medians
over interleaved repeats; each number of threads ran in its own process. Compare rows of one run
only: processors differ, and so do days.
"""


def write_table(results: dict[int, dict[str, Any]], path: Path, load: str) -> str:
    """Write the results by number of threads as Markdown, and return it.

    `load` says how busy the processor was before: figures of a busy one are worth little.
    """
    parts = [bar_rows(results), stage_rows(results), ratio_rows(results), notes(results, load)]
    text = "\n\n".join([HEAD.strip(), *("\n".join(part) for part in parts if part)]) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def stage_rows(results: dict[int, dict[str, Any]]) -> list[str]:
    """Return a table of every stage's time and speed."""
    counts = list(results)
    header, rule = "| stage | audio, s |", "|---|--:|"
    for count in counts:
        header += f" {count} thread{'s' * (count > 1)}, ms | × real time |"
        rule += "--:|--:|"
    lines = [header, rule]
    for name, row in results[counts[0]]["stages"].items():
        line = f"| {name} | {row['audio']:.1f} |"
        for count in counts:
            seconds = results[count]["stages"][name]["seconds"]
            times = row["audio"] / seconds
            line += f" {1000 * seconds:.1f} | {times:,.{0 if times >= 10 else 2}f} |"
        lines.append(line)
    return lines


def compared(best: str) -> list[tuple[str, str]]:
    """Return which stage is set beside which rival's; `best` is the precision that auto takes."""
    whole = [f"end to end, {p}" for p in dict.fromkeys((best, "fp32"))]
    vocode = [f"vocode, {p}" for p in dict.fromkeys((best, "fp32"))]
    pairs = [(ours, rival) for rival in (RAVE, RAVE_SHORT) for ours in (FILES, EMBED)]
    pairs += [(ours, rival) for rival in (RAVE_SHORT, *map(PAIRS.get, CODECS)) for ours in whole]  # type: ignore[misc]
    pairs += [(ours, rival) for rival in (PAIRS["Vocos"], GRIFFIN_LIM) for ours in vocode]
    return [*pairs, (TRAIN.format("memmap"), RAVE_TRAIN)]


def ratio_rows(results: dict[int, dict[str, Any]]) -> list[str]:
    """Return a table of how many times as fast as rivals the program is, of those timed."""
    counts = [f"{count} thread{'s' * (count > 1)}" for count in results]
    lines = [
        f"| times as fast as | it is | {' | '.join(counts)} |",
        "|---|---|" + "--:|" * len(counts),
    ]
    empty = len(lines)
    for ours, rival in compared(next(iter(results.values()))["best"]):
        values = [ratio(result, ours, rival) for result in results.values()]
        if None not in values:
            shown = " | ".join(f"{value:.1f}" for value in values)
            lines.append(f"| {rival} | {ours} | {shown} |")
    return lines[empty:] and lines


def notes(results: dict[int, dict[str, Any]], load: str) -> list[str]:
    """Return what the figures hang on."""
    first = next(iter(results.values()))
    fewest = min(row["repeats"] for r in results.values() for row in r["stages"].values())
    vae, vocoder = (held(first, name) for name in (TRAIN.format("memmap"), TRAIN_VOCODER))
    return [
        f"- Machine: {machine()}.",
        f"- Software: {software()}.",
        *(f"- Software of {name}: {found}." for name, found in first["rivals"].items()),
        f"- Model: the default config, eight domains, {first['weights']} weights; auto is "
        f"{first['best']}. Rivals have random weights of their published sizes.",
        "- Trainings read (FLAC files, or a store, of eight domains; the system keeps them in "
        f"memory), augment, step and log. A step has {vae} of audio for the VAE and {vocoder} for "
        "the vocoder, in bf16 where the processor has it. RAVE's has the batch of its training "
        "script, and gets noise: it does not read, augment or log.",
        f"- {first['repeats']} repeats"
        + (f" ({fewest} of the slowest stages)" if fewest < first["repeats"] else "")
        + f", {datetime.date.today().isoformat()}; load before the run: {load}.",
    ]


def software() -> str:
    """Return the versions of what computes."""
    found = [f"{name} {version(name)}" for name in ("torch", "numpy")]
    return f"Python {platform.python_version()}, {', '.join(found)}"


def held(result: dict[str, Any], training: str) -> str:
    """Return the audio in a step of a training."""
    return f"{result['stages'][training]['audio'] / STEPS:.1f} s"


def load_average() -> str:
    """Return the processes that wanted a processor over the last minute, on average."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def machine() -> str:
    """Return the processor's name, its number of threads and the memory."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        facts = dict(
            (part.strip() for part in line.split(":", 1))
            for line in info.read_text().splitlines()
            if ":" in line
        )
        name = facts.get("model name", name)
        flags = facts.get("flags", "").split()
        name += " with bf16" if "avx512_bf16" in flags else ""
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {size / 2**30:.0f} GiB of memory"
    return f"{name}, {os.cpu_count()} hardware threads{memory}, {platform.system()}"
