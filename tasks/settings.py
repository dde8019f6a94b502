"""The machine: where things are and how much of it a run may use. The only reader of the environment."""

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
from tasks import local_servers

ROOT = Path(__file__).resolve().parents[1]

# Nothing leaves the machine, nothing is drawn over the terminal, and Prefect keeps its memory next to ours.
LIBRARIES = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # What a run says goes to Prefect's UI as well.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "steward",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Threads that wait for one another sleep instead of spinning: on a busy machine a fit of LightGBM took 1 second so,
    # and 48 without.
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Those of them that keep a library from reporting to its makers.
TELEMETRY = (
    "DO_NOT_TRACK",
    "PREFECT_SERVER_ANALYTICS_ENABLED",
    "MLFLOW_DISABLE_TELEMETRY",
    "GX_ANALYTICS_ENABLED",
    "HF_HUB_DISABLE_TELEMETRY",
)
# Bytes that a run should find free: more than the largest run on public data writes.
LEAST_FREE = 200 * 2**20
TRUE = ("1", "true", "t", "yes", "y", "on")


class Settings(BaseSettings):
    """Read from the environment, each name with the prefix STEWARD_."""

    model_config = SettingsConfigDict(
        env_prefix="STEWARD_", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    home: Path = Field(
        default=ROOT / "mlruns", description="where runs, models, the store and the ledger live"
    )
    data_dir: Path | None = Field(default=None, description="folder of public data sets, one folder each")
    contracts: Path = Field(
        default=ROOT / "expectations", description="folder of contracts, one folder a case"
    )
    threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="threads of a fit"
    )
    device: Device = Field(default="cpu", description="what networks are trained on: cpu or cuda")
    notify: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Prefect blocks told of new champions and refusals, with commas between"
    )
    tracking_uri: str | None = Field(
        default=None, description="MLflow's database; SQLite in the home by default"
    )
    store_days: float = Field(
        default=30, ge=0, le=36500, description="days that unused results stay in the store"
    )
    store_gigabytes: float = Field(
        default=50, ge=0, allow_inf_nan=False, description="size that the store is kept under"
    )
    runs_days: float = Field(
        default=90, ge=0, le=36500, description="days that runs stay in MLflow and Prefect"
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return (
            tuple(name.strip() for name in value.split(",") if name.strip())
            if isinstance(value, str)
            else value
        )

    @cached_property
    def mlflow_uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.home.resolve() / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.home.resolve() / "artifacts"

    @property
    def ledger(self) -> Path:
        return self.home.resolve() / "ledger"

    def prepare(self) -> None:
        """Make the home. Raises UsageError where it cannot be written, or hardly, before anything else is."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            probe = self.home / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"a writable folder {self.home}",
                error.strerror or str(error),
                "set STEWARD_HOME to one that is",
            ) from None
        if self.free < LEAST_FREE:
            raise UsageError(
                f"room for {LEAST_FREE >> 20} MB more in {self.home}",
                f"{self.free >> 20} MB",
                "free some, or set STEWARD_HOME to a folder on a larger disk",
            )

    @property
    def free(self) -> int:
        """Bytes that are left on the disk of the home."""
        return shutil.disk_usage(self.home).free


def load(**overrides: Any) -> Settings:
    """The settings of this process. Raises UsageError naming each variable that is wrong."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(
            f"STEWARD_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise UsageError("valid settings", wrong, "correct the environment") from None


def prepare_libraries(settings: Settings) -> None:
    """Set what libraries read from the environment when they are imported; what a person has set stays.

    While `steward up` runs on this home, that is its server and its database. Raises UsageError where this user may not
    know the latter.
    """
    for name, value in {**LIBRARIES, **_folders(settings), **_servers(settings)}.items():
        os.environ.setdefault(name, value)
    # Prefect makes its home when it is imported, but not the folder above; where that cannot be, the check before
    # the run says so better than Prefect's warning.
    with suppress(OSError):
        settings.home.resolve().mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def prepare_to_look(settings: Settings) -> None:
    """As `prepare_libraries`, for a process that may leave no trace: folders that are not there are temporary ones."""
    for name, value in {**LIBRARIES, **_folders(settings)}.items():
        os.environ.setdefault(name, value)
    for name in _folders(settings):
        if not os.access(os.environ[name], os.R_OK | os.X_OK):
            os.environ[name] = tempfile.mkdtemp(prefix="steward-look-")
            atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)


def reporting() -> dict[str, str]:
    """Variables by which somebody has let a library report to its makers again, with their values."""
    wanted = {name: LIBRARIES[name] in TRUE for name in TELEMETRY}
    given = {name: os.environ[name] for name in TELEMETRY if name in os.environ}
    return {name: value for name, value in given.items() if (value.strip().lower() in TRUE) != wanted[name]}


def _folders(settings: Settings) -> dict[str, str]:
    home = settings.home.resolve()
    return {"PREFECT_HOME": str(home / "prefect"), "MPLCONFIGDIR": str(home / "cache" / "matplotlib")}


def _servers(settings: Settings) -> dict[str, str]:
    """What `steward up` runs on this home, if it does."""
    return local_servers.living(settings.home.resolve(), has_database="STEWARD_TRACKING_URI" in os.environ)
