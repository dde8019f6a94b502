"""dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Dataset:
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
    be learned, `asked` how the log is divided into what is known and what is foretold
    (`ml.contract.schema.SplitPolicy.by`).
    `attributes` has what is known of items besides who had them, also of those that nobody had: what a fitted model
    needs of it is in its files. Whoever takes the part from a contract sets these; they are no part of the stored
    table.
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

    def take(self, rows: np.ndarray) -> Self:
        """The part of these rows: positions, in the order wanted."""
        about = self.metadata.iloc[rows] if len(self.metadata) else self.metadata
        return replace(
            self,
            frame=self.frame.iloc[rows],
            truth=self.truth.iloc[rows],
            units=self.units[rows],
            metadata=about,
        )

    def to_table(self) -> pd.DataFrame:
        """One table of everything, to be stored; `from_table` reads it back.

        Raises ValueError where truth or `about` has another index than the frame: their cells would go missing.
        """
        indexes = [self.truth.index, self.metadata.index] if len(self.metadata) else [self.truth.index]
        if not all(index.equals(self.frame.index) for index in indexes):
            raise ValueError(
                "expected one index of frame, truth and about, got others; take all from one table"
            )
        named = [self.frame.add_prefix("x:"), self.metadata.add_prefix("about:")]
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
