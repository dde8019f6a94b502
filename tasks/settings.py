"""Settings of this machine, read from the environment: folders, threads, device, database, retention.

No other module reads variables named STEWARD_*.
"""

import logging
import os
import shutil
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ml.device import Device
from ml.errors import UsageError
from tasks.formats.read_limits import GIGABYTE, ReadLimits
from tasks.private_folder import create_private, probe

ROOT = Path(__file__).resolve().parents[1]

# Free bytes that a run requires: more than the largest run on public data writes.
MIN_FREE_BYTES = 200 * 2**20
PREFIX = "STEWARD_"
# The likeness (0 to 1) from which an unknown variable is a setting that was mistyped. Platforms set others: Kubernetes
# sets STEWARD_PORT and STEWARD_SERVICE_HOST for a service of that name.
MISTYPED_LIKENESS = 0.7
log = logging.getLogger("steward")


class Settings(BaseSettings):
    """The settings, read from environment variables with the prefix STEWARD_ (STEWARD_HOME for `state_dir`)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
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
    shared_home: bool = Field(
        default=False, description="whether the group of the state directory may use it, not only its owner"
    )
    debug: bool = Field(
        default=False, description="show text and traceback of unexpected errors in the terminal"
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

    max_file_gigabytes: float = Field(
        default=4, gt=0, allow_inf_nan=False, description="size limit of a file that is read"
    )
    max_unpacked_gigabytes: float = Field(
        default=4, gt=0, allow_inf_nan=False, description="limit of the data in a file, unpacked"
    )
    max_compression_ratio: float = Field(
        default=200, ge=1, allow_inf_nan=False, description="limit of data in relation to the packed file"
    )
    max_rows: int = Field(default=50_000_000, ge=1, description="limit of rows that are read")
    max_columns: int = Field(default=2_000, ge=1, description="limit of columns of a file")
    max_cell_length: int = Field(default=1_000_000, ge=1, description="limit of characters of a cell")
    max_line_length: int = Field(
        default=4_000_000, ge=100, le=2**30, description="limit of bytes of a line of a text file"
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
    def read_limits(self) -> ReadLimits:
        """The limits on what is read from a file."""
        return ReadLimits(
            file_bytes=int(self.max_file_gigabytes * GIGABYTE),
            unpacked_bytes=int(self.max_unpacked_gigabytes * GIGABYTE),
            compression_ratio=self.max_compression_ratio,
            rows=self.max_rows,
            columns=self.max_columns,
            cell_length=self.max_cell_length,
            line_length=self.max_line_length,
        )

    @property
    def artifacts_dir(self) -> Path:
        return self.state_dir.resolve() / "artifacts"

    @property
    def ledger_dir(self) -> Path:
        return self.state_dir.resolve() / "ledger"

    def create_state_dir(self) -> None:
        """Create the state directory. Raises UsageError if it cannot be written, or if its disk is nearly full."""
        try:
            create_private(self.state_dir, self.shared_home)
            probe(self.state_dir)
        except OSError as error:
            raise self.unwritable_error(error) from None
        if self.free_bytes < MIN_FREE_BYTES:
            raise UsageError(
                f"{MIN_FREE_BYTES >> 20} MB free in {self.state_dir}",
                f"{self.free_bytes >> 20} MB",
                "free disk space, or set STEWARD_HOME to a folder on a larger disk",
            )

    def unwritable_error(self, error: OSError) -> UsageError:
        """Return the error about a state directory in which nothing can be written."""
        return UsageError(
            f"a writable folder {self.state_dir} on a disk with file locks",
            error.strerror or type(error).__name__,
            "set STEWARD_HOME to a writable folder on a disk of this machine",
        )

    @property
    def free_bytes(self) -> int:
        """Free bytes on the disk of the state directory."""
        return shutil.disk_usage(self.state_dir).free


def load(**overrides: Any) -> Settings:
    """Load the settings of this process. Raises UsageError, which names each invalid or mistyped variable."""
    _check_names()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise UsageError("valid settings", problems, "correct the environment") from None


def setting_names() -> list[str]:
    """Return the names of the variables of all settings, without their prefix."""
    return [str(field.validation_alias or name).upper() for name, field in Settings.model_fields.items()]


def _check_names() -> None:
    """Raise UsageError for a mistyped variable, which would have no effect; log once for another unknown one."""
    known = setting_names()
    for variable in sorted(name for name in os.environ if name.upper().startswith(PREFIX)):
        name = variable.upper().removeprefix(PREFIX)
        if name in known:
            continue
        if matches := get_close_matches(name, known, 1, MISTYPED_LIKENESS):
            raise UsageError(
                "settings that exist",
                f"the environment variable {variable}",
                f"did you mean {PREFIX}{matches[0]}? Rename or unset it; docs/settings.md lists all",
            )
        _log_unknown(variable)


@cache
def _log_unknown(variable: str) -> None:
    log.warning("the environment variable %s is no setting and has no effect (docs/settings.md)", variable)
