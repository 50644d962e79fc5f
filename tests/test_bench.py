"""The benchmark's tables say what was measured, and nothing else. No test here takes a time."""

from pathlib import Path
from typing import Any

import pytest

from bench.bars import BARS, bar_rows
from bench.names import (
    BUFFERS,
    CODECS,
    EMBED,
    FILES,
    PAIRS,
    RAVE,
    RAVE_TRAIN,
    READERS,
    TRAIN,
    TRAIN_VOCODER,
)
from bench.scaling import draw, line, table
from bench.serving import between, serve
from bench.stages import LONG, rests
from bench.table import write_table
from bench.training import STEPS, Running


def result(rivals: bool, share: float = 0.01) -> dict[str, Any]:
    """A run in which everything takes a second, and rivals sixteen."""
    ours = [FILES, EMBED, TRAIN_VOCODER, *map(TRAIN.format, READERS)]
    ours += [f"{stage}, {p}" for stage in ("end to end", "vocode") for p in ("fp32", "int8")]
    rows = {name: {"seconds": 1.0, "audio": 30.0, "repeats": 9} for name in ours}
    if rivals:
        named = (RAVE, RAVE_TRAIN, *PAIRS.values())
        rows |= {name: {"seconds": 16.0, "audio": 30.0, "repeats": 3} for name in named}
    shares = dict.fromkeys(READERS, share)
    about = {"weights": "random", "repeats": 9, "best": "int8", "rivals": {}}
    return {"stages": rows, "shares": shares, **about}


def test_a_bar_is_met_missed_or_not_measured() -> None:
    rows = bar_rows({1: result(True), 2: result(True, share=0.06)})
    assert len(rows) == 2 + len(BARS)
    by_text = {row.split(" | ")[0].removeprefix("| "): row for row in rows}
    trained = next(row for text, row in by_text.items() if "phase 1" in text)
    assert trained.endswith("| ≥ 10.0 × | 16.0 × | 16.0 × | yes |")
    share = next(row for text, row in by_text.items() if "loader's share" in text)
    assert share.endswith("| ≤ 5.0% | 1.0% | 6.0% | **no** |")
    embedded = next(row for text, row in by_text.items() if "embedding" in text)
    assert embedded.endswith("**no**, on 1 and 2 threads |")
    half = next(row for row in bar_rows({2: result(True)}) if "embedding" in row)
    assert half.endswith("**no**, on 2 threads |")
    alone = bar_rows({2: result(False)})
    assert sum("| not measured on " in row for row in alone) == len(READERS) + len(BUFFERS) + 3
    assert not any("**no**" in row for row in alone)


def test_ratios_are_of_rivals_that_were_timed(tmp_path: Path) -> None:
    text = write_table({2: result(True)}, tmp_path / "bench.md", "0.1")
    assert f"| {PAIRS['DAC']} | end to end, int8 | 16.0 |" in text
    assert all(PAIRS[name] in text for name in CODECS)
    assert (
        "(3 of the slowest stages)" in text and f"{30 / STEPS:.1f} s of audio for the VAE" in text
    )
    assert text == (tmp_path / "bench.md").read_text("utf-8")
    alone = write_table({2: result(False)}, tmp_path / "bench.md", "0.1")
    assert "times as fast as" not in alone and "EnCodec" not in alone


def test_a_slow_stage_rests() -> None:
    assert not rests([LONG, LONG]) and not rests([1.0] * 20)
    assert rests([LONG / 3] * 4)


def test_the_loaders_share_is_of_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("bench.training.time.perf_counter", lambda: clock[0])

    class Loader:
        def batch(self, step: int) -> int:
            clock[0] += 0.1 if step >= STEPS else 1.0
            return step

    class Task:
        audio_a_step = 2.0

        def __init__(self) -> None:
            self.loader, self.seen = Loader(), []

        def begin(self, steps: int) -> None:
            self.seen.clear()

        def step(self, step: int) -> dict[str, float]:
            self.seen.append(self.loader.batch(step))
            clock[0] += 0.9
            return {"loss": 1.0}

    task = Task()
    running = Running(task, task.loader, tmp_path / "run")  # type: ignore[arg-type]
    for _ in range(3):
        running()
    assert task.seen == list(range(3 * STEPS)) and running.audio == 2.0 * STEPS
    assert running.share(warm=1) == pytest.approx(0.1)
    running.log.close()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()) == 3


def test_the_line_of_a_cost_is_its_slope(tmp_path: Path) -> None:
    sizes = (10, 60, 300)
    points = {s: {"seconds": 0.5 + 0.02 * s, "held": 100.0, "peak": 400.0} for s in sizes}
    assert line(points, "seconds") == pytest.approx((0.02, 0.5, 0.0))
    assert line(points, "peak")[0] == pytest.approx(0, abs=1e-9)
    text = table({"files": points}, 2, "0.1")
    assert "| 300 | 6.500 | 21.7 | 100 | 400 | 300 |" in text
    assert "costs 20.00 ms and none 500 ms; no point is further from it than 0.0%" in text
    draw({"files": points}, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 1000


def test_a_queue_of_one_at_a_time_waits_as_theory_says() -> None:
    """Of a queue with random arrivals and equal work the mean wait is known (Khinchin, 1932)."""
    load = 0.7
    seen = serve({1: 1.0}, load, most=1, requests=200_000)
    assert seen.busy == pytest.approx(load, rel=0.02) and seen.rows == 1
    assert seen.oldest == pytest.approx(load / (2 * (1 - load)), rel=0.04)
    assert 1 < seen.median < seen.late


def test_batches_serve_more_where_rows_together_cost_less() -> None:
    costs = {1: 1.0, 2: 1.2, 8: 2.4}
    alone, together = (serve(costs, 0.9, most=most, requests=20_000) for most in (1, 8))
    assert together.late < alone.late and together.busy < alone.busy and together.rows > 1.1
    flooded = serve(costs, 50.0, most=8, requests=1000)
    assert 7 < flooded.rows <= 8 and flooded.busy > 0.99


@pytest.mark.parametrize(("rows", "seconds"), [(1, 1.0), (3, 1.4), (8, 2.4), (11, 3.0)])
def test_batches_between_those_measured_lie_on_a_line(rows: int, seconds: float) -> None:
    assert between({1: 1.0, 2: 1.2, 8: 2.4}, rows) == pytest.approx(seconds)
