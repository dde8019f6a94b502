"""The temporary Prefect server of a flow that runs without a server: it demands a secret and ends with its process.

Prefect would start one that lets in everyone, and that stays behind if the process is killed.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.exceptions import CancelledRun
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
    temporary_settings,
)

from flows.data_arguments import recordable_arguments
from tasks import activity
from tasks.local_servers.api_secret import LENGTH, auth_string
from tasks.local_servers.orphans import end_orphaned_servers
from tasks.local_servers.serve import HOST
from tasks.settings import ROOT

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

P = ParamSpec("P")
R = TypeVar("R")
# Known to this process and its server only.
AUTH_STRING = auth_string(secrets.token_urlsafe(LENGTH))
# State message of a flow run that Ctrl-C has cancelled.
INTERRUPT_MESSAGE = "Steward: cancelled by Ctrl-C (SIGINT)"


class LocalFlow(Flow[P, R]):
    """A flow that secures the temporary server, if calling it starts one, and that Ctrl-C interrupts."""

    if not TYPE_CHECKING:

        def __call__(self, *args, **kwargs):
            """Run the flow and return its result. Raises KeyboardInterrupt, which Prefect's engine does not pass on."""
            named = recordable_arguments(self.fn, args, kwargs)
            if named is not None:
                args, kwargs = (), named
            with secured_temporary_server():
                try:
                    return super().__call__(*args, **kwargs)
                except CancelledRun as error:
                    if str(error) != INTERRUPT_MESSAGE:
                        raise
            raise KeyboardInterrupt


def local_flow(
    name: str, run_name: Callable[[], str] | None = None
) -> Callable[[Callable[P, R]], LocalFlow[P, R]]:
    """Decorate a function as a flow without stored results; `run_name` names each run when it begins."""
    return lambda function: LocalFlow(function, name=name, flow_run_name=run_name, persist_result=False)


@contextmanager
def secured_temporary_server() -> Iterator[None]:
    """While inside, secure the server that Prefect starts where none is named; a named one is used as it is."""
    if PREFECT_API_URL.value():
        yield
        return
    # Short, so that it fits narrow terminals with the time beside it.
    activity.begin("start of a Prefect server")
    # Takes seconds to import, but is imported anyway where a temporary server starts.
    from prefect.server.api.server import SubprocessASGIServer

    original = SubprocessASGIServer._run_uvicorn_command
    SubprocessASGIServer._run_uvicorn_command = _start  # type: ignore[method-assign, assignment]
    try:
        with temporary_settings({PREFECT_API_AUTH_STRING: AUTH_STRING}):
            yield
    finally:
        SubprocessASGIServer._run_uvicorn_command = original  # type: ignore[method-assign]


def _start(server: "SubprocessASGIServer") -> "subprocess.Popen[Any]":
    """Start the process of a temporary server; it ends when this process does, as that closes the pipe."""
    settings = get_current_settings()
    end_orphaned_servers(settings.home)
    environment = {
        **os.environ,
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        **settings.to_environment_variables(exclude_unset=True, include_secrets=True),
        "PREFECT_HOME": str(settings.home),
        # No page needs it: a temporary server has no UI.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{server.port}",
        "PREFECT_API_AUTH_STRING": AUTH_STRING,
    }
    reader, _writer = os.pipe()
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "tasks.local_servers.prefect_server", str(server.port)],
            env=environment,
            cwd=ROOT,
            stdin=reader,
            # Ctrl-C must not end it before the run has recorded its own end.
            start_new_session=True,
        )
    finally:
        os.close(reader)
