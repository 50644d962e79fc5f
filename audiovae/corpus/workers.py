"""Work on many files at once, with progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol, TypeVar

from tqdm import tqdm

from audiovae.errors import CorpusError

LINE_EVERY = 5.0
"""Seconds between lines of progress where there is no terminal."""


class Sized(Protocol):
    """Work of a known size."""

    @property
    def size(self) -> int:
        """Bytes of the file to work on."""


S = TypeVar("S", bound=Sized)
T = TypeVar("T")


def available_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_threads(
    function: Callable[[S], T], items: Sequence[S], workers: int, bar: Progress
) -> Iterator[tuple[S, T]]:
    """Give each item with `function` of it, in the order they are done."""
    with ThreadPoolExecutor(workers) as executor:
        yield from bar.follow(_each(executor, function, items, workers))


def run_processes(
    function: Callable[[S], T], items: Sequence[S], workers: int, bar: Progress
) -> Iterator[tuple[S, T]]:
    """Do the same in processes, which spawn: `function` must be one that pickles.

    Raises `CorpusError` when a process is killed or can't start.
    """
    workers = min(workers, len(items))
    if workers <= 1 or not _can_spawn():
        yield from bar.follow((item, function(item)) for item in items)
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_settle_in)
    try:
        yield from bar.follow(_each(executor, function, items, workers))
    except BrokenProcessPool:
        raise CorpusError(
            "a process that converts recordings ended (out of memory, or a script without "
            "`if __name__ == '__main__':`): run it again, with one worker if that goes on"
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _each(
    executor: Executor, function: Callable[[S], T], items: Iterable[S], workers: int
) -> Iterator[tuple[S, T]]:
    """Keep a few tasks a worker waiting, not one for each of a million files."""
    pending: dict[Future[T], S] = {}
    rest = iter(items)
    while True:
        while len(pending) < 4 * workers and (item := next(rest, None)) is not None:
            pending[executor.submit(function, item)] = item
        if not pending:
            return
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            yield pending.pop(future), future.result()


def _can_spawn() -> bool:
    """Say whether a new process can import the main module, which a script on stdin is not."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return file is None or Path(file).is_file()


def _settle_in() -> None:
    """Make a worker end with its parent: at once on Ctrl-C, and when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Without it, idle workers would wait for a killed parent for ever.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


class Progress:
    """Says how many bytes of the files are done, on stderr."""

    def __init__(self, label: str, items: Iterable[Sized], show: bool) -> None:
        self.label, self.show = label, show
        self.total = sum(item.size for item in items)

    def follow(self, results: Iterable[tuple[S, T]]) -> Iterator[tuple[S, T]]:
        """Pass the results on and count them."""
        terminal = sys.stderr.isatty()
        done, told = 0, time.monotonic()
        with tqdm(
            total=self.total,
            desc=self.label,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=not (self.show and terminal),
        ) as bar:
            for item, result in results:
                yield item, result
                bar.update(item.size)
                done += item.size
                now = time.monotonic()
                if self.show and not terminal and now - told > LINE_EVERY:
                    told = now
                    share = done / max(1, self.total)
                    print(f"{self.label}: {share:.0%} of {self.total} bytes", file=sys.stderr)
