"""The feature columns of a table by kind, checked and read as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import ArrayLike

# The values of one row by column name; None or NaN for missing.
RowValues = Mapping[str, float | str | None]


@dataclass(frozen=True)
class FeatureColumns:
    """Names of the numeric and the categorical columns of a table, each sorted.

    As the order depends on the names only, the order of a table's columns does not affect a model.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Sort the columns of `frame` by dtype: numbers and booleans are numeric, `str` is categorical.

        Raises ValueError for any other dtype and for repeated names.
        """
        if not frame.columns.is_unique:
            repeated = sorted(set(frame.columns[frame.columns.duplicated()]))
            raise ValueError(f"expected unique column names, got {repeated} more than once; rename them")
        numeric = [name for name, dtype in frame.dtypes.items() if pd.api.types.is_numeric_dtype(dtype)]
        categorical = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
        for name in frame.columns.difference([*numeric, *categorical]):
            dtype = frame[name].dtype
            raise ValueError(f"expected float64 or str columns, got {dtype} in {name!r}; cast or drop it")
        return cls(tuple(sorted(map(str, numeric))), tuple(sorted(map(str, categorical))))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(tuple(state["numeric"]), tuple(state["categorical"]))

    @property
    def names(self) -> tuple[str, ...]:
        """List numeric, then categorical columns: the column order of every array made from them."""
        return self.numeric + self.categorical

    def check_present(self, frame: pd.DataFrame) -> None:
        """Check that `frame` has every column, in any order. Raises ValueError for missing columns."""
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(
                f"expected the columns {list(self.names)}, got a frame without {missing}; "
                "give every column that the model was fitted on, filled with NaN where it is unknown"
            )

    def numeric_matrix(self, frame: pd.DataFrame, out: np.ndarray | None = None) -> np.ndarray:
        """Return the numeric columns as float64, shape (rows, numeric columns), NaN for missing.

        Values are written to `out` if it is given. Raises ValueError for a column with values other than numbers.
        """
        # Column-major, as pandas stores tables, so that no cell is copied twice.
        X = np.empty((len(frame), len(self.numeric)), order="F") if out is None else out
        for position, name in enumerate(self.numeric):
            column = frame[name]
            if not pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
                raise ValueError(
                    f"expected numbers in {name!r}, got {column.dtype}; cast it to float64 as in training"
                )
            X[:, position] = column.to_numpy(np.float64, na_value=np.nan)
        return X

    def categorical_arrays(self, frame: pd.DataFrame) -> list[ArrayLike]:
        """Return each categorical column as an array of `str` with any missing value, shape (rows,).

        Raises ValueError for a column that has values other than `str`: the number 1 is not the category '1'.
        """
        columns = frame[list(self.categorical)]
        for name, dtype in columns.dtypes.items():
            if not isinstance(dtype, pd.StringDtype) and columns[name].notna().any():
                raise ValueError(
                    f"expected categories in {name!r}, got {dtype}; cast it to str as in training"
                )
        return [columns[name].array for name in self.categorical]

    def parse_row(self, values: RowValues) -> tuple[list[float], list[str | None]]:
        """Return the numbers (NaN for missing) and categories (None for missing) of one row, in the order of `names`.

        Raises ValueError for a missing column, and for a number in a categorical column or text in a numeric one.
        """
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(
                f"expected the columns {list(self.names)}, got a row without {missing}; "
                "give every column that the model was fitted on, None where it is unknown"
            )
        numbers = [_number(values[name], name) for name in self.numeric]
        return numbers, [_category(values[name], name) for name in self.categorical]

    def shares(self, contributions: Sequence[float] | np.ndarray) -> pd.Series:
        """Scale one value per column of `names` to a sum of 1 (all 0 where all values are), by column name."""
        values = pd.Series(contributions, index=list(self.names), dtype="float64")
        return values / (values.sum() or 1.0)


def _number(value: float | str | None, name: str) -> float:
    if isinstance(value, str):
        raise ValueError(f"expected a number in {name!r}, got a string; give a number, or None for missing")
    return np.nan if value is None else float(value)


def _category(value: float | str | None, name: str) -> str | None:
    if value is None or value != value:  # NaN
        return None
    if not isinstance(value, str):
        raise ValueError(f"expected a string in {name!r}, got a number; give a string, or None for missing")
    return value
