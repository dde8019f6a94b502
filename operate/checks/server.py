"""Prefect: the server that runs report to, and the memory that it would begin with."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operate.checks.finding import PATIENCE, Finding, Look
from operate.checks.machine import TOLERANCE

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

START = "start it (make up), or unset PREFECT_API_URL: runs then start a temporary one"

FORGETS = "Prefect then forgets its past runs, MLflow does not"


def server(look: Look) -> Iterator[Finding]:
    """Whether the server answers, is of this version, keeps to itself, and can run what is deployed on it."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    url = PREFECT_API_URL.value()
    if not url:
        yield Finding("server", "ok", "PREFECT_API_URL is not set: each command starts a temporary server")
        yield from _temporary(look)
        return
    where = httpx.URL(url).copy_with(username=None, password=None, query=None)
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": PATIENCE}) as client,
        ):
            yield from _answers(client, str(where))
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        fix = "see that PREFECT_API_URL ends in /api, and that PREFECT_API_KEY or PREFECT_API_AUTH_STRING is right"
        yield Finding("server", "bad", f"{where} answers with code {code}", fix)
    except (httpx.HTTPError, OSError) as error:
        yield Finding("server", "bad", f"no Prefect server answers at {where}: {type(error).__name__}", START)
    except ValueError:
        fix = "correct PREFECT_API_URL; the address of an API ends in /api"
        yield Finding("server", "bad", f"what answers at {where} is no Prefect API", fix)


def _answers(client: "SyncPrefectClient", where: str) -> Iterator[Finding]:
    import prefect

    response = client.request("GET", "/admin/version")
    theirs, ours = response.json(), prefect.__version__
    if theirs != ours:
        fix = f"stop the server and start it from this environment (prefect {ours})"
        yield Finding("server", "bad", f"{where} is version {theirs}, and Prefect here is {ours}", fix)
    else:
        yield Finding("server", "ok", f"{where} answers, version {theirs}")
    yield from _apart(response, where)
    if client.request("GET", "/admin/settings").json().get("server", {}).get("analytics_enabled"):
        fix = "start it with PREFECT_SERVER_ANALYTICS_ENABLED=false, as `make up` does"
        yield Finding("server", "bad", f"{where} reports to its makers", fix)
    yield from _deployed(client)


def _apart(response: "httpx.Response", where: str) -> Iterator[Finding]:
    """Schedules are due by the server's clock."""
    if "date" not in response.headers:
        return
    apart = abs(parsedate_to_datetime(response.headers["date"]).timestamp() - time.time())
    if apart > TOLERANCE:
        found = f"the clock of {where} is {apart / 60:.0f} minutes away from this one"
        yield Finding("server", "bad", found, "set both, as with `timedatectl set-ntp true`")


def _deployed(client: "SyncPrefectClient") -> Iterator[Finding]:
    ours = [one for one in client.read_deployments() if "steward" in one.tags]
    gone = [one.name for one in ours if any(not folder.is_dir() for folder in _folders(one.pull_steps or []))]
    if gone:
        found = f"deployments that start in a folder that is not there: {', '.join(sorted(gone))}"
        yield Finding("server", "bad", found, "from this checkout: prefect deploy --all")
    asleep = [
        name
        for name in sorted({one.work_pool_name for one in ours if one.work_pool_name})
        if client.read_work_pool(name).status != "READY"
    ]
    for name in asleep:
        found = f"no worker asks the pool {name} for work: what is scheduled waits"
        yield Finding("server", "warn", found, f"make up; or: prefect worker start --pool {name}")


def _folders(steps: list[dict[str, Any]]) -> list[Path]:
    return [
        Path(step[name]["directory"])
        for step in steps
        for name in step
        if name.endswith("set_working_directory")
    ]


def _temporary(look: Look) -> Iterator[Finding]:
    """The version of the tables that a temporary server finds in the home, and would migrate at once."""
    import prefect
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from prefect.settings import PREFECT_HOME
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.tracking.database import UnreadableError, reading

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
        with reading(f"sqlite:///{file}", still=True) as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except (UnreadableError, SQLAlchemyError):
        fix = f"restore it from a backup, or take it away: {FORGETS}"
        yield Finding("server", "bad", f"{file} is no database of Prefect that can be read", fix)
        return
    known = {one.revision for one in script.walk_revisions()}
    if found not in known:
        fix = f"install the Prefect that wrote it, or take {file} away: {FORGETS}"
        yield Finding("server", "bad", f"{file} is of version {found}, which Prefect here does not know", fix)
    elif found != script.get_current_head():
        fix = f"cp {file} {file}.backup, if you may go back to that version"
        yield Finding("server", "warn", f"{file} is older than Prefect here: the next run migrates it", fix)
