"""What a training will take: `python -m bench.plan --hours 1e6 --domains 1000 --gpus 64`.

Rates are those of rates.json, measured by `python -m bench.rates`; what was not measured is an
option, and the answer says so. `--page` writes the tables of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.blocks import put
from bench.rates import RATES
from bench.simulate import Work, step_seconds

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
KEPT = 4
"""Copies of the weights in a state: they, their average, two moments."""
HELD = 5
"""Copies on a device: those, and the start. Gradients of the domains of a step come on top."""
FREE = 0.97
"""Share of a core that is as good as all of it."""
GPUS = (1, 8, 64, 512, 4096)
MANY = (8, 100, 1000, 10_000)
"""Devices, and domains, that the page shows."""
Rates = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What is asked for. Prices and links are assumptions, not measurements."""

    hours: float = 1e6
    """Of audio, all domains together."""
    domains: int = 1000
    gpus: int = 64
    passes: float = 1.0
    """How often all of the audio is heard, on average."""
    rows: int = 8
    """Clips a domain on each device in a step."""
    domains_a_step: int = 8
    cores: int = 8
    """Processor cores beside each device."""
    link: float = 10.0
    """GB a second that each device sends in an all-reduce."""
    disk: float = 5.0
    """GB a second that the store gives to all devices together."""
    checkpoint_every: int = 500
    """Steps."""
    price: float = 3.0
    """Of a device for an hour."""
    storage_price: float = 20.0
    """Of a terabyte for a month."""


@dataclass(frozen=True)
class Plan:
    """What it takes. Seconds are of a step."""

    store_bytes: float
    files_bytes: float
    prepare_core_hours: float
    weights_bytes: float
    state_bytes: float
    device_bytes: float
    """On each device without sharding."""
    steps: float
    read_bytes_a_second: float
    """That all devices together read while they train."""
    seconds: dict[str, float]
    """`compute`, `cut`, `disk`, `all-reduce`, `checkpoint`."""
    decode_seconds: float
    """Instead of `cut`, where files are read without a store."""
    features_seconds: float
    """The part of `compute` that turns audio into log-mels."""
    step_seconds: float
    device_hours: float
    cost: float
    storage_cost: float

    @property
    def bottleneck(self) -> str:
        """What takes most of a step."""
        return max(self.seconds, key=lambda name: self.seconds[name])


def audio_rate(rates: Rates) -> float:
    """Return seconds of audio that a GPU trains on in a second, the default model.

    An estimate: what the card did in training vocoders, times what a core does in training this
    model over what it does in training a vocoder.
    """
    known = rates["known"]
    return known["card"]["vocoder"] * known["core"]["autoencoder"] / known["core"]["vocoder"]


def plan(job: Job, rates: Rates) -> Plan:
    """Return what a job takes."""
    turns = min(job.domains_a_step, job.domains)
    sample_rate, clip = rates["sample_rate"], rates["clip"]
    heard = job.rows * turns * clip
    steps = max(1.0, job.hours * 3600 * job.passes / (heard * job.gpus))
    weights = rates["shared_bytes"] + job.domains * rates["decoder_bytes"]
    gradients = rates["shared_bytes"] + turns * rates["decoder_bytes"]
    second = 2 * sample_rate
    store = job.hours * 3600 * second
    compute = heard / audio_rate(rates)
    seconds = {
        "compute": compute,
        "cut": heard / rates["read"],
        "disk": heard * job.gpus * second / (1e9 * job.disk),
        "all-reduce": 2 * (job.gpus - 1) / job.gpus * gradients / (1e9 * job.link),
        "checkpoint": (KEPT + 1) * weights / rates["write"] / job.checkpoint_every,
    }
    # Batches are cut while the device computes; gradients and states wait for it.
    each = max(compute, seconds["cut"], seconds["disk"])
    each += seconds["all-reduce"] + seconds["checkpoint"]
    hours = steps * each * job.gpus / 3600
    return Plan(
        store_bytes=store,
        files_bytes=store * rates["flac_share"],
        prepare_core_hours=job.hours / rates["prepare"],
        weights_bytes=weights,
        state_bytes=KEPT * weights,
        device_bytes=HELD * weights + gradients,
        steps=steps,
        read_bytes_a_second=heard * job.gpus * second / each,
        seconds=seconds,
        decode_seconds=heard / (rates["decode"] * job.cores),
        features_seconds=compute * rates["step"] / rates["features"],
        step_seconds=each,
        device_hours=hours,
        cost=hours * job.price,
        storage_cost=store / 1e12 * job.storage_price,
    )


