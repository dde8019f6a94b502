"""The processes of `steward up`, on loopback: a Prefect server, MLflow, and a worker with all deployments.

Both servers demand the secret of the state directory; in a browser, the token of the address that is printed.

They are stopped in this order: the runs (SIGTERM, so that each can record its end), the worker, MLflow, the server.
A worker that stops kills its runs at once, and without a server it may retry for minutes.
"""

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from operate.console import ROOT, print_message
from operate.local_stack import child_process, deployments, lost_runs, orphaned_runs, postgres
from operate.local_stack.child_process import ChildProcess, Patience
from operate.local_stack.worker_restarts import WorkerRestarts
from tasks.local_servers.access_control import LOGIN_PATH
from tasks.local_servers.api_secret import auth_string
from tasks.local_servers.orphans import end_orphaned_servers
from tasks.local_servers.serve import AUTH_STRING_VARIABLE, HOST, LOGIN_TOKEN_VARIABLE

if TYPE_CHECKING:
    import psutil
    from prefect.client.orchestration import SyncPrefectClient

    from tasks.settings import Settings

POOL, WORKER = "steward", "worker"
# Seconds for each server to become ready, and to stop; a run to end, by the processor and by the clock.
START_TIMEOUT, STOP_TIMEOUT = 600, 20
RUN_PROCESSOR_SECONDS, RUN_CLOCK_SECONDS = 30, 300


class ShutdownRequestedError(Exception):
    """Ctrl-C or a signal asked `steward up` to stop."""


class ServerFailedError(Exception):
    """A server could not be started or stopped unexpectedly; the message is for the operator."""


