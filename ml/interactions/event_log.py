"""Event logs: rows of interactions in a fixed order, and their grouping into histories of users."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.digest import entity_hashes
from ml.errors import DataGateError


def to_event_log(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the rows as events, oldest first: columns `user`, `item`, `seconds`, optionally `weight` and `segment`.

    `seconds` are since 1970, NaN where only the order is known. Simultaneous events are ordered by the role
    `event_order`, else as in `rows`. With the split `random_last_out`, where no order is known, they are ordered by a
    hash of user and item, so that the order of the source file cannot leak.

    `weight` is that of `event_weights`, and missing where `rows` lacks that column, as scoring input may; `segment` is
    the cell of the column with that role, NaN where missing. Raises DataGateError where an event has no valid weight.
    """
    roles = contract.roles
    user, item = rows[str(roles.user)], rows[str(roles.item)]
    seconds = np.full(len(rows), np.nan)
    if roles.time:
        seconds = rows[roles.time].astype("datetime64[us]").astype("int64").to_numpy() / 1e6
    sort_keys = [] if roles.event_order is None else [rows[roles.event_order].to_numpy()]
    sort_keys += [seconds] if roles.time else []
    if contract.split.by == "random_last_out":
        sort_keys = [entity_hashes(user + "\n" + item, contract.name)]
    events = pd.DataFrame({"user": user, "item": item, "seconds": seconds})
    if roles.event_weight and roles.event_weight in rows:
        events["weight"] = event_weights(rows[roles.event_weight], contract)
        if n_missing := int(events["weight"].isna().sum()):
            raise DataGateError(
                f"an event weight from {roles.event_weight!r} for each row",
                f"{n_missing} of {len(rows)} rows without",
                f"complete meta.event_weight_by_value, or exclude such rows by a rule of {contract.name}",
            )
    if roles.segment and roles.segment in rows:
        events["segment"] = rows[roles.segment].astype(object)
    return events.iloc[np.lexsort(sort_keys)].reset_index(drop=True) if len(events) else events


def event_weights(cells: pd.Series, contract: Contract) -> np.ndarray:
    """Return the weights of the cells of the column with the role `event_weight`: float64, above 0, NaN where invalid.

    A weight is what `event_weight_by_value` gives for the value or, without it, log2(1 + n) of the number n: one piece
    weighs 1, as an event without a weight does, and a hundred pieces weigh less than 7.
    """
    if contract.event_weight_by_value:
        return cells.map(contract.event_weight_by_value).to_numpy(np.float64)
    numbers = cells.to_numpy(np.float64, na_value=np.nan)
    weights = np.log1p(numbers.clip(min=0.0)) / np.log(2.0)
    return np.where((weights > 0) & np.isfinite(weights), weights, np.nan)


def simultaneous_share(rows: pd.DataFrame, contract: Contract) -> float:
    """Return the share of rows with the time and order of an earlier row of the same user, which leave ties open."""
    roles = contract.roles
    order_columns = [roles.user, *(column for column in (roles.time, roles.event_order) if column)]
    return float(rows.duplicated(order_columns).mean()) if len(rows) else 0.0


def histories_by_user(events: pd.DataFrame, users: pd.Index) -> pd.DataFrame:
    """Group an event log into one row per user of `users`: `user`, `items` and `times`, oldest first.

    Lists are empty where a user has no events. A log with weights gives a further column of lists, `weights`; a log
    with segments gives `segment`, the first one of each user (None where unknown).
    """
    codes = users.get_indexer(pd.Index(events["user"]))
    # Stable, so that the events of a user stay oldest first; those of other users (code -1) come first and are skipped.
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes + 1, minlength=len(users) + 1)).tolist()

    def lists(column: str) -> list[list[Any]]:
        values = events[column].to_numpy()[order].tolist()
        return [values[start:end] for start, end in pairwise(ends)]

    sources = {"items": "item", "times": "seconds", "weights": "weight"}
    columns: dict[str, Any] = {name: lists(column) for name, column in sources.items() if column in events}
    if "segment" in events:
        columns["segment"] = pd.Series(first_segments(events, users), dtype=object)
    return pd.DataFrame({"user": users.astype("str"), **columns})


def first_segments(events: pd.DataFrame, users: pd.Index) -> list[str | None]:
    """Return the first known segment of each user, None where unknown; later changes are ignored."""
    first = events.dropna(subset="segment").drop_duplicates("user").set_index("user")["segment"]
    segment_of = dict(zip(first.index, first, strict=True))
    return [segment_of.get(user) for user in users]


def cutoffs(events: pd.DataFrame, valid: float, test: float) -> tuple[float, float]:
    """Return the instants (seconds since 1970) at which the valid and the test period begin, by shares of events."""
    quantiles = events["seconds"].quantile([1 - valid - test, 1 - test], interpolation="higher")
    return float(quantiles.iloc[0]), float(quantiles.iloc[1])
