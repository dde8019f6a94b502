"""Late outcomes: a backfill sees what a run at that time would have seen, where outcomes take 90 days."""

import logging
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pandas as pd

from benchmarks.verdicts.figures import Figure, at_least, at_most
from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.maturity import count_late_outcomes
from ml.data.row_split import TEST, TRAIN, VALID
from tasks.split import split_rows
from tasks.validate import apply_contract

ROWS = 20_000
DAYS = 90
INSTANTS = (datetime(2024, 4, 1), datetime(2024, 7, 1), datetime(2024, 10, 1))
COLUMNS = {"id": "integer", "granted": "time", "closed": "time", "income": "number", "defaulted": "category"}


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Compare the datasets of backfills with those of the tables as they were then."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    table = loans(max(round(ROWS * scale), 1000), seed)
    differing, late = 0, 0
    naive_differing, naive_late = 0, 0
    for instant in INSTANTS:
        for known_at in ("closed", None):
            contract = make_contract(known_at)
            backfill = datasets_of(table, contract, instant)
            then = datasets_of(as_it_was(table, instant), contract, None)
            pairs = [pd.concat([backfill[name], then[name]]) for name in (TRAIN, VALID, TEST)]
            different = sum(int((~pair.duplicated(keep=False)).sum()) for pair in pairs)
            index = [backfill[name].index for name in (TRAIN, VALID, TEST)]
            counted = sum(
                count_late_outcomes(table["granted"], table["closed"], index[a], index[b])
                for a, b in ((0, 1), (1, 2))
            )
            if known_at:
                differing, late = differing + different, late + counted
            else:
                naive_differing, naive_late = naive_differing + different, naive_late + counted
    yield at_most(6, "rows in which a backfill differs from a run at that time", differing, 0)
    yield at_most(6, "outcomes that were not known when the next dataset began", late, 0)
    yield at_least(
        6, "the first, where the contract does not say when outcomes were known", naive_differing, 1
    )
    yield at_least(6, "the second, likewise", naive_late, 1)


def loans(rows: int, seed: int) -> pd.DataFrame:
    """Draw loans of two years, each with an outcome that is known 60 to 90 days later."""
    generator = np.random.default_rng(seed)
    hours = np.sort(generator.integers(0, 730 * 24, rows))
    granted = pd.Timestamp("2023-01-01") + pd.to_timedelta(hours, unit="h")
    income = generator.normal(size=rows)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "granted": granted,
            "closed": granted + pd.to_timedelta(generator.integers(60, DAYS + 1, rows), unit="D"),
            "income": income,
            "defaulted": np.where(generator.random(rows) < 1 / (1 + np.exp(1 + income)), "yes", "no"),
        }
    )


def as_it_was(table: pd.DataFrame, instant: datetime) -> pd.DataFrame:
    """Return the table as it was written at an instant: a loan that runs has not defaulted yet."""
    written = table[table["granted"] <= instant].copy()
    running = written["closed"] > instant
    written.loc[running, "closed"] = pd.NaT
    written.loc[running, "defaulted"] = "no"
    return written


def datasets_of(table: pd.DataFrame, contract: Contract, as_of: datetime | None) -> dict[str, pd.DataFrame]:
    """Validate and split a table as a run does; rows keep their numbers in the source as index."""
    cells = table.astype("str").where(table.notna())
    clean, *_ = apply_contract(cells, contract, as_of=as_of)
    datasets, _ = split_rows(clean.set_index("_row", drop=False), contract)
    return {name: dataset.to_table() for name, dataset in datasets.items()}


def make_contract(known_at: str | None) -> Contract:
    """Return the contract of the loans, with or without the time when an outcome was known."""
    role = {"known_at": known_at} if known_at else {"ignored": ["closed"]}
    target = {"column": "defaulted", "positive": ["yes"]}
    meta = {
        "schema_version": 2,
        "read": {"files": ["loans.csv"], "columns": COLUMNS},
        "roles": {"target": target, "id": "id", "time": "granted", **role},
        "split": {"by": "time"},
    }
    return parse({"name": "benchmark.late_outcomes", "expectations": [], "meta": meta})
