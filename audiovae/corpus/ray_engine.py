"""Work on many files by a pool of Ray's actors, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
import ray.data
from ray.exceptions import RayError

from audiovae.corpus.engines import Failed, Make, Place
from audiovae.corpus.workers import Sized, available_cores
from audiovae.errors import UserError

BATCH_FILES = 64
BATCH_BYTES = 1 << 28
"""What a worker takes at once: as much is done again when it ends."""
BATCHES_A_WORKER = 8
"""At least, where there are enough files: so that no worker is left alone at the end."""
TRIES = 3
"""Workers that a file may cost before it counts as failed."""
ANSWER_SECONDS = 10.0
DEVICES = ("auto", "cpu", "cuda", "mps")
S = TypeVar("S", bound=Sized)
T = TypeVar("T")


@dataclass(frozen=True)
class RayEngine:
    """A pool of actors, each with its own model, on one processor or accelerator each.

    It joins the cluster that `RAY_ADDRESS` names, as `host:port` or as `auto`, the one that this
    machine is part of; without that it starts one of this machine's processors and accelerators.
    All machines see the files under the same paths. A worker that dies is replaced, and what it
    was at is done again.
    """

    device: str = "auto"
    """`auto` takes accelerators where the cluster has any, else processors; `cpu`, `cuda`."""
    threads: int | None = None
    """Processors a worker; one when left out."""
    workers: int | None = None
    """At most; as many as there is room for when left out."""

    def __post_init__(self) -> None:
        if self.device.partition(":")[0] not in DEVICES:
            raise UserError(f"no device {self.device!r}; use auto, cpu or cuda")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads is {self.threads}; expected at least 1")

    def run(self, make: Make[S, T], items: Sequence[S]) -> Iterator[tuple[S, T | Failed]]:
        """Give each item with what became of it, in the order of the items.

        Raises `UserError` where there is no such cluster, or it can't do the work.
        """
        if not items:
            return
        connect()
        place = Place(self._device(), self.threads or 1)
        try:
            yield from _run(make, items, place, self._room(place))
        except RayError as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"Ray can't do the work: {type(error).__name__}: {said[:300]}"
            ) from None

    def _device(self) -> str:
        there = ray.cluster_resources().get("GPU", 0) > 0
        name = self.device.partition(":")[0]
        if name == "auto":
            return "cuda" if there else "cpu"
        if name == "cuda" and not there:
            raise UserError("this Ray cluster has no GPU: use --device cpu, or leave it out")
        return name

    def _room(self, place: Place) -> int:
        """Return how many workers there is room for now. Raises `UserError` where for none."""
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0)) // place.threads
        if room < 1:
            raise UserError(
                f"threads is {place.threads}; this Ray cluster has {int(there.get('CPU', 0))} CPUs"
            )
        if place.device == "cuda":
            room = min(room, int(there["GPU"]))
        return max(1, min(room, self.workers or room))


def connect() -> None:
    """Join the Ray cluster that is named, or start one here. Raises `UserError` without it."""
    if ray.is_initialized():
        return
    # Ray would print what its own parts say, and tell its makers that it was used.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address not in ("auto", "local"):
        _check_answer(address)
    here: dict[str, Any] = {
        "num_cpus": available_cores(),
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    with _hushed(), _same_handler():
        try:
            ray.init(address, **quiet, **(here if address == "local" else {}))
        except ConnectionError:
            raise _no_cluster(address) from None


def _check_answer(address: str) -> None:
    """Raise `UserError` unless something answers at an address: Ray would wait for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError):
        raise _no_cluster(address) from None


def _no_cluster(address: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at {address}, which RAY_ADDRESS names: start it, or set "
        "RAY_AUTH_MODE=token where it asks for one"
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what Ray's own parts say when they start, settings or not, from the error stream."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _same_handler() -> Iterator[None]:
    """Keep who is told of SIGTERM: Ray puts its own there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Ledger:
    """Counts, away from the workers, how often each file was begun and not ended."""

    def __init__(self) -> None:
        self.begun: dict[tuple[int, int], int] = {}

    def begin(self, file: tuple[int, int]) -> int:
        """Return how often a file was begun, this time included."""
        self.begun[file] = self.begun.get(file, 0) + 1
        return self.begun[file]

    def end(self, file: tuple[int, int]) -> None:
        """Forget a file that was done."""
        self.begun.pop(file, None)


@dataclass(frozen=True)
class _Raised:
    """What the work on a file raised."""

    error: Exception


class _Worker:
    """An actor: makes what does the work once, then takes batches of files."""

    def __init__(self, packed: list[Any], ledger: Any, place: Place) -> None:
        self.packed, self.ledger, self.place = packed, ledger, place
        self.work: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        number = int(batch["number"][0])
        results = [
            self._do((number, i), item) for i, item in enumerate(pickle.loads(batch["items"][0]))
        ]
        return {"number": [number], "results": [ray.cloudpickle.dumps(results)]}

    def _do(self, file: tuple[int, int], item: Any) -> Any:
        if ray.get(self.ledger.begin.remote(file)) > TRIES:
            return Failed(f"the process that worked on it ended, {TRIES} times")
        try:
            if self.work is None:
                self.work = pickle.loads(ray.get(self.packed[0]))(self.place)
            result = self.work(item)
        except Exception as error:
            if type(error).__name__ == "AcceleratorError":
                # The device is lost to this process. Another one may get it, or another device.
                traceback.print_exc()
                os._exit(1)
            result = _Raised(error)
        self.ledger.end.remote(file)
        return result


def _run(
    make: Make[S, T], items: Sequence[S], place: Place, room: int
) -> Iterator[tuple[S, T | Failed]]:
    batches = cut_batches(items, room)
    # What is put here stays on this machine as long as this function holds it.
    packed = ray.put(ray.cloudpickle.dumps(make))
    ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
    taken = 0
    for row in _dataset(batches, [packed], ledger, place, room).iter_rows():
        batch = batches[row["number"]]
        if row["number"] != taken:
            raise RuntimeError(f"batch {row['number']} came in the place of batch {taken}")
        taken += 1
        for item, result in zip(batch, pickle.loads(row["results"]), strict=True):
            if isinstance(result, _Raised):
                raise result.error
            yield item, result
    if taken != len(batches):
        raise RuntimeError(f"{len(batches) - taken} of {len(batches)} batches never came back")


def _dataset(
    batches: Sequence[Sequence[Any]], packed: list[Any], ledger: Any, place: Place, room: int
) -> Any:
    rows = [{"number": i, "items": ray.cloudpickle.dumps(batch)} for i, batch in enumerate(batches)]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=(packed, ledger, place),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=room),
        num_cpus=place.threads,
        num_gpus=1 if place.device == "cuda" else 0,
    )
    # Its own: what others set for theirs stays.
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return dataset


def cut_batches(items: Sequence[S], workers: int) -> list[list[S]]:
    """Return the items in their order, in batches of bounded number and size."""
    most = max(1, min(BATCH_FILES, len(items) // (BATCHES_A_WORKER * workers)))
    batches: list[list[S]] = []
    size = 0
    for item in items:
        if not batches or len(batches[-1]) >= most or size + item.size > BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(item)
        size += item.size
    return batches
