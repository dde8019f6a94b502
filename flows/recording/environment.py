"""Facts about the surroundings of a run: time, code, libraries, machine, and its Prefect flow run."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from flows.recording.code_version import CodeVersion
from tasks.settings import Settings

LIBRARIES = (
    "steward",
    "prefect",
    "mlflow",
    "great-expectations",
    "lightgbm",
    "scikit-learn",
    "pandas",
    "numpy",
    "pyarrow",
    "scipy",
    "implicit",
    "torch",
)


def environment_facts(settings: Settings, code: CodeVersion) -> dict[str, Any]:
    """Return start time, code, machine and library versions, as keys of `tasks.facts.RunFacts`."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code.commit,
        "code": asdict(code),
        "machine": {"python": platform.python_version(), "threads": settings.threads},
        "versions": {name: version(name) for name in LIBRARIES},
    }


def data_interval(as_of: datetime | None) -> str | None:
    """Return the instant that the run stands for (ISO 8601, UTC): `as_of`, or the time that a schedule planned."""
    context = FlowRunContext.get()
    instant = as_of
    if not instant and context and context.flow_run and context.flow_run.auto_scheduled:
        instant = context.flow_run.expected_start_time
    return as_utc(instant).isoformat(timespec="seconds") if instant else None


def as_utc(instant: datetime) -> datetime:
    """Convert to UTC; an instant without a time zone is one of UTC."""
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def contract_path(contract: str | None) -> str | None:
    """Return the absolute path of a contract that was given as a file, None for a name."""
    return str(Path(contract).resolve()) if contract and contract.endswith(".json") else None


def prefect_context() -> dict[str, str | None]:
    """Return id, name and page of the flow run; no page on the temporary server of one command."""
    page = url_for("flow-run", obj_id=flow_run.id) if flow_run.id and PREFECT_API_URL.value() else None
    return {"flow_run_id": flow_run.id, "flow_run_name": flow_run.name, "url": page}
