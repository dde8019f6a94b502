"""One dataset of a split, with the settings that a contract adds to its table."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd

from ml.contract.roles import COVERAGE

# Prefixes of columns in the stored table. Renaming them would change the digests of all stored tables.
FEATURE_PREFIX, METADATA_PREFIX = "x:", "about:"


@dataclass(frozen=True)
class Dataset:
    """Features, target and metadata of the rows of one dataset of a split (train, valid or test).

    Tabular: one row per case. `frame` has the feature columns only (numbers as float64 with NaN for missing,
    categories as `str` with NaN for missing), in a split also the columns that features are computed from; `truth` is
    float64: 1.0 for the positive class of two, the position among `classes` where there are several, or the number to
    predict.

    Recommendation: one row per user. `frame` has the columns `user` (str), `items` (list of str, oldest first),
    `times` (list of float, seconds since 1970; NaN where only the order is known) and optionally `weights` (list of
    float above 0, where events have different weights) and `segment` (str, None for unknown). `truth` is the list of
    items that came next; it is empty in a dataset that is only trained on. `truth_times` has their times, like `times`;
    it is None where a dataset is only trained on, and for tables of cases.

    Rows with the same value of `units` (uint64, one per row: row, patient or user) are resampled together. `metadata`
    has the columns used in evaluation but hidden from models: sensitive columns, site, id.

    The other fields come from the contract and are not part of the stored table. `classes` are the labels of a target
    with several classes, else empty. `coverage` is the share of rows for which the right class shall be
    among those held possible. `text_columns` are the columns of `frame` that are sentences. `sentinel_values`
    are, by numeric column, the numbers that are codes and not quantities (98 for "not answered", 0 for "not measured").
    `allow_repeats`: items of the history may be recommended again. `never_recommend` are items that must not be
    recommended. `decay` is the weight of an event relative to the next event of its user, None to tune it. `split_by`
    is the policy that divided the event log (`ml.contract.schema.SplitPolicy.by`). `item_attributes` has the known
    attributes by item, also of items without events.
    """

    frame: pd.DataFrame
    truth: pd.Series
    units: np.ndarray
    metadata: pd.DataFrame = field(default_factory=pd.DataFrame)
    sentinel_values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    allow_repeats: bool = False
    never_recommend: tuple[str, ...] = ()
    decay: float | None = None
    split_by: str | None = None
    item_attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    truth_times: pd.Series | None = None
    classes: tuple[str, ...] = ()
    coverage: float = COVERAGE
    text_columns: tuple[str, ...] = ()

    def take(self, rows: np.ndarray) -> Self:
        """Select rows by position, in the given order; a position may be repeated."""
        metadata = self.metadata.iloc[rows] if len(self.metadata) else self.metadata
        return replace(
            self,
            frame=self.frame.iloc[rows],
            truth=self.truth.iloc[rows],
            units=self.units[rows],
            metadata=metadata,
            truth_times=None if self.truth_times is None else self.truth_times.iloc[rows],
        )

    def to_table(self) -> pd.DataFrame:
        """Combine features, metadata, `truth`, `unit` and `truth_times` in one table; `from_table` reads it back.

        Raises ValueError where truth or metadata have another index than the frame, as their cells would be lost.
        """
        indexes = [self.truth.index, self.metadata.index] if len(self.metadata) else [self.truth.index]
        if not all(index.equals(self.frame.index) for index in indexes):
            raise ValueError(
                "expected one index of frame, truth and metadata, got different ones; take all from one table"
            )
        targets = pd.DataFrame({"truth": self.truth, "unit": self.units}, self.frame.index)
        if self.truth_times is not None:
            targets["truth_times"] = self.truth_times
        features = self.frame.add_prefix(FEATURE_PREFIX)
        return pd.concat([features, self.metadata.add_prefix(METADATA_PREFIX), targets], axis=1)

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Self:
        """Read a table that `to_table` made; the contract's settings have their default values."""

        def columns(prefix: str) -> pd.DataFrame:
            return table.filter(regex=f"^{prefix}").rename(columns=lambda c: str(c).removeprefix(prefix))

        units = table["unit"].to_numpy()
        times = table.get("truth_times")
        return cls(
            columns(FEATURE_PREFIX), table["truth"], units, columns(METADATA_PREFIX), truth_times=times
        )


def rarer_class_units(dataset: Dataset) -> int | None:
    """Count the units with the rarer class of a binary truth; None for other targets."""
    if (
        dataset.classes
        or dataset.truth.dtype == object
        or not np.isin(truth := dataset.truth.to_numpy(), (0.0, 1.0)).all()
    ):
        return None
    return int(min(len(np.unique(dataset.units[truth == value])) for value in (0.0, 1.0)))
