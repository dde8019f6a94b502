"""Start the worker again when it has ended. Runs that it had started go on: they are processes of their own."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from operate.local_stack.child_process import ChildProcess

# Seconds until the first restart, the longest delay, and the running time after which a worker counts as stable.
FIRST_DELAY, MAX_DELAY, STABLE_AFTER = 1.0, 60.0, 300.0


@dataclass
class WorkerRestarts:
    """Watches the worker; `restart` starts another one. The delay doubles with each worker that ends soon."""

    worker: ChildProcess
    restart: Callable[[], ChildProcess]
    delay: float = FIRST_DELAY
    started: float = field(default_factory=time.monotonic)
    next_start: float | None = None

    def look(self) -> str | None:
        """Restart the worker if it is time to; return what has changed as a message."""
        now = time.monotonic()
        if self.next_start is None:
            return self._plan_restart(now) if self.worker.exit_status else None
        if now < self.next_start:
            return None
        self.worker, self.started, self.next_start = self.restart(), now, None
        return "worker started again; runs that are in progress go on"

    def _plan_restart(self, now: float) -> str:
        if now - self.started > STABLE_AFTER:
            self.delay = FIRST_DELAY
        self.next_start = now + self.delay
        message = f"worker stopped unexpectedly: {self.worker.exit_summary}; next start in {self.delay:g} s"
        self.delay = min(2 * self.delay, MAX_DELAY)
        return message
