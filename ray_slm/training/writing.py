"""Checkpoints written by a thread while training goes on, and how often that pays.

One job runs at a time, in the order of submission, so a checkpoint never names what was not
published before it.  A job that fails ends the run at its next step, as a kill would.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

HOURS_BETWEEN_FAILURES = 4.0  # assumed: a spot machine's order of magnitude
SHORTEST_SECONDS, FIRST_SECONDS = 10.0, 30.0


class Writer:
    """A thread for jobs that write files."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._job: Future[float] | None = None
        self.seconds = 0.0  # that the last finished job took
        self.blocked_seconds = 0.0  # that training waited for jobs, all together

    def submit(self, job: Callable[[], None]) -> None:
        """Begin a job, after the present one.  Raises what that one raised."""
        self.wait()
        self._job = self._pool.submit(_timed, job)

    def check(self) -> None:
        """Raise what a job raised that has ended."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the present job.  Raises what it raised."""
        if self._job is None:
            return
        job, self._job = self._job, None
        start = time.perf_counter()
        self.seconds = job.result()
        self.blocked_seconds += time.perf_counter() - start

    def close(self) -> None:
        """Let the present job end, whatever became of the run."""
        self._pool.shutdown(wait=True)


def _timed(job: Callable[[], None]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


class Interval:
    """When the next checkpoint is due: the Young/Daly interval sqrt(2 x cost x MTBF)."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds = FIRST_SECONDS

    def due(self) -> bool:
        """Whether the interval has passed since the last checkpoint."""
        return time.monotonic() - self._last >= self._seconds

    def saved(self, cost_seconds: float) -> None:
        """Begin anew; ``cost_seconds`` is what a checkpoint costs, 0 while that is unknown."""
        self._last = time.monotonic()
        if cost_seconds:
            self._seconds = self.ideal_seconds(cost_seconds)

    @staticmethod
    def ideal_seconds(cost_seconds: float) -> float:
        """What is lost to checkpoints and to failures together is least at this interval."""
        ideal = math.sqrt(2 * cost_seconds * HOURS_BETWEEN_FAILURES * 3600)
        return max(SHORTEST_SECONDS, ideal)
