"""environment."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from flows.recording import code_version
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


def _surroundings(settings: Settings, code: code_version.Code) -> dict[str, Any]:
    """When, by which code, with which libraries, on what."""
    return {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code.commit,
        "code": asdict(code),
        "machine": {"python": platform.python_version(), "threads": settings.threads},
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _interval(asked: Mapping[str, Any]) -> str | None:
    """The instant that the run stands for: the one asked for, or when its schedule wanted it; ISO 8601, UTC."""
    context = FlowRunContext.get()
    instant = asked["as_of"]
    if not instant and context and context.flow_run and context.flow_run.auto_scheduled:
        instant = context.flow_run.expected_start_time
    return as_utc(instant).isoformat(timespec="seconds") if instant else None


def as_utc(instant: datetime) -> datetime:
    """An instant without a zone is one of UTC."""
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _resolved(contract: str | None) -> str | None:
    """The contract's file, where it was given as one."""
    return str(Path(contract).resolve()) if contract and contract.endswith(".json") else None


def prefect_context() -> dict[str, str | None]:
    """The flow run, and its page: none on the temporary server of one command, which ends with it."""
    page = url_for("flow-run", obj_id=flow_run.id) if flow_run.id and PREFECT_API_URL.value() else None
    return {"flow_run_id": flow_run.id, "flow_run_name": flow_run.name, "url": page}
