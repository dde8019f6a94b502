"""What `steward up` runs, on loopback: a Prefect server, MLflow, a worker with all deployments.

They end in this order: the runs (SIGTERM, so that each can say how it ended), the worker, MLflow, the server. A worker
that ends kills its runs where they stand, and without a server it may try for minutes to reach one.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from operate.console import ROOT, say
from operate.local_stack import automations, child_process, deployments, orphaned_runs, postgres
from operate.local_stack.child_process import Child
from operate.local_stack.ports import HOST

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from tasks.settings import Settings

POOL = WORKER = "steward"
# Seconds: for each to be ready, for runs to end, for each to end.
READY, RUNS_END, END = 180, 30, 20


class AskedToEndError(Exception):
    """By Ctrl-C or by a signal."""


class ServersFailedError(Exception):
    """One of them could not be started or ended by itself; the message is for the operator."""


@dataclass
class Servers:
    """`inherited` is the environment that they start from; `asked_to_end` is set by whoever wants them to end."""

    settings: "Settings"
    port: int
    mlflow_port: int
    inherited: Mapping[str, str]
    asked_to_end: threading.Event = field(default_factory=threading.Event)
    children: list[Child] = field(default_factory=list)
    client: "SyncPrefectClient | None" = None
    deployed: list[str] = field(default_factory=list)

    @property
    def prefect_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.mlflow_port}"

    def start(self) -> "SyncPrefectClient":
        """All of them, in their order, until each is ready.

        Raises AskedToEndError or ServersFailedError; `end` is due then too.
        """
        child_process.adopt_orphans()
        self._begin("prefect-server", ["prefect", "server", "start"], self._for_prefect_server())
        # While the server wakes up: the libraries, and MLflow's database, which must be made before anyone asks for it.
        from prefect.client.orchestration import get_client

        from tasks.tracking import connection

        connection.connect(self.settings)
        command = f"mlflow server --host {HOST} --port {self.mlflow_port} --workers 1 --no-serve-artifacts"
        command = f"{command} --default-artifact-root {self.settings.artifacts.as_uri()}"
        self._begin("mlflow", command.split(), self._for_mlflow())
        self._until(lambda: _answers(f"{self.prefect_url}/api/health"), "the Prefect server")
        self.client = get_client(sync_client=True).__enter__()
        self._deploy(self.client)
        automations.ensure(self.client)
        self._tell_the_truth(self.client)
        began = datetime.now(UTC)
        command = f"prefect worker start --pool {POOL} --type process --name {WORKER}"
        self._begin("worker", command.split())
        self._until(lambda: self._polls_since(began), "the worker")
        self._until(lambda: _answers(f"{self.mlflow_url}/health"), "MLflow")
        return self.client

    def check(self) -> None:
        """Raises ServersFailedError where one has ended by itself."""
        for one in self.children:
            if one.ended:
                raise ServersFailedError(f"{one.name} ended by itself: {one.obituary}, then start again")

    def end(self) -> None:
        """All that was started, whatever state it is in; nothing is left behind."""
        ours = {one.name: one for one in self.children}
        if worker := ours.get("worker"):
            child_process.end_all(lambda: child_process.children_of(worker.process.pid), RUNS_END)
            worker.end(END)
        # Runs whose worker died before them.
        pids = {one.process.pid for one in self.children}
        child_process.end_all(
            lambda: [pid for pid in child_process.children_of(os.getpid()) if pid not in pids], RUNS_END
        )
        if self.client:
            try:
                # Without a server, MLflow alone is put right; Prefect is at the next start.
                self._tell_the_truth(None if ours["prefect-server"].ended else self.client)
            except Exception as error:
                say(f"runs that ended are put right at the next start: {type(error).__name__} now")
        for one in reversed(self.children):
            one.end(END)
        child_process.end_all(lambda: child_process.children_of(os.getpid()), END)

    def _begin(self, name: str, command: list[str], more: Mapping[str, str] | None = None) -> Child:
        """Start one of them, with its output in a log file."""
        started = self._child(name, command, more)
        self.children.append(started)
        return started

    def _child(self, name: str, command: list[str], more: Mapping[str, str] | None = None) -> Child:
        logs = self.settings.home.resolve() / "logs"
        logs.mkdir(exist_ok=True)
        environment = {**self.inherited, **self.environment, **(more or {})}
        return Child.start(name, [sys.executable, "-m", *command], logs / f"{name}.log", environment, ROOT)

    @property
    def environment(self) -> dict[str, str]:
        """What all of them and their runs know. Paths are absolute: runs start in another folder."""
        known = self.settings
        paths = {"HOME": known.home, "DATA_DIR": known.data_dir, "CONTRACTS": known.contracts}
        return {
            **{f"STEWARD_{name}": str(path.resolve()) for name, path in paths.items() if path},
            "PWD": str(ROOT),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(automations.HEARTBEAT),
        }

    def _for_prefect_server(self) -> dict[str, str]:
        database = {}
        if "postgresql" in self.settings.mlflow_uri.partition(":")[0]:
            database["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgres.for_prefect(
                self.settings.mlflow_uri
            )
        return {
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": str(self.port),
            # Without it the UI asks port 4200, whatever the server's own is.
            "PREFECT_SERVER_UI_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            **database,
        }

    def _for_mlflow(self) -> dict[str, str]:
        return {
            # In the environment, as it may hold a password.
            "MLFLOW_BACKEND_STORE_URI": self.settings.mlflow_uri,
            # Jobs of language models, which nobody asked for.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    def _deploy(self, client: "SyncPrefectClient") -> None:
        """The pool and what prefect.yaml says. Raises UsageError for a parameter there that no flow has."""
        deployments.ensure_pool(client, POOL)
        deploying = self._child("deploy", ["prefect", "--no-prompt", "deploy", "--all"])
        try:
            self._until(lambda: deploying.ended is not None, "prefect deploy")
        finally:
            deploying.end(END)
        if deploying.process.returncode:
            raise ServersFailedError(f"prefect.yaml could not be deployed: {deploying.obituary}")
        self.deployed = deployments.seal(client)

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait, with an eye on all that runs already."""
        until = time.monotonic() + READY
        while not ready():
            if self.asked_to_end.wait(0.2):
                raise AskedToEndError
            self.check()
            if time.monotonic() > until:
                logs = self.settings.home.resolve() / "logs"
                raise ServersFailedError(f"{what} took more than {READY} s to get ready\nsee {logs}")

    def _polls_since(self, began: datetime) -> bool:
        assert self.client is not None
        workers = self.client.read_workers_for_work_pool(POOL)
        beats = [one.last_heartbeat_time for one in workers if one.name == WORKER]
        return any(beat and beat > began for beat in beats)

    def _tell_the_truth(self, client: "SyncPrefectClient | None") -> None:
        """About runs whose process is gone: those that had begun, and those that had not yet."""
        from flows.housekeeping.dead_runs import reap
        from tasks.locks import run_lock
        from tasks.tracking import connection

        reap(connection.connect(self.settings), self.settings)
        if client:
            orphaned_runs.crash(client, POOL, {told["id"] for told in run_lock.active_runs(self.settings)})


def _answers(url: str) -> bool:
    import httpx

    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    return False
