"""A deadline counts the processor time that a fit uses, not the time on the clock."""

import threading
import time

import numpy as np
import pytest

from ml.deadline import Deadline


def use_processor(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        np.sqrt(2.0)


def test_time_without_the_processor_does_not_count() -> None:
    deadline = Deadline(0.5)
    assert not threading.Event().wait(0.6)
    assert not deadline.passed
    assert deadline.elapsed < 0.5


def test_the_time_of_the_calling_thread_counts_for_any_number_of_threads() -> None:
    for threads in (1, 8):
        deadline = Deadline(0.05, threads)
        use_processor(0.06)
        assert deadline.passed
        assert deadline.remaining == pytest.approx(0.05 - deadline.elapsed, abs=0.05)


def test_the_time_of_other_threads_counts_by_their_number() -> None:
    deadlines = [Deadline(1.0, threads) for threads in (1, 4)]
    worker = threading.Thread(target=use_processor, args=(0.2,))
    worker.start()
    worker.join()
    one, four = (deadline.elapsed for deadline in deadlines)
    assert one >= 0.2
    assert four >= 0.05
    assert four <= one
