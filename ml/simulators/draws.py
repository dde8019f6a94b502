"""Draws that the simulators share: generators, identifiers, categories, choices from tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def generators(rows: int, seed: int, steps: int) -> list[np.random.Generator]:
    """One independent generator per step, so that a change in one step leaves the draws of the others alone.

    Raises ValueError if `rows` is below 1.
    """
    if rows < 1:
        raise ValueError(
            f"expected at least 1 row to simulate, got {rows}; ask for a positive number of rows"
        )
    return np.random.default_rng(seed).spawn(steps)


def identifiers(prefix: str, numbers: Ints, digits: int = 7) -> pd.Series:
    """`A0000012` for prefix A and number 12; a number with more digits than `digits` keeps them all."""
    return pd.Series(np.char.mod(f"{prefix}%0{digits}d", numbers), dtype="str")


def named(names: Sequence[str], codes: Ints) -> pd.Series:
    """The name at each code, as a `str` column."""
    return pd.Series(pd.array(list(names), dtype="str").take(codes))


def category(
    rng: np.random.Generator, rows: int, logits: Mapping[str, float | npt.NDArray[np.floating[Any]]]
) -> pd.Series:
    """One name per row, drawn from the softmax of the rows' logits (the Gumbel-max draw of Gumbel, 1954)."""
    noisy = np.column_stack([logit + rng.gumbel(size=rows) for logit in logits.values()])
    return named(list(logits), noisy.argmax(axis=1))


def choose(rng: np.random.Generator, tables: Floats, which: Ints) -> Ints:
    """A column of `tables` for each entry of `which`, drawn with the weights in that row of `tables`.

    `tables` has one row of non-negative weights per distribution; a weight of zero is never drawn.
    """
    cumulative = tables.cumsum(axis=1)
    edges = cumulative / cumulative[:, -1:] + np.arange(len(tables))[:, None]
    # Row r owns [r, r + 1); rounding must not carry a draw into the row after it.
    point = np.minimum(which + rng.random(len(which)), np.nextafter(which + 1.0, 0.0))
    column: Ints = np.searchsorted(edges.ravel(), point, side="right") - which * tables.shape[1]
    return column
