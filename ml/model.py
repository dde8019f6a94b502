"""What a candidate takes and gives back: parts of a table, resources, a model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd

from ml.device import Device, check_device


@dataclass(frozen=True)
class Part:
    """One side of a split: what a model may see, and what it should have answered.

    A tabular part has one row per case; `frame` holds the feature columns only (numbers as float64 with NaN for
    missing, categories as `str` with NaN for missing) and `truth` is float64 (1.0 for the positive class, or the
    number to predict). A part of a recommendation has one row per user; `frame` holds `user` (str), `items` (list
    of str, oldest first), `times` (list of float, seconds since 1970; NaN where only the order is known) and, where
    events do not all count the same, `weights` (list of float above 0) and, where users have one, `segment` (str,
    None for none); `truth` is the list of items that came next (empty in the part that is only learned from).

    `units` (uint64, one per row) says which rows belong together when rows are resampled: row, patient or user.
    `about` has the columns that judge but are not shown to models: sensitive columns, site, id.

    `special` names, for numeric columns, the numbers that are codes and no quantities (98 for "refused", 0 for "not
    measured"). `repeat` says of a recommendation that items of the history may be recommended again, `blocked`
    which items never are, `decay` what an event counts beside the next one of its user, where that is not left to
    be learned, `asked` how the log is divided into what is known and what is foretold (`ml.contract.SplitPolicy.by`).
    `attributes` has what is known of items besides who had them, also of those that nobody had: what a fitted model
    needs of it is in its files. Whoever takes the part from a contract sets these; they are no part of the stored
    table.
    """

    frame: pd.DataFrame
    truth: pd.Series
    units: np.ndarray
    about: pd.DataFrame = field(default_factory=pd.DataFrame)
    special: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    repeat: bool = False
    blocked: tuple[str, ...] = ()
    decay: float | None = None
    asked: str | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Self:
        """The part of these rows: positions, in the order wanted."""
        about = self.about.iloc[rows] if len(self.about) else self.about
        return replace(
            self,
            frame=self.frame.iloc[rows],
            truth=self.truth.iloc[rows],
            units=self.units[rows],
            about=about,
        )

    def table(self) -> pd.DataFrame:
        """One table of everything, to be stored; `from_table` reads it back.

        Raises ValueError where truth or `about` has another index than the frame: their cells would go missing.
        """
        indexes = [self.truth.index, self.about.index] if len(self.about) else [self.truth.index]
        if not all(index.equals(self.frame.index) for index in indexes):
            raise ValueError(
                "expected one index of frame, truth and about, got others; take all from one table"
            )
        named = [self.frame.add_prefix("x:"), self.about.add_prefix("about:")]
        return pd.concat(
            [*named, pd.DataFrame({"truth": self.truth, "unit": self.units}, self.frame.index)], axis=1
        )

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Self:
        def named(prefix: str) -> pd.DataFrame:
            return table.filter(regex=f"^{prefix}:").rename(
                columns=lambda c: str(c).removeprefix(f"{prefix}:")
            )

        return cls(named("x"), table["truth"], table["unit"].to_numpy(), named("about"))


# What was found before under a name, or else what the call gives: facts as JSON knows them, `seconds` among them.
Remember = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]


def forget(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """No memory: make it."""
    return make()


@dataclass(frozen=True)
class Resources:
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
    remember: Remember = field(default=forget, compare=False, repr=False)
    tell: Callable[[str], None] = field(default=lambda said: None, compare=False, repr=False)

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

    def fit(self, train: Part, valid: Part, resources: Resources) -> Model:
        """Learn from `train`; `valid` may stop it early. The same inputs and seed give the same model."""
        ...


@runtime_checkable
class Continuing(Protocol):
    """A candidate whose fit can go on from a model of fewer data."""

    def continued(self, model: Any, train: Part, resources: Resources) -> Model:
        """Learn from `train`, beginning from a model of this candidate that was fitted on a part of it."""
        ...
