"""The plan's arithmetic, the simulation, and a page that says what they say. Nothing is timed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_RATE, tiny_config
from recordings import make_folder

from audiovae.corpus.prepare import prepare
from audiovae.training.optimise import Optimiser
from audiovae.training.trainer import make_task
from bench.blocks import get, put
from bench.domains import table
from bench.plan import PAGE, Job, answer, compared, plan, shifts
from bench.rates import RATES
from bench.simulate import Work, step_seconds


def rates() -> dict[str, Any]:
    return json.loads(RATES.read_text("utf-8"))


def test_one_process_takes_its_own_time() -> None:
    assert step_seconds(Work(2.0), 1, 2) == pytest.approx(2.0)
    assert step_seconds(Work(2.0, loader=1.0), 1, 2) == pytest.approx(2.0)
    assert step_seconds(Work(2.0, loader=3.0), 1, 2) == pytest.approx(3.0)
    assert step_seconds(Work(2.0, loader=1.0), 1, 1) == pytest.approx(3.0)


def test_cores_are_shared_alike() -> None:
    assert step_seconds(Work(1.0), 2, 2) == pytest.approx(1.0)
    assert step_seconds(Work(1.0), 4, 2) == pytest.approx(2.0)
    assert step_seconds(Work(1.0), 1, 2, others=3) == pytest.approx(2.0)
    # One thread more than cores: they share until the first is done.
    assert step_seconds(Work(1.0, loader=1.0), 1, 1, others=1) == pytest.approx(3.0)


def test_all_reduces_cost_work_and_waiting_and_hold_for_the_slowest() -> None:
    work = Work(1.0, meetings=4, exchange=0.2, wire=0.1)
    assert step_seconds(work, 2, 2) == pytest.approx(1.3)
    assert step_seconds(work, 1, 2) == pytest.approx(1.0)
    assert step_seconds(work, 4, 2) == pytest.approx(2.5)
    uneven = dataclasses.replace(work, spread=0.2)
    assert step_seconds(uneven, 2, 2, steps=200) > 1.35


def test_a_plan_adds_up() -> None:
    job = Job(hours=1000, domains=10, gpus=4, rows=2, domains_a_step=5, passes=2)
    known = rates()
    made = plan(job, known)
    assert made.store_bytes == 1000 * 3600 * 2 * known["sample_rate"]
    assert made.steps * 4 * 2 * 5 * known["clip"] == pytest.approx(2 * 1000 * 3600)
    assert made.weights_bytes == known["shared_bytes"] + 10 * known["decoder_bytes"]
    waits = made.seconds["all-reduce"] + made.seconds["checkpoint"]
    most = max(made.seconds[name] for name in ("compute", "cut", "disk"))
    assert made.step_seconds == pytest.approx(most + waits)
    assert made.device_hours == pytest.approx(made.steps * made.step_seconds * 4 / 3600)
    assert made.cost == pytest.approx(made.device_hours * job.price)
    alone = plan(dataclasses.replace(job, gpus=1), known)
    assert alone.seconds["all-reduce"] == 0 and alone.steps == pytest.approx(4 * made.steps)


def test_a_checkpoint_grows_with_all_domains_and_an_all_reduce_with_a_step_s() -> None:
    few, many = (plan(Job(domains=count), rates()) for count in (100, 1000))
    assert few.seconds["all-reduce"] == many.seconds["all-reduce"]
    assert many.seconds["checkpoint"] > 5 * few.seconds["checkpoint"]
    wide = plan(Job(domains_a_step=80), rates())
    assert wide.seconds["all-reduce"] > 2 * many.seconds["all-reduce"]


def test_the_page_says_what_the_rates_give() -> None:
    known, job = rates(), Job()
    assert get(PAGE, "plan") == answer(job, plan(job, known), known)
    assert get(PAGE, "bottlenecks") == shifts(job, known)
    assert get(PAGE, "processes") == compared(known)
    assert "| 256 |" in get(PAGE, "domains")


def test_parts_of_a_page_are_written_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- a -->\nold\n<!-- end of a -->\nbelow\n")
    put(page, "a", "new")
    assert get(page, "a") == "new"
    put(page, "a", "newer")
    assert page.read_text() == "above\n<!-- a -->\n\nnewer\n\n<!-- end of a -->\nbelow\n"
    with pytest.raises(ValueError, match="no part 'b'"):
        put(page, "b", "x")


def test_the_table_of_domains_has_its_ratio() -> None:
    point = {"held": 10.0}
    points = {
        (count, turns): {**point, "seconds": 1.0 if turns else count / 8}
        for count in (8, 32)
        for turns in (0, 4)
    }
    text = table(points, "0.1")
    assert "takes 4.0 times as long and a step of 4 1.00 times" in text
    assert "| 32 | 4000.0 | 1000.0 |" in text


def test_adam_looks_at_what_has_a_gradient_and_knows_all_afterwards() -> None:
    config = tiny_config().training
    used, idle, scale = (torch.nn.Parameter(torch.ones(*s)) for s in ((2, 2), (2, 2), (2,)))
    optimiser = Optimiser([([used, idle, scale], 0.1)], config, 10)
    seen: list[int] = []
    optimiser.adam.register_step_pre_hook(
        lambda adam, *_: seen.append(sum(len(g["params"]) for g in adam.param_groups))
    )
    used.grad, scale.grad = torch.ones(2, 2), torch.ones(2)
    optimiser.apply(0)
    assert seen == [2] and {id(p) for p in optimiser.moved} == {id(used), id(scale)}
    assert {id(p) for p in optimiser.parameters} == {id(p) for p in (used, idle, scale)}
    assert used.grad is None and scale.grad is None
    assert torch.equal(idle, torch.ones(2, 2)) and not torch.equal(used, torch.ones(2, 2))


def test_a_step_touches_no_module_of_a_domain_whose_turn_it_is_not(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "abc", 2, 1.0)
    prepare(folder, tmp_path / "store", sample_rate=TINY_RATE, valid=0, workers=1, progress=False)
    config = tiny_config()
    training = dataclasses.replace(config.training, domains_a_step=1, rows=1, precision="fp32")
    config = dataclasses.replace(config, training=training)
    task = make_task(tmp_path / "store", tmp_path / "run", config, device="cpu")
    task.begin(6)
    task.step(0)
    told: list[str] = []
    for name in "abc":
        decoder = task.model.decoder(name)
        decoder.train = lambda mode=True, name=name: told.append(name)  # type: ignore[method-assign]
    task.step(1)
    assert told == []
    task.model.eval()
    told.clear()
    task.step(2)
    assert sorted(set(told)) == ["a", "b", "c"] and task.model.training
