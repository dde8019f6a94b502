"""Set the final states of killed runs before a command starts; imports nothing heavy unless there are some."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("steward")


def end_killed_runs() -> None:
    """Give runs whose process died their final states in Prefect and MLflow.

    A failure is only logged: the command goes on, and the next one tries again.
    """
    from tasks.locks import run_lock
    from tasks.settings import load

    settings = load()
    if not any(run_lock.dead_runs(settings, folder) for folder in (run_lock.RUNS, run_lock.COMMANDS)):
        return
    log.info("an earlier run was killed or cancelled: setting its final states")
    try:
        from flows.housekeeping.reconciliation import reconcile_dead_runs
        from tasks.tracking import connection

        reconcile_dead_runs(connection.connect(settings), settings)
    except Exception as error:
        log.warning("  not yet possible (%s); the next command tries again", type(error).__name__)


@contextmanager
def recorded_command(name: str) -> Iterator[None]:
    """Run a command that starts flows, so that a later command notices if this one is killed.

    Raises UsageError where the state directory cannot be written.
    """
    from tasks.settings import load

    settings = load()
    settings.create_state_dir()
    from flows.recording.process_locks import command_lock

    with command_lock(settings, name):
        yield
