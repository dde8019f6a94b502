"""From a log of interactions to histories, and to what came next."""

import numpy as np
import pandas as pd

from ml.contract import Contract
from ml.digest import entity_hashes
from ml.model import Part


def log(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Columns user, item, seconds (since 1970), oldest first; simultaneous events keep the order of the source."""
    roles = contract.roles
    seconds = rows[str(roles.time)].astype("datetime64[us]").astype("int64") / 1e6
    events = {"user": rows[str(roles.user)], "item": rows[str(roles.item)], "seconds": seconds}
    return pd.DataFrame(events).sort_values("seconds", kind="stable", ignore_index=True)


def histories(events: pd.DataFrame, users: pd.Index) -> pd.DataFrame:
    """One row per user of `users`: user, items and times, oldest first; empty lists where there are no events."""
    by_user = events.groupby("user", sort=False)
    items, times = (by_user[column].agg(list).to_dict() for column in ("item", "seconds"))
    return pd.DataFrame(
        {
            "user": users.astype("str"),
            "items": [items.get(user, []) for user in users],
            "times": [times.get(user, []) for user in users],
        }
    )


def cuts(events: pd.DataFrame, valid: float, test: float) -> tuple[float, float]:
    """The two instants (seconds since 1970) that begin the valid and the test period, by shares of events."""
    quantiles = events["seconds"].quantile([1 - valid - test, 1 - test], interpolation="higher")
    return float(quantiles.iloc[0]), float(quantiles.iloc[1])


def learning_part(events: pd.DataFrame, contract: Contract) -> Part:
    """Histories to learn from; nothing comes next."""
    frame = histories(events, pd.Index(events["user"].unique()))
    return _part(frame, pd.Series([[]] * len(frame), dtype=object), contract)


def judging_part(before: pd.DataFrame, after: pd.DataFrame, about: pd.DataFrame, contract: Contract) -> Part:
    """Histories of the users of `after`, and the items that they then took, each once.

    Where the contract says that items do not return, an item of the history is no answer; users without any new item
    are left out. `about` has one row per user (index) with the columns that judge.
    """
    after = after.drop_duplicates(["user", "item"])
    if not contract.roles.repeat:
        known = pd.MultiIndex.from_frame(before[["user", "item"]])
        after = after[~pd.MultiIndex.from_frame(after[["user", "item"]]).isin(known)]
    truth = after.groupby("user", sort=True)["item"].agg(list)
    frame = histories(before[before["user"].isin(truth.index)], truth.index)
    part = _part(frame, pd.Series(truth.to_list(), dtype=object), contract)
    facts = about.reindex(truth.index).reset_index(drop=True)
    return Part(part.frame, part.truth, part.units, facts)


def about_users(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The sensitive columns of each user, as first seen."""
    return rows.groupby(str(contract.roles.user))[list(contract.roles.sensitive)].first()


def _part(frame: pd.DataFrame, truth: pd.Series, contract: Contract) -> Part:
    units = entity_hashes(frame["user"], contract.name) if len(frame) else np.empty(0, dtype=np.uint64)
    return Part(frame, truth, units)