@dataclass
class Servers:
    """The servers and how they are reached.

    Setting `shutdown_requested` stops the start of further ones, `kill_requested` the wait for runs that were asked to
    end.
    """

    settings: "Settings"
    port: int
    mlflow_port: int
    api_secret: str = field(repr=False)
    base_environment: Mapping[str, str] = field(repr=False)
    # Good for browsers and until the servers stop, as terminals are kept and shared.
    login_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    shutdown_requested: threading.Event = field(default_factory=threading.Event)
    kill_requested: threading.Event = field(default_factory=threading.Event)
    children: list[ChildProcess] = field(default_factory=list)
    client: "SyncPrefectClient | None" = None
    deployed: list[str] = field(default_factory=list)
    # Once the worker has been ready.
    worker_restarts: WorkerRestarts | None = None

    @property
    def prefect_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.mlflow_port}"

    def login_address(self, server_url: str) -> str:
        """Return the address that lets a browser into a server and shows its start page."""
        return f"{server_url}{LOGIN_PATH}?token={self.login_token}"

    @property
    def worker_name(self) -> str:
        """The name of the worker, which differs between state directories that share a Prefect database."""
        from tasks.state_dir_id import state_dir_id

        return f"{POOL}-{state_dir_id(self.settings)[:8]}"

    def start(self) -> "SyncPrefectClient":
        """Start all servers and wait until each is ready; return a client of the Prefect server.

        Raises ShutdownRequestedError or ServerFailedError; the caller then calls `stop`.
        """
        child_process.adopt_orphans()
        end_orphaned_servers(self.settings.state_dir.resolve() / "prefect")
        command = f"tasks.local_servers.prefect_server {self.port}"
        self._start_server("prefect-server", command.split(), self._prefect_server_variables())
        # Import libraries and create MLflow's tables, which its server needs, while Prefect's server starts.
        from prefect.client.orchestration import get_client

        from tasks.tracking import connection

        connection.connect(self.settings)
        command = f"tasks.tracking.mlflow_server {self.mlflow_port}"
        self._start_server("mlflow", command.split(), self._mlflow_variables())
        self._wait_until(lambda: _is_healthy(f"{self.prefect_url}/api/health"), "the Prefect server")
        self.client = get_client(sync_client=True).__enter__()
        self._deploy(self.client)
        lost_runs.delete_automations(self.client)
        self._reconcile_run_states(self.client)
        started = datetime.now(UTC)
        worker = self._start_worker()
        self._wait_until(lambda: self._worker_polled_since(started), "the worker")
        self.worker_restarts = WorkerRestarts(worker, self._restart_worker)
        self._wait_until(lambda: _is_healthy(f"{self.mlflow_url}/health"), "MLflow")
        return self.client

    def check(self) -> None:
        """Raise ServerFailedError if a server has stopped. A worker that has been ready is started again instead."""
        for child in self.children:
            if child.exit_status and not (self.worker_restarts and child.name == WORKER):
                raise ServerFailedError(
                    f"{child.name} stopped unexpectedly: {child.exit_summary}, then run `steward up` again"
                )

    def stop(self) -> None:
        """Stop everything that was started, in any state, and the processes of all runs."""
        by_name = {child.name: child for child in self.children}
        patience = Patience(RUN_PROCESSOR_SECONDS, RUN_CLOCK_SECONDS, self.kill_requested.is_set)
        # Those of a worker that has ended; to stop it kills what is left of its session.
        child_process.terminate_all(self._adopted_runs, patience)
        if worker := by_name.get(WORKER):
            child_process.terminate_all(lambda: child_process.running_children(worker.process.pid), patience)
            worker.stop(STOP_TIMEOUT)
        child_process.terminate_all(self._adopted_runs, patience)
        if self.client:
            try:
                # Without its server, only MLflow can be updated; Prefect is at the next start.
                server_stopped = by_name["prefect-server"].exit_status
                self._reconcile_run_states(None if server_stopped else self.client)
            except Exception as error:
                print_message(
                    f"states of ended runs will be repaired at the next start: {type(error).__name__}"
                )
        for child in reversed(self.children):
            child.stop(STOP_TIMEOUT)
        child_process.terminate_all(
            lambda: child_process.running_children(os.getpid()), Patience(STOP_TIMEOUT, STOP_TIMEOUT)
        )

    def _adopted_runs(self) -> "list[psutil.Process]":
        """Return the processes of runs whose worker ended before them."""
        servers = {child.process.pid for child in self.children}
        children = child_process.running_children(os.getpid())
        return [child for child in children if child.pid not in servers]

    def _start_worker(self) -> ChildProcess:
        command = f"prefect worker start --pool {POOL} --type process --name {self.worker_name}"
        return self._start_server(WORKER, command.split())

    def _restart_worker(self) -> ChildProcess:
        """Start another worker, after the runs that the ended one had not started yet were marked as crashed."""
        import httpx

        # A busy server may not answer; the next start repeats it.
        with suppress(httpx.HTTPError):
            if self.client:
                self._mark_orphaned_runs(self.client)
        for child in [child for child in self.children if child.name == WORKER]:
            # Not stopped: that would kill its runs.
            child.close()
            self.children.remove(child)
        return self._start_worker()

    def _start_server(
        self, name: str, command: list[str], variables: Mapping[str, str] | None = None
    ) -> ChildProcess:
        self.children.append(self._start_process(name, command, variables))
        return self.children[-1]

    def _start_process(
        self, name: str, command: list[str], variables: Mapping[str, str] | None = None
    ) -> ChildProcess:
        logs = self.settings.state_dir.resolve() / "logs"
        logs.mkdir(exist_ok=True)
        environment = {**self.base_environment, **self.environment, **(variables or {})}
        command = [sys.executable, "-m", *command]
        return ChildProcess.start(name, command, logs / f"{name}.log", environment, ROOT)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of all servers and their runs. Paths are absolute, since runs start in another folder."""
        settings = self.settings
        paths = {"HOME": settings.state_dir, "DATA_DIR": settings.data_dir, "CONTRACTS": settings.contracts}
        return {
            **{f"STEWARD_{name}": str(path.resolve()) for name, path in paths.items() if path},
            "PWD": str(ROOT),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            AUTH_STRING_VARIABLE: auth_string(self.api_secret),
        }

    def _prefect_server_variables(self) -> dict[str, str]:
        database = {}
        if "postgresql" in self.settings.mlflow_uri.partition(":")[0]:
            url = postgres.prefect_url(self.settings.mlflow_uri)
            database["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
        return {
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": str(self.port),
            # Without it the UI calls port 4200, whatever the server's own port is.
            "PREFECT_SERVER_UI_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Its default lets every web page read and write.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.prefect_url,
            LOGIN_TOKEN_VARIABLE: self.login_token,
            **database,
        }

    def _mlflow_variables(self) -> dict[str, str]:
        return {
            LOGIN_TOKEN_VARIABLE: self.login_token,
            # Jobs for language models, which Steward does not use.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    def _deploy(self, client: "SyncPrefectClient") -> None:
        """Deploy prefect.yaml. Raises UsageError for a parameter in it that its flow does not have."""
        deployments.ensure_work_pool(client, POOL)
        deploy = self._start_process("deploy", ["prefect", "--no-prompt", "deploy", "--all"])
        try:
            self._wait_until(lambda: deploy.exit_status is not None, "prefect deploy")
        finally:
            deploy.stop(STOP_TIMEOUT)
        if deploy.process.returncode:
            raise ServerFailedError(f"prefect.yaml could not be deployed: {deploy.exit_summary}")
        self.deployed = deployments.enforce_parameter_schemas(client)

    def _wait_until(self, is_ready: Callable[[], bool], name: str) -> None:
        """Wait while all started servers run. Raises ShutdownRequestedError or ServerFailedError."""
        deadline = time.monotonic() + START_TIMEOUT
        while not is_ready():
            if self.shutdown_requested.wait(0.2):
                raise ShutdownRequestedError
            self.check()
            if time.monotonic() > deadline:
                logs = self.settings.state_dir.resolve() / "logs"
                raise ServerFailedError(f"{name} was not ready within {START_TIMEOUT} s\nsee {logs}")

    def _worker_polled_since(self, started: datetime) -> bool:
        assert self.client is not None
        workers = self.client.read_workers_for_work_pool(POOL)
        heartbeats = [worker.last_heartbeat_time for worker in workers if worker.name == self.worker_name]
        return any(heartbeat and heartbeat > started for heartbeat in heartbeats)

    def _reconcile_run_states(self, client: "SyncPrefectClient | None") -> None:
        """Set the final state of runs whose process has ended, whether or not the flow had started."""
        from flows.housekeeping.reconciliation import reconcile_dead_runs
        from tasks.tracking import connection

        reconcile_dead_runs(connection.connect(self.settings), self.settings)
        if client:
            self._mark_orphaned_runs(client)

    def _mark_orphaned_runs(self, client: "SyncPrefectClient") -> None:
        from tasks.locks import run_lock

        active = {metadata["id"] for metadata in run_lock.active_runs(self.settings)}
        orphaned_runs.mark_crashed(client, POOL, active, self.worker_name)


def _is_healthy(url: str) -> bool:
    import httpx

    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    return False
