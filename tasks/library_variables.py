"""What a process prepares before it imports libraries: the variables that they read, and rare searches for garbage."""

import atexit
import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tasks.local_servers import addresses
from tasks.private_folder import create_private
from tasks.settings import Settings

# No telemetry, no progress bars, no more threads than a fit was given.
LIBRARY_VARIABLES = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # The shortest interval that Prefect allows: `steward up` ends runs of other machines whose heartbeats stop.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # On a busy machine requests wait longer for a connection to the database than half a minute, or fail.
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_TIMEOUT": "300",
    "PREFECT_API_REQUEST_TIMEOUT": "300",
    # The log of a run is also shown in Prefect's UI.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "steward",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Waiting threads sleep instead of spinning: on a busy machine, a fit of LightGBM took 1 second instead of 48.
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Those of them that switch telemetry off.
TELEMETRY_VARIABLES = (
    "DO_NOT_TRACK",
    "PREFECT_SERVER_ANALYTICS_ENABLED",
    "MLFLOW_DISABLE_TELEMETRY",
    "GX_ANALYTICS_ENABLED",
    "HF_HUB_DISABLE_TELEMETRY",
)
TRUE_WORDS = ("1", "true", "t", "yes", "y", "on")
# New objects from which on the young ones are searched for garbage, and how many of these searches come before one of
# the next older ones. What libraries make is no garbage: to search it, by Python's numbers, took a sixth of the import
# of a use case.
GARBAGE_THRESHOLDS = (50_000, 10, 10)


def prepare_libraries(settings: Settings) -> None:
    """Set the variables that libraries read when they are imported; variables that are already set stay.

    While `steward up` runs on this state directory, they name its server, with its secret, and its database. Raises
    UsageError if this user may not read the address of the database.
    """
    _set_variables(settings, addresses.running_server_env(settings.state_dir.resolve(), os.environ))
    # Prefect creates its folder when it is imported, but not the folder above. If that fails, `create_state_dir`
    # raises a clearer error than Prefect's warning.
    # A command that only reads has named a temporary folder instead.
    if Path(os.environ["PREFECT_HOME"]).parent == settings.state_dir.resolve():
        with suppress(OSError):
            create_private(settings.state_dir.resolve(), settings.shared_home)
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
    if not settings.debug:
        warnings.formatwarning = _format_without_text


def _format_without_text(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning by category and place, as texts of libraries may quote cells."""
    return f"{filename}:{lineno}: {category.__name__} (STEWARD_DEBUG=1 shows its text)\n"


def prepare_libraries_read_only(settings: Settings) -> None:
    """Set the variables for a process that must not write to the state directory: missing folders become temporary.

    Raises UsageError as `prepare_libraries` does.
    """
    servers: dict[str, str] = {}
    # A state directory that this user may not read is reported by its own check.
    with suppress(PermissionError):
        servers = addresses.running_server_env(settings.state_dir.resolve(), os.environ)
    _set_variables(settings, servers)
    for name in _library_folders(settings):
        if not os.access(os.environ[name], os.R_OK | os.X_OK):
            os.environ[name] = tempfile.mkdtemp(prefix="steward-look-")
            atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)


def _set_variables(settings: Settings, servers: Mapping[str, str]) -> None:
    """Set the variables that libraries read, and let this process search for garbage rarely."""
    for name, value in {**LIBRARY_VARIABLES, **_library_folders(settings)}.items():
        os.environ.setdefault(name, value)
    os.environ.update(servers)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    # The search at the end of a process would take a second.
    atexit.register(gc.freeze)


def enabled_telemetry() -> dict[str, str]:
    """Return the variables by which the environment has enabled the telemetry of a library, with their values."""
    disabling = {name: LIBRARY_VARIABLES[name] in TRUE_WORDS for name in TELEMETRY_VARIABLES}
    present = {name: os.environ[name] for name in TELEMETRY_VARIABLES if name in os.environ}
    return {
        name: value
        for name, value in present.items()
        if (value.strip().lower() in TRUE_WORDS) != disabling[name]
    }


def _library_folders(settings: Settings) -> dict[str, str]:
    state_dir = settings.state_dir.resolve()
    return {
        "PREFECT_HOME": str(state_dir / "prefect"),
        "MPLCONFIGDIR": str(state_dir / "cache" / "matplotlib"),
    }
