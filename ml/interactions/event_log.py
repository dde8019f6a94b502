"""From a log of interactions to histories, and to what came next."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.digest import entity_hashes
from ml.errors import DataGateError


def log(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Columns user, item, seconds (since 1970; NaN where only the order is known), oldest first.

    Where a column has the role segment and the rows have it, `segment` is its cells (NaN where missing).

    Simultaneous events are in the order of their positions, else of the source. Where the contract knows no order, a
    hash of user and item gives one, so that the publisher's order foretells nothing.

    Where a column has the role weight, `weight` says what each event counts (`weights`). Raises DataGateError for rows
    without one; where the rows lack the column, as those of a question may, there are no weights.
    """
    roles = contract.roles
    user, item = rows[str(roles.user)], rows[str(roles.item)]
    seconds = np.full(len(rows), np.nan)
    if roles.time:
        seconds = rows[roles.time].astype("datetime64[us]").astype("int64").to_numpy() / 1e6
    orders = [] if roles.position is None else [rows[roles.position].to_numpy()]
    orders += [seconds] if roles.time else []
    if contract.split.by == "any":
        orders = [entity_hashes(user + "\n" + item, contract.name)]
    events = pd.DataFrame({"user": user, "item": item, "seconds": seconds})
    if roles.weight and roles.weight in rows:
        events["weight"] = weights(rows[roles.weight], contract)
        if without := int(events["weight"].isna().sum()):
            raise DataGateError(
                f"a weight of each event by {roles.weight!r}",
                f"{without} of {len(rows)} rows without",
                f"correct meta.weights, or leave such rows out by a rule of {contract.name}",
            )
    if roles.segment and roles.segment in rows:
        events["segment"] = rows[roles.segment].astype(object)
    return events.iloc[np.lexsort(orders)].reset_index(drop=True) if len(events) else events


def weights(cells: pd.Series, contract: Contract) -> np.ndarray:
    """What the cells of the column with the role weight count: float64, above 0, NaN where that is not known.

    It is what the contract gives each value, or log2(1 + n) of a number n: one piece counts 1 then, as an event without
    weight does, and the hundred pieces of a reseller not even 7.
    """
    if contract.weights:
        return cells.map(contract.weights).to_numpy(np.float64)
    numbers = cells.to_numpy(np.float64, na_value=np.nan)
    counted = np.log1p(numbers.clip(min=0.0)) / np.log(2.0)
    return np.where((counted > 0) & np.isfinite(counted), counted, np.nan)


def together(rows: pd.DataFrame, contract: Contract) -> float:
    """The share of rows that stand at the same place as an earlier one of their user: which came first is not known."""
    roles = contract.roles
    places = [roles.user, *(column for column in (roles.time, roles.position) if column)]
    return float(rows.duplicated(places).mean()) if len(rows) else 0.0


def histories(events: pd.DataFrame, users: pd.Index) -> pd.DataFrame:
    """One row per user of `users`: user, items and times, oldest first; empty lists where there are no events.

    Events that have a weight give a column of lists more, `weights`; those that have a segment the first one that is
    known of each user, `segment` (None for none).
    """
    codes = users.get_indexer(pd.Index(events["user"]))
    # Stable, so that the events of a user stay oldest first; those of others come before all and are passed over.
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes + 1, minlength=len(users) + 1)).tolist()

    def lists(column: str) -> list[list[Any]]:
        values = events[column].to_numpy()[order].tolist()
        return [values[start:end] for start, end in pairwise(ends)]

    found = {"items": "item", "times": "seconds", "weights": "weight"}
    columns: dict[str, Any] = {name: lists(column) for name, column in found.items() if column in events}
    if "segment" in events:
        columns["segment"] = pd.Series(first_segment(events, users), dtype=object)
    return pd.DataFrame({"user": users.astype("str"), **columns})


def first_segment(events: pd.DataFrame, users: pd.Index) -> list[str | None]:
    """Of each user the first segment that is known, None where none is: a user who moves away stays what they were."""
    first = events.dropna(subset="segment").drop_duplicates("user").set_index("user")["segment"]
    known = dict(zip(first.index, first, strict=True))
    return [known.get(user) for user in users]


def cuts(events: pd.DataFrame, valid: float, test: float) -> tuple[float, float]:
    """The two instants (seconds since 1970) that begin the valid and the test period, by shares of events."""
    quantiles = events["seconds"].quantile([1 - valid - test, 1 - test], interpolation="higher")
    return float(quantiles.iloc[0]), float(quantiles.iloc[1])
