"""How tables and truths become arrays: checked columns, category codes, quantile bins, one-hot matrices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import ArrayLike

# One row's values by column name; None or NaN for missing.
Row = Mapping[str, float | str | None]


@dataclass(frozen=True)
class Columns:
    """The feature columns of a table by kind, each kind in order of name.

    The order is a function of the names alone, so that the order of a table's columns changes no model.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """Read the kinds off the dtypes: numbers and booleans are numeric, `str` is categorical.

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
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(tuple(state["numeric"]), tuple(state["categorical"]))

    @property
    def names(self) -> tuple[str, ...]:
        """Numeric columns first, then categorical ones: the order of every array made from them."""
        return self.numeric + self.categorical

    def check(self, frame: pd.DataFrame) -> None:
        """Raises ValueError where a column is missing; further columns and any order are fine."""
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(
                f"expected the columns {list(self.names)}, got a frame without {missing}; "
                "give every column that the model was fitted on, filled with NaN where it is unknown"
            )

    def numbers(self, frame: pd.DataFrame, out: np.ndarray | None = None) -> np.ndarray:
        """The numeric columns as float64, shape (rows, numeric columns), NaN for missing; written to `out` if given.

        Raises ValueError where a column has values that are not numbers.
        """
        # By columns, as tables lie in memory: then no cell is copied twice.
        X = np.empty((len(frame), len(self.numeric)), order="F") if out is None else out
        for at, name in enumerate(self.numeric):
            column = frame[name]
            if not pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
                raise ValueError(
                    f"expected numbers in {name!r}, got {column.dtype}; cast it to float64 as at fit"
                )
            X[:, at] = column.to_numpy(np.float64, na_value=np.nan)
        return X

    def row(self, values: Row) -> tuple[list[float], list[str | None]]:
        """One row's numbers (NaN for missing) and strings (None for missing), each in order of name.

        Raises ValueError where a column is missing, or where a number is given for a category or the reverse.
        """
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(
                f"expected the columns {list(self.names)}, got a row without {missing}; "
                "give every column that the model was fitted on, None where it is unknown"
            )
        numbers = [_number(values[name], name) for name in self.numeric]
        return numbers, [_string(values[name], name) for name in self.categorical]

    def strings(self, frame: pd.DataFrame) -> list[ArrayLike]:
        """The categorical columns in turn, each an array of `str` with any missing value.

        Raises ValueError where a column has values that are not `str`: the number 1 is not the category '1'.
        """
        chosen = frame[list(self.categorical)]
        for name, dtype in chosen.dtypes.items():
            if not isinstance(dtype, pd.StringDtype) and chosen[name].notna().any():
                raise ValueError(f"expected categories in {name!r}, got {dtype}; cast it to str as at fit")
        return [chosen[name].array for name in self.categorical]


def _number(value: float | str | None, name: str) -> float:
    if isinstance(value, str):
        raise ValueError(f"expected a number in {name!r}, got a string; give a number, or None for missing")
    return np.nan if value is None else float(value)


def _string(value: float | str | None, name: str) -> str | None:
    if value is None or value != value:  # NaN
        return None
    if not isinstance(value, str):
        raise ValueError(f"expected a string in {name!r}, got a number; give a string, or None for missing")
    return value
