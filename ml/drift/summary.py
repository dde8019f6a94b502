"""The summary of an accepted batch, with which later batches are compared. It has no row of the batch.

Quantiles, shares and correlations only; categories with fewer than 10 rows, groups or users are pooled, and of texts
there are only checksums of words that at least 10 rows have. Identifiers of rows, groups and users are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from ml.contract.schema import Contract
from ml.data.row_split import targets
from ml.drift.categories import CategorySummary, summarize_categories
from ml.drift.classes import class_shares, label_columns
from ml.drift.labels import LabelSummary, summarize_labels
from ml.drift.numeric import MIN_ROWS, NumericSummary, summarize_numeric
from ml.drift.pauses import SECONDS_PER_DAY, PauseSummary, summarize_pauses
from ml.drift.relations import RelationSummary, summarize_relations
from ml.drift.texts import TextSummary, summarize_texts

MAX_ROWS = 200_000
MAX_ITEMS = 5000
TIME_TYPES = ("time", "epoch")


@dataclass(frozen=True)
class LogSummary:
    """The users and items of an event log: events per user, and the items that have at least 10 events.

    `known` is the share of the events with these items, `shares` that with each of them (empty in summaries of earlier
    releases), `largest_user` the share of the user with most events.
    """

    events_per_user: NumericSummary
    items: tuple[str, ...]
    known: float
    largest_user: float
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class BatchSummary:
    """A batch of a data set. `units` is the number of independent units: rows, groups, or users of a log.

    `numbers` and `categories` have columns by name; `times` the columns of instants, in seconds since 1970, and
    `times_of_day` the seconds since midnight of the same columns. `target` is that of a numeric target, `classes` are
    the shares of several classes, by position, and of rows without one. `texts` are the columns with sentences,
    `pauses` the times without a row, where the contract names the time of a row.
    """

    format: Literal[1]
    rows: int
    units: int
    numbers: Mapping[str, NumericSummary]
    categories: Mapping[str, CategorySummary]
    times: Mapping[str, NumericSummary]
    times_of_day: Mapping[str, NumericSummary]
    relations: RelationSummary
    labels: LabelSummary | None
    target: NumericSummary | None
    log: LogSummary | None
    texts: Mapping[str, TextSummary] = field(default_factory=dict)
    classes: tuple[float, ...] = ()
    pauses: PauseSummary | None = None

    def to_json(self) -> bytes:
        """Serialise the summary."""
        return _adapter().dump_json(self, indent=None)


@cache
def _adapter() -> TypeAdapter[BatchSummary]:
    return TypeAdapter(BatchSummary)


def from_json(data: bytes) -> BatchSummary | None:
    """Read a summary; None where the bytes are no summary of this format."""
    try:
        return _adapter().validate_json(data)
    except ValidationError:
        return None


def summarize(rows: pd.DataFrame, contract: Contract) -> BatchSummary:
    """Summarise clean rows; of more than 200,000 a sample, which is the same for the same rows."""
    batch = BatchColumns.of(rows, contract)
    truth = None if contract.is_recommendation else targets(batch.sample, contract)
    entity = contract.roles.user or contract.roles.group
    units = batch.sample[entity] if entity else None
    categories = {name: summarize_categories(batch.sample[name], units) for name in batch.categories}
    classes = contract.roles.labels
    labels = None if truth is None else summarize_labels(*label_columns(batch.features(), truth, contract))
    if labels:
        shown = {name: set(summary.shares) for name, summary in categories.items()}
        labels = labels.with_categories(shown)
    is_number = not (classes or contract.roles.positive or contract.roles.above is not None)
    return BatchSummary(
        format=1,
        rows=len(rows),
        units=batch.units,
        numbers={name: summarize_numeric(values) for name, values in batch.numbers.items()},
        categories=categories,
        times={name: summarize_numeric(values) for name, values in batch.times.items()},
        times_of_day={name: summarize_numeric(v) for name, v in batch.times_of_day().items()},
        relations=summarize_relations(batch.number_frame()),
        labels=labels,
        target=summarize_numeric(truth.to_numpy(np.float64)) if is_number and truth is not None else None,
        log=_summarize_log(rows, contract) if contract.is_recommendation else None,
        texts={name: summarize_texts(batch.sample[name]) for name in batch.texts},
        classes=class_shares(truth.to_numpy(np.float64), len(classes))
        if classes and truth is not None
        else (),
        pauses=batch.pauses(),
    )


@dataclass(frozen=True)
class BatchColumns:
    """The columns of a batch that are compared, of a sample of its rows."""

    sample: pd.DataFrame
    contract: Contract
    units: int
    numbers: Mapping[str, np.ndarray]
    categories: tuple[str, ...]
    times: Mapping[str, np.ndarray]
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: pd.DataFrame, contract: Contract) -> "BatchColumns":
        """Select the columns of clean rows: not identifiers, the target and what is ignored without being sensitive."""
        # Shuffled: parts of the sample are samples too, also of a file that is in order of time.
        order = np.random.default_rng(0).permutation(len(rows))[:MAX_ROWS]
        sample = rows.iloc[order].reset_index(drop=True)
        roles = contract.roles
        left_out = {roles.id, roles.group, roles.user, roles.item, roles.target, roles.event_order}
        left_out.add(roles.known_at)
        left_out |= set(roles.ignored) - set(roles.sensitive)
        left_out |= set(contract.drift.exceptions)
        kinds = {c: k for c, k in contract.read.columns.items() if c in rows and c not in left_out}
        numbers = {
            c: sample[c].to_numpy(np.float64, na_value=np.nan)
            for c, kind in kinds.items()
            if kind in ("number", "integer")
        }
        times = {c: _seconds(sample[c]) for c, kind in kinds.items() if kind in TIME_TYPES}
        texts = tuple(c for c in kinds if c in roles.text)
        categories = tuple(c for c, kind in kinds.items() if kind == "category" and c not in texts)
        return cls(sample, contract, count_units(rows, contract), numbers, categories, times, texts)

    def pauses(self) -> PauseSummary | None:
        """Summarise the times without a row; None where the contract names no time of a row."""
        time = self.contract.roles.time
        return summarize_pauses(self.times[time]) if time and time in self.times else None

    def features(self) -> pd.DataFrame:
        """Return the compared columns that models use, instants in seconds left out."""
        names = (*self.numbers, *self.categories)
        return self.sample[[c for c in names if c in self.contract.features]]

    def number_frame(self) -> pd.DataFrame:
        """Return the numeric columns."""
        return pd.DataFrame(dict(self.numbers))

    def times_of_day(self) -> dict[str, np.ndarray]:
        """Return the seconds since midnight (UTC) of the columns of instants."""
        return {name: np.mod(values, SECONDS_PER_DAY) for name, values in self.times.items()}


def count_units(rows: pd.DataFrame, contract: Contract) -> int:
    """Count the independent units of a table or log, at least as many as the square root of the rows."""
    entity = contract.roles.user or contract.roles.group
    if entity is None:
        return len(rows)
    return max(int(rows[entity].nunique()), int(np.sqrt(len(rows))))


def _seconds(column: pd.Series) -> np.ndarray:
    """Return seconds since 1970, NaN where missing."""
    instants = column.to_numpy("datetime64[us]")
    seconds = instants.astype(np.int64) / 1e6
    return np.where(np.isnat(instants), np.nan, seconds)


def events_per_user(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Return the number of events of each user."""
    return rows[str(contract.roles.user)].value_counts().to_numpy(np.float64)


def _summarize_log(rows: pd.DataFrame, contract: Contract) -> LogSummary:
    counts = rows[str(contract.roles.item)].value_counts()
    known = counts[counts >= MIN_ROWS].head(MAX_ITEMS)
    known = known.set_axis(known.index.map(str)).sort_index()
    events = events_per_user(rows, contract)
    return LogSummary(
        summarize_numeric(events),
        items=tuple(known.index),
        known=float(known.sum() / max(len(rows), 1)),
        largest_user=float(events.max() / len(rows)),
        shares=tuple(float(count / len(rows)) for count in known),
    )
