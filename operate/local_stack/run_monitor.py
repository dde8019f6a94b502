"""End the runs that are killed while `steward up` is running."""

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from operate.local_stack.lost_runs import end_lost_runs

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from tasks.settings import Settings

log = logging.getLogger("steward")
# Seconds between two looks at the run locks, and between two reconciliations where no run was seen dead.
LOOK_INTERVAL, RECONCILE_INTERVAL = 15.0, 60.0


@dataclass
class RunMonitor:
    """Looks at the run locks from time to time and reconciles dead runs, also the parts that ended runs left open.

    A run is reconciled when it is seen dead for the second time: the worker reports the end of its runs by itself.
    """

    settings: "Settings"
    server: "SyncPrefectClient"
    seen: set[str] = field(default_factory=set)
    next_look: float = 0.0
    next_reconciliation: float = field(default_factory=lambda: time.monotonic() + RECONCILE_INTERVAL)

    def look(self) -> None:
        """Look at the run locks if it is time to. A failure is logged, and the next look tries again."""
        from tasks.locks import run_lock

        now = time.monotonic()
        if now < self.next_look:
            return
        self.next_look = now + LOOK_INTERVAL
        folders = (run_lock.RUNS, run_lock.COMMANDS)
        dead = {run["id"] for folder in folders for run in run_lock.dead_runs(self.settings, folder)}
        if dead & self.seen or now > self.next_reconciliation:
            self._reconcile()
        self.seen = dead

    def _reconcile(self) -> None:
        from flows.housekeeping.reconciliation import reconcile_dead_runs
        from tasks.locks import run_lock
        from tasks.tracking import connection

        self.next_reconciliation = time.monotonic() + RECONCILE_INTERVAL
        try:
            reconcile_dead_runs(connection.connect(self.settings), self.settings)
            active = {metadata["id"] for metadata in run_lock.active_runs(self.settings)}
            end_lost_runs(self.server, active)
        except Exception as error:
            log.warning("states of killed runs are not repaired yet: %s", type(error).__name__)
