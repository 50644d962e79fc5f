"""The web page under load: `python -m bench.web_load --clients 50 --minutes 5`.

Clients of all kinds visit `audiovae web` on this machine: some listen, some go away in the middle,
some lie, trickle and flood. What the page promises is checked at every answer and at the end; the
figures are printed, and written as JSON. Ends with status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audiovae.apps.web.settings import WebSettings
from bench import web_hostile, web_visits
from bench.table import load_average, machine, software
from bench.web_http import Client
from bench.web_ledger import Ledger
from bench.web_report import judge, summary, table
from bench.web_server import Server, make_bad_files
from bench.web_visits import Things

HERE = Path(__file__).parent
THINK = 2.0
"""Seconds between visits of a client, on average."""
TOLD = (
    "max_megabytes", "max_seconds", "concurrency", "waiting", "job_seconds", "per_minute",
    "keep_minutes", "storage_megabytes",
)  # fmt: skip
"""Settings that are options of the verb."""
Visit = Callable[[Client, Things], None]
GOOD: dict[Visit, float] = {
    web_visits.listen: 44,
    web_visits.embed: 6,
    web_visits.phrase: 6,
}
LEAVING: dict[Visit, float] = {
    web_visits.leaves_an_upload: 4,
    web_visits.leaves_a_job: 4,
    web_visits.leaves_a_download: 2,
    web_visits.removes_what_it_fetches: 3,
}
HOSTILE: dict[Visit, float] = {
    web_visits.never_reads: 1,
    web_hostile.brings_a_bad_file: 14,
    web_hostile.brings_too_much: 2,
    web_hostile.brings_too_long_a_sound: 2,
    web_hostile.lies_about_its_length: 3,
    web_hostile.sends_tiny_chunks: 2,
    web_hostile.wishes_nonsense: 4,
    web_hostile.asks_for_what_is_not_there: 4,
    web_hostile.comes_from_another_site: 3,
    web_hostile.speaks_no_http: 3,
    web_hostile.spoils_its_body: 2,
    web_hostile.trickles_a_head: 1,
    web_hostile.trickles_an_upload: 1,
    web_hostile.trickles_a_wish: 1,
    web_hostile.trickles_after_the_answer: 1,
    web_hostile.floods: 0.5,
    web_hostile.comes_in_a_crowd: 0.3,
}
VISITS = GOOD | LEAVING | HOSTILE
"""Kinds of visits, and how often they are made."""


@dataclass(frozen=True)
class Load:
    """Who comes, for how long, and to what.

    Args:
        clients: at a time.
        seconds: for which they come.
        settings: of the server.
        slow_seconds: for which slow clients go on.
    """

    clients: int = 50
    seconds: float = 300.0
    settings: WebSettings = field(default_factory=WebSettings)
    slow_seconds: float = 20.0

    @property
    def words(self) -> list[str]:
        """The settings as options."""
        changed = {name: getattr(self.settings, name) for name in TOLD}
        return [f"--{name.replace('_', '-')}={value}" for name, value in changed.items()]


def main() -> None:
    """Parse, run, write, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.web_load", description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "web_load.json")
    args = parser.parse_args()
    found = run(Load(args.clients, 60 * args.minutes))
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    print(table(found))
    sys.exit(1 if found["broken"] else 0)


def run(load: Load) -> dict[str, Any]:
    """Let them come; return figures, and `broken`, the promises that were."""
    facts: dict[str, Any] = {
        "clients": load.clients,
        "minutes": load.seconds / 60,
        "settings": asdict(load.settings),
        "machine": machine(),
        "software": software(),
        "date": datetime.date.today().isoformat(),
        "load before": load_average(),
    }
    with tempfile.TemporaryDirectory(prefix="audiovae-load-") as folder:
        bad = make_bad_files(Path(folder) / "files")
        with Server(Path(folder), load.words) as server:
            place, over = server.ready(), threading.Event()
            ledger = Ledger(str(server.scratch))
            things = Things(domains_of(place), load.settings, bad, load.slow_seconds)
            clients = [Client(n, place, ledger, over) for n in range(load.clients + 1)]
            server.watch()
            began = time.monotonic()
            visited(clients[1:], things, load.seconds)
            elapsed = time.monotonic() - began
            facts["seconds of a good visit afterwards"] = last_visit(clients[0], things)
            with half_done(clients[0], things):
                facts["seconds to end"] = round(server.end(), 2)
            facts |= summary(ledger, server, list(map(names, (GOOD, LEAVING, HOSTILE))))
            return facts | {"broken": judge(ledger, server, load.settings, elapsed)}


def names(visits: dict[Visit, float]) -> list[str]:
    """Return what kinds of visits are called."""
    return [visit.__name__ for visit in visits]


def domains_of(place: tuple[str, int]) -> list[str]:
    """Return what the page offers."""
    ledger = Ledger()
    client = Client(0, place, ledger, threading.Event())
    page = client.ask(client.connect(), "GET", "/").body.decode()
    client.leave()
    return re.findall('name="to" value="([^"]+)"', page)


def visited(clients: list[Client], things: Things, seconds: float) -> None:
    """Let clients come for some seconds, all at a time."""
    threads = [threading.Thread(target=come, args=(client, things)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    clients[0].over.set()
    for thread in threads:
        thread.join()
    clients[0].over.clear()


def come(client: Client, things: Things) -> None:
    """Make visits of all kinds, one after another: the first by the client's number."""
    kinds = list(VISITS)
    visit = kinds[client.number % len(kinds)]
    client.pause(client.random.uniform(0, THINK))
    while not client.over.is_set():
        client.pay(visit.__name__, visit, things)
        client.pause(client.random.expovariate(1 / THINK))
        (visit,) = client.random.choices(kinds, list(VISITS.values()))


def last_visit(client: Client, things: Things) -> float:
    """Make a good visit once all have gone; return the seconds that it took."""
    done = len(client.ledger.jobs)
    began = time.monotonic()
    client.pay("afterwards", web_visits.listen, things)
    if len(client.ledger.jobs) == done:
        client.ledger.wrong(client.doing, "no job was done")
    return round(time.monotonic() - began, 3)


@contextlib.contextmanager
def half_done(client: Client, things: Things) -> Iterator[None]:
    """Hold half an upload, a download that isn't read, and a job."""
    client.visit = "half done"
    name = web_visits.bring(client, client.connect(), things.long)
    client.leave()
    wish = json.dumps({"to": list(things.domains)}).encode()
    firsts = (
        client.head("POST", "/sounds", "Content-Length: 1000") + b"RIFF",
        client.head("GET", f"/sounds/{name}/0/source.wav"),
        client.head("POST", f"/sounds/{name}/play", f"Content-Length: {len(wish)}") + wish,
    )
    with contextlib.ExitStack() as held:
        for first in firsts:
            held.enter_context(client.raw(first))
        time.sleep(0.5)
        yield


if __name__ == "__main__":
    main()
