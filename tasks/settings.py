"""Settings of this machine, read from the environment: folders, threads, device, database, retention.

No other module reads variables named STEWARD_*.
"""

import atexit
import os
import shutil
import tempfile
import warnings
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ml.device import Device
from ml.errors import UsageError
from tasks.local_servers import addresses

ROOT = Path(__file__).resolve().parents[1]

# Variables that libraries read: no telemetry, no progress bars, no more threads than a fit was given.
LIBRARY_VARIABLES = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
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
# Free bytes that a run requires: more than the largest run on public data writes.
MIN_FREE_BYTES = 200 * 2**20
TRUE_WORDS = ("1", "true", "t", "yes", "y", "on")


class Settings(BaseSettings):
    """The settings, read from environment variables with the prefix STEWARD_ (STEWARD_HOME for `state_dir`)."""

    model_config = SettingsConfigDict(
        env_prefix="STEWARD_",
        env_prefix_target="all",  # aliases too
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        validate_by_name=True,
    )

    state_dir: Path = Field(
        default=ROOT / "mlruns",
        validation_alias="home",
        description="the state directory: runs, models, cached results and the ledger",
    )
    data_dir: Path | None = Field(default=None, description="folder of data sets, one folder each")
    contracts: Path = Field(
        default=ROOT / "expectations", description="folder of contracts, one folder per use case"
    )
    threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="threads of a fit"
    )
    device: Device = Field(
        default="cpu", description="device that neural networks are trained on: cpu or cuda"
    )
    notify: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Prefect blocks that are notified of new champions and rejected runs, separated by commas",
    )
    tracking_uri: str | None = Field(
        default=None, description="MLflow's database; SQLite in the state directory by default"
    )
    store_days: float = Field(
        default=30, ge=0, le=36500, description="days after which unused cached results are deleted"
    )
    store_gigabytes: float = Field(
        default=50, ge=0, allow_inf_nan=False, description="size limit of the cached results"
    )
    runs_days: float = Field(
        default=90, ge=0, le=36500, description="days after which runs are deleted from MLflow and Prefect"
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return (
            tuple(name.strip() for name in value.split(",") if name.strip())
            if isinstance(value, str)
            else value
        )

    @cached_property
    def mlflow_uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.state_dir.resolve() / 'mlflow.db'}"

    @property
    def artifacts_dir(self) -> Path:
        return self.state_dir.resolve() / "artifacts"

    @property
    def ledger_dir(self) -> Path:
        return self.state_dir.resolve() / "ledger"

    def create_state_dir(self) -> None:
        """Create the state directory. Raises UsageError if it cannot be written, or if its disk is nearly full."""
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            probe = self.state_dir / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"a writable folder {self.state_dir}",
                error.strerror or str(error),
                "set STEWARD_HOME to a writable folder",
            ) from None
        if self.free_bytes < MIN_FREE_BYTES:
            raise UsageError(
                f"{MIN_FREE_BYTES >> 20} MB free in {self.state_dir}",
                f"{self.free_bytes >> 20} MB",
                "free disk space, or set STEWARD_HOME to a folder on a larger disk",
            )

    @property
    def free_bytes(self) -> int:
        """Free bytes on the disk of the state directory."""
        return shutil.disk_usage(self.state_dir).free


def load(**overrides: Any) -> Settings:
    """Load the settings of this process. Raises UsageError, which names each invalid variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(
            f"STEWARD_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise UsageError("valid settings", problems, "correct the environment") from None


def prepare_libraries(settings: Settings) -> None:
    """Set the variables that libraries read when they are imported; variables that are already set stay.

    While `steward up` runs on this state directory, they name its server, with its secret, and its database. Raises
    UsageError if this user may not read the address of the database.
    """
    servers = addresses.running_server_env(settings.state_dir.resolve(), os.environ)
    for name, value in {**LIBRARY_VARIABLES, **_library_folders(settings)}.items():
        os.environ.setdefault(name, value)
    os.environ.update(servers)
    # Prefect creates its folder when it is imported, but not the folder above. If that fails, `create_state_dir`
    # raises a clearer error than Prefect's warning.
    with suppress(OSError):
        settings.state_dir.resolve().mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def prepare_libraries_read_only(settings: Settings) -> None:
    """Set the variables for a process that must not write to the state directory: missing folders become temporary.

    Raises UsageError as `prepare_libraries` does.
    """
    os.environ.update(addresses.running_server_env(settings.state_dir.resolve(), os.environ))
    folders = _library_folders(settings)
    for name, value in {**LIBRARY_VARIABLES, **folders}.items():
        os.environ.setdefault(name, value)
    for name in folders:
        if not os.access(os.environ[name], os.R_OK | os.X_OK):
            os.environ[name] = tempfile.mkdtemp(prefix="steward-look-")
            atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)


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
