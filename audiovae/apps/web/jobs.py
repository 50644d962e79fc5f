"""A bounded queue of jobs that run in threads, are told to stop, and have a time limit."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from audiovae.errors import UserError

T = TypeVar("T")
Tell = Callable[[float], object]
"""Takes the share of a job that is done; raises `Stopped` where it is to end."""
GRACE = 5.0
"""Seconds after its limit at which a job that does not stop is given up."""
MOST_RETRY = 120


class Stopped(Exception):
    """A job was stopped, since its time is over or nobody waits for it."""


class Busy(Exception):
    """There is no place in a queue."""

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(text)
        self.seconds = seconds
        """After which to try again."""


class Job(Generic[T]):
    """Work in a queue; `future` has its result."""

    future: asyncio.Future[T]

    def __init__(self, work: Callable[[Tell], T], seconds: float) -> None:
        self.work, self.seconds = work, seconds
        self.share = 0.0
        self.entered, self.begun = time.monotonic(), math.inf
        self.stopped = False

    def run(self) -> T:
        """Do the work, in a thread."""
        self.begun = time.monotonic()
        try:
            self.tell(0.0)
            return self.work(self.tell)
        except (Stopped, UserError) as error:
            # Tracebacks hold what the work held, in a circle with this job.
            error.__context__ = None
            raise error.with_traceback(None) from None

    def tell(self, share: float) -> None:
        """Note the share that is done. Raises `Stopped` where the job is to end."""
        self.share = share
        if self.stopped or self.spent > self.seconds:
            raise Stopped

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        ended = self.future.done() and not self.future.cancelled()
        return ended and self.future.exception() is None

    @property
    def spent(self) -> float:
        """Seconds since it began; below 0 before."""
        return time.monotonic() - self.begun

    @property
    def overdue(self) -> bool:
        """Whether its time is long over: it hangs."""
        return self.spent > self.seconds + GRACE


class Queue:
    """Runs jobs in the order they come; to be used from the event loop's thread.

    Args:
        workers: jobs at a time.
        waiting: jobs that wait at most.
        seconds: that a job may take.
        prepare: is called in each thread before its first job.
    """

    def __init__(
        self,
        workers: int,
        waiting: int,
        seconds: float,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.workers, self.waiting, self.seconds = workers, waiting, seconds
        self.jobs: list[Job[Any]] = []
        self.mean = 1.0
        """Seconds that recent jobs took, about."""
        self.pool = ThreadPoolExecutor(workers, "audiovae-web", initializer=prepare)

    def check(self) -> None:
        """Raise `Busy` where no job may come in."""
        if len(self.jobs) >= self.workers + self.waiting:
            wait = self.mean * len(self.jobs) / self.workers
            raise Busy(
                f"{len(self.jobs)} jobs are before this one, which is all that the queue holds: "
                "try again a little later",
                min(MOST_RETRY, math.ceil(wait)),
            )

    def add(self, work: Callable[[Tell], T], after: Callable[[Job[T]], object]) -> Job[T]:
        """Put work into the queue.

        Args:
            work: what to do in a thread; it gives its share done to what it is called with.
            after: is called in the event loop once it has ended, in whatever way.

        Raises:
            Busy: when the queue is full.
        """
        self.check()
        job = Job(work, self.seconds)
        self.jobs.append(job)
        started = self.pool.submit(job.run)
        job.future = asyncio.wrap_future(started)

        def ended(future: asyncio.Future[T]) -> None:
            self.jobs.remove(job)
            if not future.cancelled():
                future.exception()  # Now it counts as seen, whether or not anybody still looks.
                self.mean += 0.2 * (job.spent - self.mean)
            after(job)

        job.future.add_done_callback(ended)
        return job

    def stop(self, job: Job[Any]) -> None:
        """End a job: at once where it waits, else the next time it tells of its share."""
        job.stopped = True
        if job.begun == math.inf:
            job.future.cancel()

    def place(self, job: Job[Any]) -> int:
        """Return the number of jobs that begin or end before this one; 0 once it runs."""
        return 0 if job.begun < math.inf else self.jobs.index(job) - self.workers + 1

    async def close(self) -> None:
        """Stop all jobs and wait for those that run."""
        for job in list(self.jobs):
            self.stop(job)
        self.pool.shutdown(wait=False, cancel_futures=True)
        if futures := [job.future for job in self.jobs]:
            await asyncio.wait(futures, timeout=GRACE)
