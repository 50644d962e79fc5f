"""The table: medians, and how many times faster than real time."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILES = "transfer, file to file, auto"
EMBED = "embed, file to array, auto"
RAVE = "RAVE v2, pair, fp32"

HEAD = """# Speed

`python -m bench` wrote this file. "× real time" is seconds of audio a second. Times are medians
over interleaved repeats; each number of threads ran in its own process. Compare rows of one run
only: processors differ, and so do days.
"""


def write_table(results: dict[int, dict[str, Any]], path: Path, load: str) -> str:
    """Write the results by number of threads as Markdown, and return it.

    `load` says how busy the processor was before: figures of a busy one are worth little.
    """
    counts = list(results)
    first = results[counts[0]]
    header = "| stage | audio, s |"
    rule = "|---|--:|"
    for count in counts:
        header += f" {count} thread{'s' * (count > 1)}, ms | × real time |"
        rule += "--:|--:|"
    lines = [header, rule]
    for name, row in first["stages"].items():
        line = f"| {name} | {row['audio']:.1f} |"
        for count in counts:
            seconds = results[count]["stages"][name]["seconds"]
            line += f" {1000 * seconds:.1f} | {row['audio'] / seconds:,.0f} |"
        lines.append(line)
    lines += ratios(results)
    notes = [
        f"- Machine: {machine()}.",
        f"- Software: Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "torchaudio", "numpy"))
        + ".",
        f"- Model: the default config, eight domains, {first['weights']} weights. A training step "
        "has 24 clips of 1.5 s, a vocoder's 8; both in bf16 where the processor has it.",
        f"- {first['repeats']} repeats, {datetime.date.today().isoformat()}; "
        f"load before the run: {load}.",
    ]
    text = "\n".join([HEAD, *lines, "", *notes]) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def ratios(results: dict[int, dict[str, Any]]) -> list[str]:
    """Return a table of how many times as fast as RAVE the program is, where RAVE was timed."""
    if not all(RAVE in result["stages"] for result in results.values()):
        return []
    counts = [f"{count} thread{'s' * (count > 1)}" for count in results]
    lines = [
        "",
        f"| times as fast as {RAVE} | {' | '.join(counts)} |",
        "|---|" + "--:|" * len(counts),
    ]
    for name in (FILES, EMBED):
        speeds = [
            {k: r["audio"] / r["seconds"] for k, r in v["stages"].items()} for v in results.values()
        ]
        lines.append(f"| {name} | " + " | ".join(f"{s[name] / s[RAVE]:.1f}" for s in speeds) + " |")
    return lines


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
