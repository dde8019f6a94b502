"""Random draws that simulators share: generators, identifiers, categories, draws from weight tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def spawn_generators(rows: int, seed: int, steps: int) -> list[np.random.Generator]:
    """Return one independent generator per step, so that a change of one step keeps the draws of the others.

    Raises ValueError if `rows` is below 1.
    """
    if rows < 1:
        raise ValueError(f"expected at least 1 row to simulate; got {rows}; pass a positive number of rows")
    return np.random.default_rng(seed).spawn(steps)


def identifiers(prefix: str, numbers: Ints, digits: int = 7) -> pd.Series:
    """Format numbers as identifiers: `A0000012` for prefix A and number 12; longer numbers keep all digits."""
    return pd.Series(np.char.mod(f"{prefix}%0{digits}d", numbers), dtype="str")


def names_of_codes(names: Sequence[str], codes: Ints) -> pd.Series:
    """Return the name at each code, as a `str` column."""
    return pd.Series(pd.array(list(names), dtype="str").take(codes))


def draw_categories(
    rng: np.random.Generator, rows: int, logits: Mapping[str, float | npt.NDArray[np.floating[Any]]]
) -> pd.Series:
    """Draw one name per row from the softmax of the row's logits, by the Gumbel-max trick (Gumbel, 1954)."""
    noisy = np.column_stack([logit + rng.gumbel(size=rows) for logit in logits.values()])
    return names_of_codes(list(logits), noisy.argmax(axis=1))


def draw_from_tables(rng: np.random.Generator, tables: Floats, table_rows: Ints) -> Ints:
    """Draw a column of `tables` for each entry of `table_rows`, with the weights in that row of `tables`.

    `tables` has one row of nonnegative weights per distribution; a column of weight 0 is never drawn.
    """
    cumulative = tables.cumsum(axis=1)
    edges = cumulative / cumulative[:, -1:] + np.arange(len(tables))[:, None]
    # Row r has the interval [r, r + 1); rounding must not move a draw to the next row.
    point = np.minimum(table_rows + rng.random(len(table_rows)), np.nextafter(table_rows + 1.0, 0.0))
    column: Ints = np.searchsorted(edges.ravel(), point, side="right") - table_rows * tables.shape[1]
    return column
