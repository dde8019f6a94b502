"""What a candidate takes and gives back: parts of a table, resources, a model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import pandas as pd

from ml.data.dataset import Dataset
from ml.device import Device, check_device

# What was found before under a name, or else what the call gives: facts as JSON knows them, `seconds` among them.
StepCache = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]


def no_cache(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """No memory: make it."""
    return make()


@dataclass(frozen=True)
class FitResources:
    """What a fit may use: a seed, threads, wall-clock seconds after which it should stop early, a device.

    A candidate that can refine its hyperparameters may use so many `trials` for it. A long fit hands its steps to
    `remember`, so that one that was killed goes on where it stopped, and tells how far it is.

    Raises UsageError where a GPU is asked for and there is none, which is before any fit.
    """

    seed: int = 0
    threads: int = 1
    seconds: float = float("inf")
    trials: int = 0
    device: Device = "cpu"
    cached_step: StepCache = field(default=no_cache, compare=False, repr=False)
    log_progress: Callable[[str], None] = field(default=lambda said: None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_device(self.device)


class Model(Protocol):
    """A fitted candidate. Its files are native formats (text, JSON, Parquet, npy without pickle), never pickles."""

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Tabular: one row per row of `frame`, same index, column `probability` (of the positive class) or `value`.

        Recommendation: rows `user`, `rank` (1 is best), `item`, `score`, best first, for each user of `frame`.
        """
        ...

    def files(self) -> dict[str, bytes]:
        """Everything the model is, by file name."""
        ...

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave; predictions are equal to the last bit."""
        ...


def requirements_of(models: Iterable[object]) -> tuple[str, ...]:
    """List the distributions that predicting with any of `models` needs besides those of every package, sorted.

    A model that needs some has the attribute `requirements`, as distributions are named on a package index.
    """
    return tuple(sorted({name for model in models for name in getattr(model, "requirements", ())}))


class TabularModel(Model, Protocol):
    """What every model of rows can do besides."""

    def predict_row(self, values: Mapping[str, float | str | None]) -> float:
        """The prediction of one row from its values by column name (None or NaN for missing), without a frame.

        Raises ValueError where a column is missing or of the other kind.
        """
        ...

    def importance(self) -> pd.Series:
        """What each column contributes, summing to 1; all 0 where none does."""
        ...


class Candidate(Protocol):
    """Hyperparameters that can be fitted: a frozen dataclass, so that its fields are its digest."""

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> Model:
        """Learn from `train`; `valid` may stop it early. The same inputs and seed give the same model."""
        ...


@runtime_checkable
class WarmStartCandidate(Protocol):
    """A candidate whose fit can go on from a model of fewer data."""

    def continue_fit(self, model: Any, train: Dataset, resources: FitResources) -> Model:
        """Learn from `train`, beginning from a model of this candidate that was fitted on a part of it."""
        ...
