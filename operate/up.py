"""`steward up`: a Prefect server, a worker with all deployments, and the MLflow UI, until Ctrl-C."""

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
from operate.console import OTHER, quiet, say
from operate.local_stack import ports, postgres
from operate.local_stack.event_feed import Ticker
from operate.local_stack.servers import AskedToEndError, Servers, ServersFailedError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Seconds between two looks at what happens, and that a look of others at the lock may last.
PAUSE, LOOK = 2.0, 2.0


def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect server and its UI.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
    database: Annotated[
        str | None,
        typer.Option(help="PostgreSQL for both: postgresql://USER:PASSWORD@HOST:PORT/NAME; else SQLite."),
    ] = None,
) -> None:
    """Start a Prefect server, a worker with all deployments, and the MLflow UI, for this machine only."""
    if database is not None:
        postgres.address(database)
        # Everyone on a machine can read the arguments of a process; its environment, only its user.
        os.environ["STEWARD_TRACKING_URI"] = database
        again = [sys.executable, sys.argv[0], "up", f"--port={port}", f"--mlflow-port={mlflow_port}"]
        os.execv(again[0], again)

    from tasks import settings

    known = settings.load()
    known.prepare()
    with _only_one(known.home.resolve()):
        _check({"Prefect server": port, "MLflow UI": mlflow_port})
        if known.mlflow_uri.startswith("postgresql"):
            postgres.create(known.mlflow_uri)
        settings.prepare_libraries(known)
        servers = Servers(known, port, mlflow_port, dict(os.environ))
        # This process asks the server too; unlike what it starts, it is not to log all that libraries say.
        os.environ.update(servers.environment)
        with quiet():
            sys.exit(_run(servers))


def _run(servers: Servers) -> int:
    """Until it is asked to end. The exit code: 1 after a failure."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: servers.asked_to_end.set())
    code = 0
    typer.echo("starting ...")
    try:
        client = servers.start()
        with _told(servers):
            _welcome(servers)
            _watch(servers, client)
    except AskedToEndError:
        pass
    except ServersFailedError as failure:
        code = OTHER
        say(str(failure))
    except Exception as error:
        # Of what a library says at length, the first line.
        code = OTHER
        say(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    finally:
        typer.echo("ending: runs, worker, MLflow, Prefect server ...")
        servers.end()
    typer.echo("all ended")
    return code


def _watch(servers: Servers, client: "SyncPrefectClient") -> None:
    """Tell what happens. Raises AskedToEndError or ServersFailedError."""
    import httpx

    ticker = Ticker(client, servers.prefect_url)
    while not servers.asked_to_end.wait(PAUSE):
        servers.check()
        # A busy server may not answer; whether it is dead is asked above.
        with suppress(httpx.HTTPError):
            for line in ticker.lines():
                typer.echo(line)
    raise AskedToEndError


def _welcome(servers: Servers) -> None:
    from tasks.tracking import database

    home = servers.settings.home.resolve()
    typer.echo(
        f"Prefect   {servers.prefect_url}\n"
        f"MLflow    {servers.mlflow_url}\n"
        f"database  {database.shown(servers.settings.mlflow_uri)}\n"
        f"logs      {home / 'logs'}\n"
        f"deployed  {', '.join(servers.deployed)}\n"
        "Ctrl-C ends all of them."
    )


def _check(wanted: dict[str, int]) -> None:
    """Raises UsageError where a port is taken."""
    if len(set(wanted.values())) < len(wanted):
        raise UsageError("two ports", "one for both", "give --port and --mlflow-port")
    for what, port in wanted.items():
        if not ports.is_free(port):
            holder = ports.holder(port) or "a process of another user"
            option = "--port" if what == "Prefect server" else "--mlflow-port"
            raise UsageError(
                f"port {port} free for the {what}", f"in use by {holder}", f"end it, or give {option} NUMBER"
            )


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the lock that tells that `steward up` runs on this home. Raises UsageError where another does."""
    from filelock import FileLock, Timeout

    from tasks.local_servers import LOCK, TOLD

    lock = FileLock(home / LOCK, timeout=LOOK)
    try:
        lock.acquire()
    except Timeout:
        about = json.loads((home / TOLD).read_text()) if (home / TOLD).exists() else {}
        where = f", process {about['pid']}, {about['prefect']}" if about else ", which is starting"
        raise UsageError(
            f"no `steward up` on {home} yet",
            f"one that runs{where}",
            "use that one, end it, or set STEWARD_HOME",
        ) from None
    try:
        # Of one that was killed.
        (home / TOLD).unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _told(servers: Servers) -> Iterator[None]:
    """Where commands of this home find the servers. It holds no password."""
    from tasks.local_servers import TOLD

    path = servers.settings.home.resolve() / TOLD
    told = {
        "pid": os.getpid(),
        "prefect": servers.prefect_url,
        "mlflow": servers.mlflow_url,
        "own_database": servers.settings.tracking_uri is not None,
        "began": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    unnamed = path.with_name(f".up-{os.getpid()}.json")
    unnamed.write_text(json.dumps(told))
    unnamed.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
