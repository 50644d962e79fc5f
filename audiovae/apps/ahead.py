"""Two halves of a chain at once: one works ahead in a thread of its own, the other follows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

MOST = 2
"""Items that lie ready at most: memory grows with them."""
PATIENCE = 0.1
"""Seconds after which one that waits looks whether the other is still there."""


def ahead(items: Iterator[T], threads: int) -> Iterator[T]:
    """Give `items`, which are made in a thread that has so many of torch's threads.

    What is raised there is raised here. Whoever stops early stops the thread, too.
    """
    ready: queue.Queue[T | None] = queue.Queue(MOST)
    failures: list[BaseException] = []
    stopped = threading.Event()

    def put(item: T | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=PATIENCE)
            except queue.Full:
                continue

    def work() -> None:
        torch.set_num_threads(threads)
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            failures.append(error)
        finally:
            put(None)

    worker = threading.Thread(target=work, name="audiovae-ahead", daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            yield item
        if failures:
            raise failures[0]
    finally:
        stopped.set()
        worker.join()


@contextmanager
def shared_threads() -> Iterator[tuple[int, int]]:
    """Divide torch's threads between two halves: give those of the first, and of this one.

    Where there is but one, the first gets none.
    """
    every = torch.get_num_threads()
    if every == 1:
        yield 0, 1
        return
    first = every // 2
    torch.set_num_threads(every - first)
    try:
        yield first, every - first
    finally:
        torch.set_num_threads(every)
