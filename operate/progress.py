"""Progress of a command on stderr: a line per stage, and what is running now.

On a terminal a spinner shows what is running and for how long. Elsewhere, such as in the log of a job, a line says so
whenever there was none for a while.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks import activity

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds without a line after which one says what is running, and seconds between two looks at the clock.
QUIET_SECONDS, LOOK_SECONDS = 9.0, 0.5
STARTING = "start"
# Details of a fit, such as the models inside the re-ranker.
DETAILS = "steward.fit"


class LineHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes a line per record, and says what is running if there was no line for `QUIET_SECONDS`."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.activity, self.activity_began = STARTING, time.monotonic()
        self.last_line = self.activity_began

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.last_line = time.monotonic()
        super().emit(record)

    def begin(self, name: str) -> None:
        """Take note of what is running from now on."""
        self.activity, self.activity_began = name, time.monotonic()

    def look(self, now: float) -> None:
        """Write what is running, if there was no line for a while; `now` is of `time.monotonic`."""
        if now - self.last_line < QUIET_SECONDS:
            return
        seconds = now - self.activity_began
        record = logging.LogRecord(
            "steward",
            logging.INFO,
            __file__,
            0,
            "  %s: running, %.0f s so far",
            (self.activity, seconds),
            None,
        )
        self.handle(record)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look at the clock in a thread until the context is left."""
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(LOOK_SECONDS):
                self.look(time.monotonic())

        thread = threading.Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


class SpinnerHandler(logging.Handler):
    """Writes a line per record above a spinner with what is running and for how long."""

    def __init__(self, progress: "Progress") -> None:
        super().__init__()
        self.progress = progress
        self.task = progress.add_task(STARTING, total=None)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line above the spinner."""
        text = self.format(record)
        self.progress.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def begin(self, name: str) -> None:
        """Show what is running from now on."""
        self.progress.reset(self.task, description=name)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the spinner until the context is left."""
        with self.progress:
            yield


def _is_no_detail(record: logging.LogRecord) -> bool:
    return record.name != DETAILS


@contextmanager
def shown_progress(verbose: bool) -> Iterator[logging.Handler]:
    """Yield the handler of log lines; until the context is left, it shows what is running.

    With `verbose` there is no spinner, as libraries write between its lines, and the details of fits are shown.
    """
    handler = _handler(verbose)
    if not verbose:
        handler.addFilter(_is_no_detail)
    with activity.listening(handler.begin), handler.running():
        yield handler


def _handler(verbose: bool) -> LineHandler | SpinnerHandler:
    if verbose or not sys.stderr.isatty():
        return LineHandler()
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if console.is_dumb_terminal:
        return LineHandler()
    # Characters that every terminal can show, where the encoding has no others.
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    columns = (SpinnerColumn(spinner), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    # Lines that are printed go above the spinner, unless stdout is a file or a pipe.
    return SpinnerHandler(
        Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    )
