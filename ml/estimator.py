"""Interfaces of candidates and fitted models, and the resources of a fit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import pandas as pd

from ml.data.dataset import Dataset
from ml.deadline import Deadline
from ml.device import Device, check_device
from ml.fit_storage import NO_STORAGE, FitStorage
from ml.time_budget import FitCost

# Return the stored result of the step of that name, or else compute it: JSON-serialisable facts, with `seconds`.
StepCache = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]


def no_cache(name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Compute the step of that name without storing its result."""
    return compute()


@dataclass(frozen=True)
class FitResources:
    """Resources of a fit: a seed, a number of threads, processor seconds per thread, and a device.

    A fit stops early when its seconds are used up (`ml.deadline`).

    A candidate with hyperparameter tuning may run up to `trials` trials. A long fit passes its steps to `cached_step`,
    so that a killed fit resumes after its last completed step, or saves checkpoints in `storage`, where it also looks
    for files that an earlier fit computed. It reports its progress to `log_progress`.

    Raises UsageError for a GPU that is not available, before any fit starts.
    """

    seed: int = 0
    threads: int = 1
    seconds: float = float("inf")
    trials: int = 0
    device: Device = "cpu"
    cached_step: StepCache = field(default=no_cache, compare=False, repr=False)
    storage: FitStorage = field(default=NO_STORAGE, compare=False, repr=False)
    log_progress: Callable[[str], None] = field(default=lambda message: None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_device(self.device)

    def deadline(self, share: float = 1.0) -> Deadline:
        """Return a deadline after a share of the seconds, from now."""
        return Deadline(share * self.seconds, self.threads)


class Model(Protocol):
    """A fitted candidate. Its files have native formats (text, JSON, Parquet, npy without pickle), never pickles."""

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows or users of `frame`.

        Tabular: one row per row of `frame`, same index, column `probability` (of the positive class) or `prediction`;
        of several classes one column each (`ml.data.target.class_columns`), which sum to 1 in each row.
        Recommendation: rows `user`, `rank` (1 is best), `item`, `score`, best first, for each user of `frame`.
        """
        ...

    def files(self) -> dict[str, bytes]:
        """Serialise the whole model, as file contents by file name."""
        ...

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised; its predictions are bit-identical."""
        ...


def requirements_of(models: Iterable[object]) -> tuple[str, ...]:
    """List the distributions that predicting with any of `models` needs besides those of every package, sorted.

    A model that needs some has the attribute `requirements`, as distributions are named on a package index.
    """
    return tuple(sorted({name for model in models for name in getattr(model, "requirements", ())}))


class TabularModel(Model, Protocol):
    """A model that predicts one row at a time, from a table's columns."""

    def predict_row(self, values: Mapping[str, float | str | None]) -> float:
        """Predict one row from its values by column name (None or NaN for missing), without a frame.

        Raises ValueError for a missing column, and for a number in a categorical column or text in a numeric one.
        """
        ...

    def importance(self) -> pd.Series:
        """Compute the share of each column in the predictions, summing to 1; all 0 where no column matters."""
        ...


class Candidate(Protocol):
    """Hyperparameters that can be fitted: a frozen dataclass, so that its fields identify it."""

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> Model:
        """Fit a model to `train`. The same inputs and seed give the same model.

        Rows that stop a fit or choose its settings are taken out of `train`: those of `valid` compare candidates.
        """
        ...


@runtime_checkable
class CostedCandidate(Protocol):
    """A candidate that says what a fit costs; one that does not say is taken to cost nothing."""

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of a fit from the size of `train`: the same for any speed or load of the machine."""
        ...


@runtime_checkable
class AdjustableCandidate(Protocol):
    """A candidate with parts that can be left out where time does not suffice for all."""

    def adjust_to(self, train: Dataset, resources: FitResources) -> tuple["Candidate", dict[str, str]]:
        """Return the candidate that `resources.seconds` suffice for, and a reason by part that is left out."""
        ...


@runtime_checkable
class PretrainedCandidate(Protocol):
    """A candidate whose fit reads files besides the data, such as pretrained weights."""

    def files_digest(self) -> str:
        """Compute the SHA-256 of these files. Raises UsageError where they are missing or not usable."""
        ...


def files_digest(candidate: Candidate) -> str:
    """Return the digest of the files that a fit of the candidate reads besides the data; empty without any."""
    return candidate.files_digest() if isinstance(candidate, PretrainedCandidate) else ""


@runtime_checkable
class WarmStartCandidate(Protocol):
    """A candidate that can continue from a model that was fitted to fewer data."""

    def continue_fit(self, model: Any, train: Dataset, resources: FitResources) -> Model:
        """Fit to `train`, starting from a model of this candidate that was fitted to a subset of it."""
        ...
