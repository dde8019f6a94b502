"""The machine: where things are and how much of it a run may use. The only reader of the environment."""

import os
import warnings
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml.refusal import UsageError

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
    tracking_uri: str | None = Field(
        default=None, description="MLflow's database; SQLite in the home by default"
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
        """Make the home. Raises UsageError where it cannot be written, before anything else is."""
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
    """Set what libraries read from the environment when they are imported; what a person has set stays."""
    home = settings.home.resolve()
    own = {"PREFECT_HOME": str(home / "prefect"), "MPLCONFIGDIR": str(home / "cache" / "matplotlib")}
    for name, value in {**LIBRARIES, **own}.items():
        os.environ.setdefault(name, value)
    # Prefect makes its home when it is imported, but not the folder above; where that cannot be, the check before
    # the run says so better than Prefect's warning.
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
