"""Faults of simulated batches: each changes a clean table as something that happens to real ones does."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

# What a leaking column has of the target: a copy with this share of errors.
LEAK_ERRORS = 0.02


@dataclass(frozen=True)
class FaultColumns:
    """Columns of a simulated table that faults are put into.

    `required` has a value in most rows, `amount` a unit that matters, `bounded` an upper bound in the contract,
    `exchanged` are two columns of one kind, `ageing` orders the population, `leaking` is a feature that the target is
    copied into, `rated` separates the classes. `negative` and `positive` are the values of the target.
    """

    ids: tuple[str, ...]
    time: str
    target: str
    negative: object
    positive: object
    required: str
    amount: str
    bounded: str
    exchanged: tuple[str, str]
    ageing: str
    category: str
    codes: str
    group: str
    leaking: str
    rated: str


COLUMNS = {
    "lender": FaultColumns(
        ids=("application_id",),
        time="applied_on",
        target="defaulted",
        negative=0,
        positive=1,
        required="income",
        amount="savings_balance",
        bounded="loan_amount",
        exchanged=("open_lines", "inquiries_6m"),
        ageing="age",
        category="employment",
        codes="region",
        group="sex",
        leaking="debt_to_income",
        rated="utilisation",
    ),
    "hospital": FaultColumns(
        ids=("encounter_id", "patient_id"),
        time="admitted_on",
        target="readmitted_within_30_days",
        negative="no",
        positive="yes",
        required="heart_rate",
        amount="distance_km",
        bounded="systolic_pressure",
        exchanged=("medications", "chronic_conditions"),
        ageing="age",
        category="admission_type",
        codes="diagnosis",
        group="sex",
        leaking="body_mass_index",
        rated="age",
    ),
}

Rng = np.random.Generator
Damage = Callable[[pd.DataFrame, FaultColumns, Rng], pd.DataFrame]


def _picked(rows: pd.DataFrame, share: float, rng: Rng) -> np.ndarray:
    return rng.random(len(rows)) < share


def null_spike(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Remove 60 % of the values of a column that is nearly always known."""
    column = columns.required
    return rows.assign(**{column: rows[column].mask(_picked(rows, 0.6, rng))})


def swapped_columns(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Exchange the values of two columns of one kind."""
    first, second = columns.exchanged
    return rows.assign(**{first: rows[second], second: rows[first]})


def unit_change(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Multiply a column by 100, as pence instead of pounds."""
    return rows.assign(**{columns.amount: rows[columns.amount] * 100.0})


def shifted_decimal(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Lose the decimal point of two digits in a tenth of the rows."""
    column = columns.bounded
    return rows.assign(**{column: rows[column].mask(_picked(rows, 0.1, rng), rows[column] * 100.0)})


def duplicated_rows(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Add a third of the rows again under new ids and at other times, so that copies are on both sides of a split."""
    copies = rows.iloc[rng.integers(0, len(rows), len(rows) // 3)].reset_index(drop=True)
    new = {c: [f"{rows[c].iloc[0][0]}9{i:06d}" for i in range(len(copies))] for c in columns.ids}
    copies = copies.assign(**new, **{columns.time: rng.permutation(copies[columns.time])})
    return pd.concat([rows, copies]).sort_values(columns.time, kind="stable", ignore_index=True)


def target_leak(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Record a feature after the outcome: its highest values are those of positive rows, with few errors.

    The values themselves stay, so that the column alone looks as before.
    """
    known = (rows[columns.target] == columns.positive) ^ _picked(rows, LEAK_ERRORS, rng)
    order = (known + rng.random(len(rows))).argsort().to_numpy()
    values = np.empty(len(rows))
    values[order] = np.sort(rows[columns.leaking].fillna(rows[columns.leaking].median()))
    return rows.assign(**{columns.leaking: values})


def future_times(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Date 2 % of the rows 75 years later, as a century that was guessed."""
    times = rows[columns.time]
    later = times + pd.DateOffset(years=75)
    return rows.assign(**{columns.time: times.mask(_picked(rows, 0.02, rng), later)})


def late_column(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Know the column that separates the classes best in the last fifth of the rows only, as a source that began late.

    Models learn from rows without it.
    """
    early = rows[columns.time] < rows[columns.time].quantile(0.8)
    return rows.assign(**{columns.rated: rows[columns.rated].mask(early)})


def stale_data(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Deliver rows that are all older than those of the batch before."""
    return rows.assign(**{columns.time: rows[columns.time] - pd.DateOffset(years=5)})


def vanished_category(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Lose all rows of the most frequent category, as of a source that is no longer joined."""
    most_frequent = rows[columns.category].value_counts().index[0]
    others: pd.DataFrame = rows[rows[columns.category] != most_frequent]
    return others.reset_index(drop=True)


def vanished_group(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Lose all rows of one group of people."""
    return rows[rows[columns.group] != "female"].reset_index(drop=True)


def label_noise(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Shuffle the labels of nine tenths of the rows."""
    picked = np.flatnonzero(_picked(rows, 0.9, rng))
    labels = rows[columns.target].copy()
    labels.iloc[picked] = labels.iloc[rng.permutation(picked)].to_numpy()
    return rows.assign(**{columns.target: labels})


def flipped_labels(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Exchange the two labels, as where 1 means paid instead of not paid."""
    exchanged = {columns.negative: columns.positive, columns.positive: columns.negative}
    return rows.assign(**{columns.target: rows[columns.target].map(exchanged)})


def one_class(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Deliver the labels before any outcome is known."""
    labels = pd.Series([columns.negative] * len(rows), rows.index, dtype=rows[columns.target].dtype)
    return rows.assign(**{columns.target: labels})


def infinities(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Divide by zero in a tenth of the rows."""
    column = columns.bounded
    return rows.assign(**{column: rows[column].astype(float).mask(_picked(rows, 0.1, rng), np.inf)})


def unbounded_categories(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Fill a column of codes with a value of its own for each row; a million rows have a million categories."""
    codes = pd.Series([f"code {i:07d}" for i in range(len(rows))], rows.index, dtype="str")
    return rows.assign(**{columns.codes: codes})


def covariate_drift(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Keep the older half of the population, in which the outcome depends on the features as before."""
    older = rows[columns.ageing] >= rows[columns.ageing].median()
    return rows[older].reset_index(drop=True)


def concept_drift(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Give the same number of positive labels to other rows: those of low `rated`, which had a low risk before."""
    rated = rows[columns.rated].fillna(rows[columns.rated].median())
    order = (rated.rank(pct=True) + rng.random(len(rows))).argsort().to_numpy()
    labels = pd.Series([columns.negative] * len(rows), rows.index, dtype=rows[columns.target].dtype)
    labels.iloc[order[: int((rows[columns.target] == columns.positive).sum())]] = columns.positive
    return rows.assign(**{columns.target: labels})


def biased_labels(rows: pd.DataFrame, columns: FaultColumns, rng: Rng) -> pd.DataFrame:
    """Record a positive label for more than half of one group, whatever the outcome was."""
    blamed = (rows[columns.group] == "female") & _picked(rows, 0.6, rng)
    return rows.assign(**{columns.target: rows[columns.target].mask(blamed, columns.positive)})
