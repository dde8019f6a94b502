"""Check of the Prefect server, or of the database that a temporary server would open."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operate.checks.finding import CheckContext, Finding
from operate.checks.machine import MAX_CLOCK_DIFFERENCE

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

TIMEOUT = 5  # seconds
START = "start it (make up), or unset PREFECT_API_URL: runs then start a temporary server"
HISTORY_LOST = "Prefect's run history is then lost, MLflow's is not"


def server(context: CheckContext) -> Iterator[Finding]:
    """Check that the server answers, has this version, sends no usage data, and can run its deployments."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    api_url = PREFECT_API_URL.value()
    if not api_url:
        yield Finding("server", "ok", "PREFECT_API_URL is not set: each command starts a temporary server")
        yield from _check_temporary_database()
        return
    url = httpx.URL(api_url).copy_with(username=None, password=None, query=None)
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT}) as client,
        ):
            yield from _check_server(client, str(url))
    except httpx.HTTPStatusError as error:
        fix = "check that PREFECT_API_URL ends in /api, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
        yield Finding("server", "bad", f"{url} answers with HTTP status {error.response.status_code}", fix)
    except (httpx.HTTPError, OSError) as error:
        message = f"no Prefect server answers at {url}: {type(error).__name__}"
        yield Finding("server", "bad", message, START)
    except ValueError:
        fix = "correct PREFECT_API_URL; the address of an API ends in /api"
        yield Finding("server", "bad", f"the server at {url} has no Prefect API", fix)


def _check_server(client: "SyncPrefectClient", url: str) -> Iterator[Finding]:
    import prefect

    response = client.request("GET", "/admin/version")
    version, installed = response.json(), prefect.__version__
    if version != installed:
        fix = f"stop the server and start it from this environment (prefect {installed})"
        yield Finding("server", "bad", f"{url} has version {version}, but {installed} is installed here", fix)
    else:
        yield Finding("server", "ok", f"{url} answers, version {version}")
    yield from _check_clock(response, url)
    if client.request("GET", "/admin/settings").json().get("server", {}).get("analytics_enabled"):
        fix = "start it with PREFECT_SERVER_ANALYTICS_ENABLED=false, as `make up` does"
        yield Finding("server", "bad", f"{url} sends usage data", fix)
    yield from _check_deployments(client)


def _check_clock(response: "httpx.Response", url: str) -> Iterator[Finding]:
    """Compare clocks, since the server starts scheduled runs by its own."""
    if "date" not in response.headers:
        return
    difference = abs(parsedate_to_datetime(response.headers["date"]).timestamp() - time.time())
    if difference > MAX_CLOCK_DIFFERENCE:
        message = f"the clock of {url} differs by {difference / 60:.0f} minutes from this machine's"
        yield Finding("server", "bad", message, "set both, for example with `timedatectl set-ntp true`")


def _check_deployments(client: "SyncPrefectClient") -> Iterator[Finding]:
    deployments = [deployment for deployment in client.read_deployments() if "steward" in deployment.tags]
    moved = [
        deployment.name
        for deployment in deployments
        if any(not folder.is_dir() for folder in _working_directories(deployment.pull_steps or []))
    ]
    if moved:
        message = f"deployments whose working directory does not exist: {', '.join(sorted(moved))}"
        yield Finding("server", "bad", message, "from this checkout: prefect deploy --all")
    for pool in sorted(
        {deployment.work_pool_name for deployment in deployments if deployment.work_pool_name}
    ):
        if client.read_work_pool(pool).status != "READY":
            message = f"no worker polls the work pool {pool}: scheduled runs wait"
            fix = f"make up; or: prefect worker start --pool {pool}"
            yield Finding("server", "warn", message, fix)


def _working_directories(steps: list[dict[str, Any]]) -> list[Path]:
    return [
        Path(step[name]["directory"])
        for step in steps
        for name in step
        if name.endswith("set_working_directory")
    ]


def _check_temporary_database() -> Iterator[Finding]:
    """Check the schema version of the database that a temporary server would open and migrate."""
    import prefect
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from prefect.settings import PREFECT_HOME
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.tracking.database import DatabaseUnreadableError, open_read_only, schema_revision, table_names

    file = PREFECT_HOME.value() / "prefect.db"
    if not file.exists():
        return
    migrations = Path(prefect.__file__).parent / "server" / "database" / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("version_locations", str(migrations / "versions" / "sqlite").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    try:
        with open_read_only(f"sqlite:///{file}", immutable=True) as connection:
            tables, version = table_names(connection), schema_revision(connection)
    except (DatabaseUnreadableError, SQLAlchemyError):
        tables, version = {"unreadable"}, None
    if version is None and tables - {"alembic_version"}:
        fix = f"restore it from a backup, or move it away: {HISTORY_LOST}"
        yield Finding("server", "bad", f"{file} is not a readable Prefect database", fix)
        return
    if version is None:
        # Each of Prefect's migrations is a transaction: the next server repeats the one that was killed.
        yield Finding("server", "ok", f"{file} has no tables yet: the next run creates them")
        return
    if version not in {revision.revision for revision in script.walk_revisions()}:
        message = f"{file} has schema version {version}, which the installed Prefect does not know"
        fix = f"install the Prefect that wrote it, or move {file} away: {HISTORY_LOST}"
        yield Finding("server", "bad", message, fix)
    elif version != script.get_current_head():
        message = f"{file} is older than the installed Prefect: the next run migrates it"
        yield Finding("server", "warn", message, f"to be able to go back: cp {file} {file}.backup")