def answer(job: Job, made: Plan, rates: Rates) -> str:
    """Return a plan as a table."""
    device = made.device_bytes / 1e9
    sharded = f"{device / job.gpus:.1f} GB sharded (`--strategy fsdp2`)"
    rows = {
        "audio": f"{job.hours:,.0f} h in {job.domains:,} domains",
        "store, 16 bits": f"{made.store_bytes / 1e12:,.1f} TB",
        "FLAC files before it": f"{made.files_bytes / 1e12:,.1f} TB, as the measured sounds shrink",
        "`prepare`": f"{made.prepare_core_hours:,.0f} hours of a core",
        "weights": f"{made.weights_bytes / 1e9:,.2f} GB; a state {made.state_bytes / 1e9:,.2f} GB",
        "on each device": f"{device:,.1f} GB beside what a step needs; {sharded}",
        "a step": f"{job.gpus} devices × {min(job.domains_a_step, job.domains)} domains × "
        f"{job.rows} clips of {rates['clip']:.2f} s",
        "steps": f"{made.steps:,.0f} for {job.passes:g} pass{'es' * (job.passes != 1)}",
        **{f"a step: {name}": f"{1000 * value:.1f} ms" for name, value in made.seconds.items()},
        "a step in all": f"{1000 * made.step_seconds:.1f} ms; most of it is {made.bottleneck}",
        "without a store": f"decoding FLAC on {job.cores} cores a device would take "
        f"{1000 * made.decode_seconds:.1f} ms a step",
        "read while training": f"{made.read_bytes_a_second / 1e9:.2f} GB a second by all",
        "device hours": f"{made.device_hours:,.0f}, {made.device_hours / job.gpus / 24:,.1f} days",
        "cost": f"{made.cost:,.0f} at {job.price:g} a device hour, and "
        f"{made.storage_cost:,.0f} a month of store at {job.storage_price:g} a TB",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def shifts(job: Job, rates: Rates) -> str:
    """Return a table of where the bottleneck goes with devices and with domains."""
    lines = [
        "| devices | domains | compute | cut | disk | all-reduce | checkpoint | most "
        "| device hours |",
        "|--:|--:|--:|--:|--:|--:|--:|---|--:|",
    ]
    jobs = [dataclasses.replace(job, gpus=count) for count in GPUS]
    jobs += [dataclasses.replace(job, domains=count) for count in MANY if count != job.domains]
    for each in jobs:
        made = plan(each, rates)
        cells = " | ".join(f"{1000 * value:.1f}" for value in made.seconds.values())
        lines.append(
            f"| {each.gpus:,} | {each.domains:,} | {cells} | {made.bottleneck} "
            f"| {made.device_hours:,.0f} |"
        )
    return "\n".join(lines)


def simulated(rates: Rates, processes: int) -> float:
    """Return the seconds that the simulation gives a step of so many processes of the run.

    What a process computes and cuts is taken from the run of one alone; what an all-reduce costs
    from all-reduces by themselves; how many there are, and what else ran, from the run itself.
    """
    one, run = rates["together"]["1"], rates["together"][str(processes)]
    calls = run["calls"] if processes > 1 else 0.0
    sums = run["gradient_bytes"] / rates["summed"]
    work = Work(
        compute=one["main_seconds"],
        loader=max(0.0, one["core_seconds"] - one["main_seconds"]),
        meetings=round(calls),
        exchange=calls * run["call_core_seconds"] + sums * run["sum_core_seconds"],
        wire=calls * max(0.0, run["call_seconds"] - run["call_core_seconds"]),
        spread=one["spread"],
    )
    return step_seconds(work, processes, rates["cores"], others=others(rates, processes))


def others(rates: Rates, processes: int) -> float:
    """Return how many busy threads of other programs the machine had besides, in a run.

    Of `n` busy threads of ours each got a share of a core: `cores / (n + others)`.
    """
    share = rates["together"][str(processes)]["share"]
    # With cores to spare nothing is known of others, and they don't matter.
    return max(0.0, rates["cores"] / share - processes) if share < FREE else 0.0


def compared(rates: Rates) -> str:
    """Return a table of runs and their simulation."""
    lines = [
        "| processes | busy threads of other programs | ms a step, run | ms a step, simulated "
        "| off by | audio a second, run |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for name, run in rates["together"].items():
        told = simulated(rates, int(name))
        lines.append(
            f"| {name} | {others(rates, int(name)):.1f} | {1000 * run['seconds']:.0f} "
            f"| {1000 * told:.0f} | {told / run['seconds'] - 1:+.0%} "
            f"| {run['audio'] / run['seconds']:.1f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse, and print the plan or write the page's tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__)
    for field in dataclasses.fields(Job):
        kind = int if isinstance(field.default, int) else float
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=kind, default=field.default, help="%(default)s")
    parser.add_argument("--rates", type=Path, default=RATES)
    parser.add_argument("--page", action="store_true", help="write the tables of docs/scaling.md")
    args = vars(parser.parse_args())
    write, rates = args.pop("page"), json.loads(args.pop("rates").read_text("utf-8"))
    if any(value <= 0 for value in args.values()):
        parser.error("all numbers must be above 0")
    job = Job(**args)
    print(answer(job, plan(job, rates), rates))
    if write:
        put(PAGE, "plan", answer(job, plan(job, rates), rates))
        put(PAGE, "bottlenecks", shifts(job, rates))
        put(PAGE, "processes", compared(rates))


if __name__ == "__main__":
    main()
