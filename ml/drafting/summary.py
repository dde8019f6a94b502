"""What a page about a draft shows of each column: counts and shares, never a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.casting import cast_columns
from ml.data.replacements import replace_values
from ml.drafting.columns import without_missing, without_padding
from ml.drafting.draft import Draft, sample_rows
from ml.drafting.proposals import DraftRule
from ml.drafting.violations import violations

BARS = 24
# Values with fewer rows are counted together: a rare one may name a person.
MIN_ROWS = 10
SHOWN_VALUES = 8
# Share of the values beyond each end of a distribution.
TAIL = 0.01


@dataclass(frozen=True)
class RuleSummary:
    """A rule and how many rows of the sample break it."""

    name: str
    action: str
    reason: str
    broken: int
    review: bool


@dataclass(frozen=True)
class ColumnSummary:
    """One column of the sample. `bars` are the rows in equal ranges from `low` to `high`, or of `labels`."""

    name: str
    kind: str
    roles: tuple[str, ...]
    rows: int
    missing: int
    invalid: int
    distinct: int
    codes: tuple[tuple[str, int, str], ...]
    bars: tuple[int, ...]
    labels: tuple[str, ...]
    low: float | None
    high: float | None
    rules: tuple[RuleSummary, ...]


def summarize(draft: Draft, rows: pd.DataFrame) -> list[ColumnSummary]:
    """Return a summary of each column that the contract reads from the file."""
    contract = draft.contract
    sample = sample_rows(rows).reset_index(drop=True)
    if contract.read.strip:
        sample = without_padding(sample)
    cells = pd.DataFrame({c: without_missing(sample[c], contract.read.missing) for c in sample.columns})
    types = {c: kind for c, kind in contract.read.columns.items() if c in cells.columns}
    repaired, _ = replace_values(cells, contract.read, types)
    typed, invalid = cast_columns(repaired, types, contract.read)
    rules = [
        (rule, int(violations(rule, typed).sum())) for rule in draft.rules if {*rule.columns} <= {*types}
    ]
    meanings = draft.source["meta"].get("sentinel_values", {})
    return [
        _summary(
            contract,
            typed[column],
            int(invalid.get(column, np.zeros(1)).sum()),
            rules,
            meanings.get(column, {}),
        )
        for column in types
    ]


def _summary(
    contract: Contract,
    values: pd.Series,
    invalid: int,
    rules: list[tuple[DraftRule, int]],
    meanings: Mapping[str, Any],
) -> ColumnSummary:
    name = str(values.name)
    codes = tuple((code, int((values == float(code)).sum()), str(text)) for code, text in meanings.items())
    present = values.dropna()
    quantities = present[~present.isin([float(code) for code in meanings])] if meanings else present
    bars, labels, low, high = _distribution(
        quantities, name in contract.roles.text or name == contract.roles.id
    )
    return ColumnSummary(
        name,
        contract.read.columns[name],
        _roles(contract, name),
        len(values),
        int(values.isna().sum()) - invalid,
        invalid,
        int(present.nunique()),
        codes,
        bars,
        labels,
        low,
        high,
        tuple(
            RuleSummary(rule.name, rule.action, rule.reason, broken, rule.review)
            for rule, broken in rules
            if name in rule.columns
        ),
    )


def _roles(contract: Contract, name: str) -> tuple[str, ...]:
    roles = contract.roles
    single = ("target", "id", "time", "group", "site", "user", "item", "event_order", "segment")
    several = ("sensitive", "ignored", "text")
    return (
        *(role for role in single if getattr(roles, role) == name),
        *(role for role in several if name in getattr(roles, role)),
    )


def _distribution(
    values: pd.Series, is_private: bool
) -> tuple[tuple[int, ...], tuple[str, ...], float | None, float | None]:
    """Return bars with the labels of categories or with the ends of numbers; none of identifiers and texts."""
    if is_private or not len(values) or values.dtype.kind == "M":
        return (), (), None, None
    if values.dtype.kind == "f":
        low, high = float(values.quantile(TAIL)), float(values.quantile(1 - TAIL))
        if high <= low:
            return (len(values),), (), low, high
        heights, _ = np.histogram(values.to_numpy(), bins=BARS, range=(low, high))
        return tuple(map(int, heights)), (), low, high
    counts = values.value_counts()
    shown = counts[counts >= MIN_ROWS].head(SHOWN_VALUES)
    rest = int(counts.sum() - shown.sum())
    labels = (*map(str, shown.index), *(["others"] if rest else []))
    return (*map(int, shown), *([rest] if rest else [])), labels, None, None
