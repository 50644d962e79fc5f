"""The load test of the web page: that it sees what is wrong, and in short that nothing is."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from commands import ROOT

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from audiovae.apps.web.settings import WebSettings
from bench.web_ledger import VISIT, Answer, Ledger
from bench.web_load import VISITS, Load, run
from bench.web_report import judge, judge_memory, table
from bench.web_server import Look, Server

HEADERS = {"x-content-type-options": "nosniff"}


def looks(*memory: float, every: float = 30.0, **changes: float) -> list[Look]:
    kept = {"threads": 4, "files": 20, "megabytes": 1.0, "uploads": 0, "sounds": 1} | changes
    return [Look(every * n, at, **kept) for n, at in enumerate(memory)]  # type: ignore[arg-type]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server that has ended well."""
    made = Server(tmp_path, looks=looks(800, 900, 900, 910, 900), code=143)
    made.scratch = tmp_path / "tmp"
    made.scratch.mkdir()
    (tmp_path / "err").write_text("Note: of a library\n")
    return made


@pytest.fixture
def ledger() -> Ledger:
    """What a good hour brings."""
    made = Ledger("/secret")
    made.jobs.append({"spent": 1.0})
    made.places += [1, 16]
    made.admitted["a"] += 100
    return made


def broken(ledger: Ledger, server: Server) -> list[str]:
    return judge(ledger, server, WebSettings(), 60.0)


def test_nothing_is_found_where_all_is_well(ledger: Ledger, server: Server) -> None:
    good = Answer(200, HEADERS, b"well")
    ledger.check("good", good, (200,))
    refused = Answer(404, HEADERS, b'{"error": "there is no such file"}')
    ledger.check("bad", refused, (404,))
    ledger.check("busy", Answer(503, HEADERS | {"retry-after": "2"}, refused.body), (200,))
    ledger.check("cut", Answer(0), (413, 0))
    assert broken(ledger, server) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(500, HEADERS, b'{"error": "x"}'), "status 500"),
        (Answer(0), "status 0"),
        (Answer(200, {}, b"well"), "without its headers"),
        (Answer(503, HEADERS, b'{"error": "x"}'), "without Retry-After"),
        (Answer(404, HEADERS, b"Not Found"), "one line"),
        (Answer(404, HEADERS, b'{"error": "two\\nlines"}'), "one line"),
        (Answer(200, HEADERS, b"Traceback (most recent call last):"), "told too much"),
        (Answer(200, HEADERS, b"in /secret/audiovae-web-1"), "told too much"),
    ],
)
def test_a_wrong_answer_is_found(answer: Answer, said: str, ledger: Ledger, server: Server) -> None:
    ledger.check("visit", answer, (200, 404))
    (found,) = broken(ledger, server)
    assert said in found and found.startswith("visit: ")


def test_limits_that_do_not_hold_are_found(ledger: Ledger, server: Server) -> None:
    ledger.admitted["a"] += 22
    ledger.places.append(17)
    ledger.jobs.append({"spent": 60.0})
    server.looks += looks(900, megabytes=2001, uploads=26, files=2000)
    (server.scratch / "half.wav").write_bytes(b"")
    (server.folder / "err").write_text("Traceback (most recent call last):\n")
    server.code = -9
    found = Counter(what.split(":")[0] for what in broken(ledger, server))
    left = "left in the temporary folder"
    kinds = ["rate", "queue", "concurrency", "room", "uploads", "open files", "log", left]
    assert found == Counter([*kinds, "the server ended with status -9"])
    ledger.jobs.clear()
    assert "no job was done" in broken(ledger, server)


def test_memory_that_grows_is_found() -> None:
    assert judge_memory(looks(800, 1200, 1250, 1240, 1250, 1230, 1260)) == []
    assert "at last" in judge_memory(looks(800, 900, 900, 1000, 1050, 1100, 1150, 1200))[0]
    assert "at most" in judge_memory(looks(800, 1400))[0]
    assert judge_memory([]) == []


def test_the_page_has_the_figures_of_the_run() -> None:
    found = json.loads((ROOT / "bench" / "web_load.json").read_text("utf-8"))
    assert found["broken"] == [] and found["clients"] >= 50 and found["minutes"] >= 5
    assert table(found) in (ROOT / "docs" / "web.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs an address for each client")
def test_what_the_page_promises_holds_under_load() -> None:
    settings = WebSettings(max_megabytes=2, max_seconds=20, storage_megabytes=80)
    found = run(Load(clients=50, seconds=6, settings=settings, slow_seconds=3))
    print(table(found))
    assert found["broken"] == []
    counts = found["statuses by visit"]
    assert all(counts[visit.__name__][VISIT] for visit in VISITS)
