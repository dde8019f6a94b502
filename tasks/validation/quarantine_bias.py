"""Compare the rows in quarantine with those that stay, column by column."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ml.data.quarantine_bias import (
    MIN_ROWS,
    category_difference,
    number_difference,
    readable_numbers,
    share_difference,
)
from ml.data.row_split import targets
from tasks.validation.validation_state import ValidationState

NUMERIC = ("number", "integer")


def quarantine_differences(state: ValidationState, quarantine: pd.DataFrame) -> list[str]:
    """Describe how the rows in quarantine differ from those that stay: in numbers, categories, and the target.

    A column is compared without the rows that a rule about it removed: these differ by the rule. A number that cannot
    be read as one is compared as far as it can be.
    """
    if quarantine["row"].nunique() < MIN_ROWS:
        return []
    kept = state.in_population.copy()
    kept[quarantine["row"]] = False
    if not kept.any():
        return []
    roles = state.contract.roles
    numbers = [c for c, kind in state.contract.read.columns.items() if kind in NUMERIC and c in state.rows]
    numbers = [c for c in numbers if c not in (roles.id, roles.target)]
    categories = _categories(state)
    tests = len(numbers) + len(categories) + 1
    found = (
        *_compare_target(state, quarantine, kept, tests),
        *(_compare_numbers(state, quarantine, c, kept, tests) for c in numbers),
        *(_compare_categories(state, quarantine, c, kept, tests) for c in categories),
    )
    return [text for text in found if text]


def _categories(state: ValidationState) -> list[str]:
    """Return the columns of categories, without those that name a row, a person or an item, and without texts."""
    contract = state.contract
    roles = contract.roles
    names = (roles.id, roles.target, roles.group, roles.user, roles.item, roles.known_at, *roles.text)
    kinds = contract.read.columns.items()
    return [c for c, kind in kinds if kind == "category" and c in state.rows and c not in names]


def _compare_categories(
    state: ValidationState, quarantine: pd.DataFrame, column: str, kept: np.ndarray, tests: int
) -> str | None:
    others = _removed_by_others(quarantine, column)
    cells = state.rows[column]
    return category_difference(column, cells.iloc[others], cells[kept], tests)


def _compare_numbers(
    state: ValidationState, quarantine: pd.DataFrame, column: str, kept: np.ndarray, tests: int
) -> str | None:
    others = _removed_by_others(quarantine, column)
    values = state.rows[column].to_numpy(np.float64, na_value=np.nan)
    removed = values[others]
    invalid = others[state.invalid_cells[column][others]] if column in state.invalid_cells else others[:0]
    if len(invalid):
        read = pd.Series(removed, others)
        read.loc[invalid] = readable_numbers(state.cells[column].iloc[invalid]).to_numpy()
        removed = read.to_numpy()
    return number_difference(column, removed, values[kept], tests)


def _removed_by_others(quarantine: pd.DataFrame, column: str) -> np.ndarray:
    """Return the rows that no rule about a column removed, except that its cells have the right type."""
    own = quarantine["rule"].str.contains(rf"[(, ]{re.escape(column)}[,)]")
    by_rule = own & (quarantine["rule"] != f"type({column})")
    rows: np.ndarray = np.setdiff1d(quarantine["row"], quarantine.loc[by_rule, "row"])
    return rows


def _compare_target(
    state: ValidationState, quarantine: pd.DataFrame, kept: np.ndarray, tests: int
) -> Iterator[str | None]:
    roles = state.contract.roles
    if not roles.target or roles.labels or roles.target not in state.rows:
        return
    known = state.rows[roles.target].notna().to_numpy()
    values = targets(state.rows, state.contract).to_numpy(np.float64)
    others = _removed_by_others(quarantine, roles.target)
    removed, stays = values[others[known[others]]], values[kept & known]
    compare = number_difference if roles.target_kind == "numeric" else share_difference
    yield compare(roles.target, removed, stays, tests)
