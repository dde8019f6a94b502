"""`steward up`: run a Prefect server, a worker with all deployments, and the MLflow UI until Ctrl-C."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml.errors import UsageError
from operate.console import EXIT_FAILURE, console_logging, print_message
from operate.local_stack import ports, postgres
from operate.local_stack.event_feed import EventFeed
from operate.local_stack.run_monitor import RunMonitor
from operate.local_stack.run_names import name_waiting_runs
from operate.local_stack.servers import ServerFailedError, Servers, ShutdownRequestedError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Seconds between two queries for new events. Other commands hold the lock briefly when they test it.
POLL_INTERVAL, LOCK_TIMEOUT = 2.0, 2.0


def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect server and its UI.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
    database: Annotated[
        str | None,
        typer.Option(
            help="PostgreSQL for MLflow and Prefect: postgresql://USER:PASSWORD@HOST:PORT/NAME. Default: SQLite."
        ),
    ] = None,
) -> None:
    """Start a Prefect server, a worker with all deployments, and the MLflow UI, reachable from this machine only."""
    if database is not None:
        postgres.parse_url(database)
        # Every user of a machine can read the arguments of a process; only its own user reads its environment.
        os.environ["STEWARD_TRACKING_URI"] = database
        command = [sys.executable, sys.argv[0], "up", f"--port={port}", f"--mlflow-port={mlflow_port}"]
        os.execv(command[0], command)

    from tasks.library_variables import prepare_libraries
    from tasks.local_servers.api_secret import ensure_api_secret
    from tasks.settings import load

    settings = load()
    settings.create_state_dir()
    with single_instance_lock(settings.state_dir.resolve()):
        _require_free_ports({"Prefect server": port, "MLflow UI": mlflow_port})
        if settings.mlflow_uri.startswith("postgresql"):
            postgres.create_databases(settings.mlflow_uri)
        prepare_libraries(settings)
        secret = ensure_api_secret(settings.state_dir.resolve())
        servers = Servers(settings, port, mlflow_port, secret, dict(os.environ))
        # This process is a client of the server too, but its console does not show what libraries log.
        os.environ.update(servers.environment)
        with console_logging():
            sys.exit(_run(servers))


def _run(servers: Servers) -> int:
    """Run the servers until shutdown is requested or one fails; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: request_stop(servers, received))
    code = 0
    typer.echo("starting ...")
    try:
        client = servers.start()
        with _address_file(servers):
            _print_addresses(servers)
            _print_events(servers, client)
    except ShutdownRequestedError:
        pass
    except ServerFailedError as failure:
        code = EXIT_FAILURE
        print_message(str(failure))
    except Exception as error:
        code = EXIT_FAILURE
        first_line = str(error).strip().partition("\n")[0]
        print_message(f"{type(error).__name__}: {first_line}")
    finally:
        typer.echo(
            "stopping: runs, worker, MLflow, Prefect server ... (Ctrl-C again kills runs that take long)"
        )
        servers.stop()
    typer.echo("all stopped")
    return code


def request_stop(servers: Servers, received: int) -> None:
    """Request a stop; a Ctrl-C after it also kills the runs that take long to end.

    Only a person repeats Ctrl-C: a service manager and `make` may both send the same SIGTERM.
    """
    if received == signal.SIGINT and servers.shutdown_requested.is_set():
        servers.kill_requested.set()
    servers.shutdown_requested.set()


def _print_events(servers: Servers, client: "SyncPrefectClient") -> None:
    """Print events of runs, and end runs that are killed. Raises ShutdownRequestedError or ServerFailedError."""
    import httpx

    feed = EventFeed(client, servers.prefect_url)
    monitor = RunMonitor(servers.settings, client)
    while not servers.shutdown_requested.wait(POLL_INTERVAL):
        servers.check()
        if servers.worker_restarts and (message := servers.worker_restarts.look()):
            print_message(message)
        monitor.look()
        # A busy server may not answer; whether it still runs is checked above.
        with suppress(httpx.HTTPError):
            name_waiting_runs(client)
            for line in feed.new_lines():
                typer.echo(line)
    raise ShutdownRequestedError


def _print_addresses(servers: Servers) -> None:
    from tasks.tracking import database

    typer.echo(
        f"Prefect   {servers.login_address(servers.prefect_url)}\n"
        f"MLflow    {servers.login_address(servers.mlflow_url)}\n"
        f"database  {database.redacted_url(servers.settings.mlflow_uri)}\n"
        f"logs      {servers.settings.state_dir.resolve() / 'logs'}\n"
        f"deployed  {', '.join(servers.deployed)}\n"
        "Both addresses let a browser in until this command ends: give them to nobody. Ctrl-C stops all of them."
    )


def _require_free_ports(ports_by_server: dict[str, int]) -> None:
    """Raise UsageError if a port is in use."""
    if len(set(ports_by_server.values())) < len(ports_by_server):
        raise UsageError("two different ports", "the same port twice", "set --port and --mlflow-port")
    for server, port in ports_by_server.items():
        if not ports.is_free(port):
            process = ports.listening_process(port) or "a process of another user"
            option = "--port" if server == "Prefect server" else "--mlflow-port"
            raise UsageError(
                f"port {port} free for the {server}",
                f"in use by {process}",
                f"end it, or give {option} NUMBER",
            )


@contextmanager
def single_instance_lock(state_dir: Path) -> Iterator[None]:
    """Hold the lock of `steward up` on a state directory. Raises UsageError if another process holds it."""
    from filelock import FileLock, Timeout

    from tasks.local_servers.addresses import SERVER_INFO, SERVER_LOCK

    lock, addresses = FileLock(state_dir / SERVER_LOCK, timeout=LOCK_TIMEOUT), state_dir / SERVER_INFO
    try:
        lock.acquire()
    except Timeout:
        other = json.loads(addresses.read_text()) if addresses.exists() else {}
        description = f"process {other['pid']}, {other['prefect']}" if other else "still starting"
        raise UsageError(
            f"no other `steward up` on {state_dir}",
            f"one that is running: {description}",
            "use that one, stop it, or set STEWARD_HOME",
        ) from None
    try:
        # Left behind by a process that was killed.
        addresses.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _address_file(servers: Servers) -> Iterator[None]:
    """Write where other commands find the servers; delete it afterwards. It contains no password."""
    from tasks.local_servers.addresses import SERVER_INFO

    path = servers.settings.state_dir.resolve() / SERVER_INFO
    addresses = {
        "pid": os.getpid(),
        "prefect": servers.prefect_url,
        "mlflow": servers.mlflow_url,
        "own_database": servers.settings.tracking_uri is not None,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    temporary = path.with_name(f".up-{os.getpid()}.json")
    temporary.write_text(json.dumps(addresses))
    temporary.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
