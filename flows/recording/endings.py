"""What ended a run before its verdict: a gate, an error, or a request: cancelled by a signal, suspended in Prefect."""

import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, Pause, TerminationSignal
from prefect.states import Cancelled

from flows.temporary_server import INTERRUPT_MESSAGE
from ml.errors import StewardError, describe_exception
from tasks.facts import CANCELLED, SUSPENDED

# Verdicts of runs that a gate or another error ended. In place of a gate's name, ERROR is any other error.
REJECTED, STOPPED, ERROR = "rejected", "stopped", "error"


class Ending(NamedTuple):
    """What ended a run: `summary` is for the log, the rest for the record."""

    verdict: str
    gate: str
    reason: str
    summary: str


@dataclass(frozen=True)
class Interruption:
    """How a run was interrupted: `kind` is CANCELLED or SUSPENDED."""

    kind: str
    reason: str

    @property
    def sentence(self) -> str:
        return f"{self.kind} {self.reason}"


def find_interruption(error: BaseException | None) -> Interruption | None:
    """Return how an exception interrupts its run; None for any other exception."""
    if isinstance(error, KeyboardInterrupt):
        return Interruption(CANCELLED, "by Ctrl-C (SIGINT)")
    if isinstance(error, TerminationSignal):
        return Interruption(CANCELLED, f"by a request to end ({signal.Signals(error.signal).name})")
    if isinstance(error, Pause):
        return Interruption(SUSPENDED, "in Prefect; resume it there: finished stages are reused")
    return None


def describe_ending(error: BaseException) -> Ending:
    """Describe what ended a run; an error that is not from a gate without its text, which may be data."""
    if isinstance(error, StewardError):
        return Ending(REJECTED, error.gate, str(error), f"stopped by the {error.gate} gate")
    if interruption := find_interruption(error):
        return Ending(interruption.kind, interruption.kind, interruption.sentence, interruption.sentence)
    reason = describe_exception(error)
    return Ending(STOPPED, ERROR, reason, f"stopped by {reason}")


def record_cancellation(error: BaseException) -> None:
    """Set the state of this flow run to Cancelled; Prefect would show an interrupted run as crashed.

    Where Prefect cancels the run itself, it sets the state. Where no server answers, the next command does.
    """
    interruption, context = find_interruption(error), FlowRunContext.get()
    if interruption is None or interruption.kind != CANCELLED or context is None or context.flow_run is None:
        return
    is_interrupt = isinstance(error, KeyboardInterrupt)
    message = INTERRUPT_MESSAGE if is_interrupt else f"Steward: {interruption.sentence}"
    state: State[Any] = Cancelled(message=message)
    with suppress(httpx.HTTPError, ObjectNotFound), get_client(sync_client=True) as server:
        current = server.read_flow_run(context.flow_run.id).state
        if current and current.type in {*TERMINAL_STATES, StateType.CANCELLING}:
            return
        server.set_flow_run_state(context.flow_run.id, state, force=True)
        # The engine keeps a final state.
        context.flow_run.state = state
