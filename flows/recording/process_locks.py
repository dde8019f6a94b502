"""Locks by which other processes notice that the process of a flow run, or of a command, has died."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import prefect
from prefect import Flow, State, runtime
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows.recording.endings import find_interruption, record_cancellation
from tasks.facts import SUSPENDED
from tasks.locks.run_lock import COMMANDS, RunLock
from tasks.settings import Settings

# Prefix of the Prefect tag of all flow runs that a command starts; the identity of its lock follows.
COMMAND_TAG = "steward-command:"
# The locks of this process whose flow run has no final state yet, by the id of the flow run.
_waiting: dict[str, RunLock] = {}


@contextmanager
def flow_run_lock(settings: Settings, case: str, data: str) -> Iterator[RunLock]:
    """Hold a run lock until Prefect has the final state of this flow run, which is after the end of this context.

    A process that dies before leaves the lock behind, and so does a run that was cancelled: its tasks may not have
    reported their states. A run that is suspended has ended until it is resumed, which starts a new process.
    """
    metadata = {"case": case, "data": data, "flow": runtime.flow_run.flow_name}
    lock = RunLock(settings, str(runtime.flow_run.id or uuid4()), metadata)
    lock.acquire()
    try:
        yield lock
        lock.record_ending("FINISHED")
    except BaseException as error:
        interruption = find_interruption(error)
        if interruption and interruption.kind == SUSPENDED:
            _release(lock, is_reported=True)
            raise
        lock.record_ending("FAILED" if isinstance(error, Exception) else "KILLED")
        if interruption:
            record_cancellation(error)
            _release(lock, is_reported=False)
        raise
    finally:
        if lock.is_held:
            _release_with_final_state(lock)


@contextmanager
def command_lock(settings: Settings, command: str) -> Iterator[None]:
    """Hold a lock that leads to the flow runs of a command, also to one that dies before it has a lock of its own."""
    identity = str(uuid4())
    metadata = {"case": command, "data": ""}
    with RunLock(settings, identity, metadata, COMMANDS), prefect.tags(f"{COMMAND_TAG}{identity}"):
        yield


def _release_with_final_state(lock: RunLock) -> None:
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow_run is None:
        _release(lock, is_reported=True)
        return
    _waiting[str(context.flow_run.id)] = lock
    flow = context.flow
    for hooks, register in (
        (flow.on_completion_hooks, flow.on_completion),
        (flow.on_failure_hooks, flow.on_failure),
        (flow.on_crashed_hooks, flow.on_crashed),
    ):
        if release_run_lock not in hooks:
            register(release_run_lock)


def release_run_lock(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Release the lock of a flow run, which has its final state now (a hook of Prefect)."""
    if lock := _waiting.pop(str(flow_run.id), None):
        _release(lock, is_reported=not state.is_crashed())


def _release(lock: RunLock, is_reported: bool) -> None:
    if is_reported and lock.is_settled:
        lock.release()
    else:
        lock.abandon()
