"""Processor time as the measure of a time budget, so that other work on the machine does not change what is fitted."""

import time


class Deadline:
    """A number of processor seconds per thread, counted from its creation on the thread that creates it.

    A second counts where the calling thread has used it, or the `threads` of the process have used it each. On an idle
    machine that is about a second of wall-clock time. Time in which the process waits for a processor does not count.
    `used` are seconds that an earlier process has used already.
    """

    def __init__(self, seconds: float, threads: int = 1, used: float = 0.0) -> None:
        self.seconds, self._threads, self._used = seconds, threads, used
        self._thread_start, self._process_start = time.thread_time(), time.process_time()

    @property
    def elapsed(self) -> float:
        """The processor seconds per thread since the creation, and those used before."""
        on_all_threads = (time.process_time() - self._process_start) / self._threads
        # The calling thread may wait for others, and the others may have nothing to do.
        return self._used + max(time.thread_time() - self._thread_start, on_all_threads)

    @property
    def remaining(self) -> float:
        """The processor seconds per thread that are left; negative after the deadline."""
        return self.seconds - self.elapsed

    @property
    def passed(self) -> bool:
        """Whether the seconds are used up."""
        return self.remaining < 0.0
