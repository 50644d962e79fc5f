"""What a load test has shown: figures, a table of them, and promises that were broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from audiovae.apps.web.connections import MOST
from audiovae.apps.web.settings import WebSettings
from bench.web_ledger import VISIT, Ledger
from bench.web_server import Look, Server

KINDS = {
    "page": "the page",
    "upload": "an upload: sent, decoded, drawn",
    "queue wait": "the wait in the queue",
    "job": "a job",
    "download": "a file of what was made",
    "refusal": "a refusal",
}
"""Kinds of requests, and what the table calls them."""
OPENING = 17
"""Uploads that are decoded, or wait for it, beside those that come in."""
MINUTE = 60.0
"""Seconds in which what is set up once may take its memory."""
GROWTH = 1.1
"""Most memory of the last third after it, as a share of the first third."""
GROWN = 512.0
"""MiB that may come to what an idle server has."""
FILES = 3 * MOST + 100
"""Most open files: twice the connections, one for each that is served, and those of libraries."""


def summary(ledger: Ledger, server: Server, groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the figures; `groups` are the kinds of visits that mean well, go away and mean ill."""
    statuses: Counter[str] = Counter()
    for counts in ledger.counts.values():
        statuses.update({key: n for key, n in counts.items() if key != VISIT})
    visits = [sum(ledger.counts[name][VISIT] for name in group) for group in groups]
    return {
        "visits": dict(zip(("good", "leaving", "hostile"), visits, strict=True)),
        "statuses": dict(sorted(statuses.items())),
        "jobs": len(ledger.jobs),
        "seconds": {kind: spread(ledger.seconds[kind]) for kind in KINDS},
        "server": taken(server),
        "statuses by visit": {k: dict(sorted(v.items())) for k, v in sorted(ledger.counts.items())},
        "log": dict(Counter(server.log).most_common(20)),
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return number, median, 95th percentile and maximum."""
    if not seconds:
        return {"count": 0}
    median, high, most = np.percentile(seconds, (50, 95, 100)).round(4).tolist()
    return {"count": len(seconds), "p50": median, "p95": high, "max": most}


def taken(server: Server) -> dict[str, Any]:
    """Return what the server took: MiB of memory over time, and the most of everything else."""
    looks = server.looks
    if not looks:
        return {}
    minutes: dict[int, float] = {}
    for look in looks:
        minute = int(look.seconds // MINUTE)
        minutes[minute] = max(look.memory, minutes.get(minute, 0.0))
    return {
        "memory, first": round(looks[0].memory),
        "memory, most of each minute": [round(most) for most in minutes.values()],
        "memory, last": round(looks[-1].memory),
        "threads": max(look.threads for look in looks),
        "open files": max(look.files for look in looks),
        "megabytes of sounds": round(max(look.megabytes for look in looks), 1),
        "sounds": max(look.sounds for look in looks),
    }


def judge(ledger: Ledger, server: Server, settings: WebSettings, elapsed: float) -> list[str]:
    """Return the promises that were broken, in words."""
    broken = [f"{what} ({count} times)" for what, count in ledger.broken.items()]
    most = settings.per_minute * (1 + elapsed / 60) + 1
    for client, count in ledger.admitted.items():
        if count > most:
            broken.append(f"rate: {count} requests of {client} in {elapsed:.0f} s")
    if max(ledger.places, default=0) > settings.waiting:
        broken.append(f"queue: {max(ledger.places)} jobs waited")
    spent = sum(job["spent"] for job in ledger.jobs)
    if spent > settings.concurrency * elapsed:
        broken.append(f"concurrency: jobs took {spent:.0f} s in {elapsed:.0f} s")
    if not ledger.jobs:
        broken.append("no job was done")
    return broken + judge_server(server, settings)


def judge_server(server: Server, settings: WebSettings) -> list[str]:
    """Return what the server took too much of, said too much of, or left."""
    broken = []
    for look in server.looks:
        if look.megabytes > settings.storage_megabytes:
            broken.append(f"room: {look.megabytes:.0f} MB after {look.seconds:.0f} s")
        if look.uploads > settings.uploads + OPENING:
            broken.append(f"uploads: {look.uploads} after {look.seconds:.0f} s")
        if look.files > FILES:
            broken.append(f"open files: {look.files} after {look.seconds:.0f} s")
    broken += judge_memory(server.looks)
    broken += [f"log: {line}" for line in server.log if "Traceback" in line]
    broken += [f"left in the temporary folder: {path}" for path in server.left()]
    # Ended by the signal, whoever says so: the shell's number or Python's.
    if server.code not in (143, -15):
        broken.append(f"the server ended with status {server.code}")
    return broken


def judge_memory(looks: Sequence[Look]) -> list[str]:
    """Return what is wrong with the memory: it is large, or grows on after the first minute."""
    broken = []
    most = max((look.memory for look in looks), default=0.0)
    if looks and most > looks[0].memory + GROWN:
        broken.append(f"memory: {looks[0].memory:.0f} MiB at first, at most {most:.0f}")
    later = [look.memory for look in looks if look.seconds > MINUTE]
    if len(later) >= 3:
        first, _, last = (part.max() for part in np.array_split(later, 3))
        if last > GROWTH * first:
            broken.append(f"memory: {first:.0f} MiB after a minute, {last:.0f} at last")
    return broken


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| seconds of | number | median | 95 % are below | longest |",
        "|---|--:|--:|--:|--:|",
    ]
    for kind, words in KINDS.items():
        row = found["seconds"][kind]
        if row["count"]:
            shown = " | ".join(f"{row[key]:.3f}" for key in ("p50", "p95", "max"))
            lines.append(f"| {words} | {row['count']:,} | {shown} |")
    visits, statuses, server = found["visits"], found["statuses"], found["server"]
    busy = f"{statuses.get('503', 0):,} answers 503 and {statuses.get('429', 0):,} 429"
    wrong = sum(n for status, n in statuses.items() if status in ("500", "502", "504", "507"))
    lines += [
        "",
        f"- {found['clients']} clients, {found['minutes']:.2g} minutes: {visits['good']:,} visits "
        f"that mean well, {visits['leaving']:,} that break off, {visits['hostile']:,} hostile; "
        f"{found['jobs']:,} jobs.",
        f"- {busy} since it was busy, {wrong} other errors of the server's, "
        f"{len(found['broken'])} promises broken.",
    ]
    if server:
        shown = ", ".join(f"{most:,}" for most in server["memory, most of each minute"])
        lines.append(
            f"- Memory in MiB: {server['memory, first']:,} at first, at most {shown} in "
            f"each minute, {server['memory, last']:,} at last. At most {server['threads']} "
            f"threads, {server['open files']} open files, {server['sounds']} sounds of "
            f"{server['megabytes of sounds']:g} MB."
        )
    lines += [
        f"- A good visit afterwards took {found['seconds of a good visit afterwards']:.1f} s; told "
        f"to end, with a job, an upload and a download half done, the server took "
        f"{found['seconds to end']:.1f} s and left no file.",
        f"- Machine: {found['machine']}; one thread for the server. {found['software']}, "
        f"{found['date']}; load before: {found['load before']}.",
    ]
    return "\n".join(lines)
