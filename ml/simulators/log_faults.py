"""Faults of a simulated log of purchases: each changes clean events as something that happens to real logs does."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

# Users that become one where sessions are merged, as where many share a device.
MERGED_USERS = 20
Rng = np.random.Generator
LogDamage = Callable[[pd.DataFrame, Rng], pd.DataFrame]


def _in_order(events: pd.DataFrame) -> pd.DataFrame:
    return events.sort_values("bought_at", kind="stable", ignore_index=True)


def bot_events(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Add a program that buys as many items as all users together, one each second."""
    bought = events.iloc[rng.integers(0, len(events), len(events))]
    seconds = pd.to_timedelta(np.arange(len(bought)), unit="s")
    bot = bought.assign(user="U9999999", bought_at=events["bought_at"].iloc[len(events) // 2] + seconds)
    return _in_order(pd.concat([events, bot]))


def duplicated_days(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Deliver two weeks of events twice, as where a load was started again."""
    first = events["bought_at"].iloc[len(events) // 2]
    again = events[events["bought_at"].between(first, first + pd.Timedelta(days=14))]
    return _in_order(pd.concat([events, again]))


def missing_days(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Lose two weeks of events, as where the files of some days were not loaded."""
    first = events["bought_at"].iloc[len(events) // 2]
    is_lost = events["bought_at"].between(first, first + pd.Timedelta(days=14))
    kept: pd.DataFrame = events[~is_lost]
    return kept.reset_index(drop=True)


def exchanged_items(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Let items exchange their numbers, as where a list of goods was sorted without its numbers."""
    items = np.sort(events["item"].unique())
    return events.assign(item=events["item"].map(dict(zip(items, rng.permutation(items), strict=True))))


def shifted_clock(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Let the clock of one channel run 75 years ahead."""
    later = events["bought_at"] + pd.DateOffset(years=75)
    return _in_order(events.assign(bought_at=events["bought_at"].mask(events["channel"] == "app", later)))


def stale_data(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Deliver events that are all older than those of the batch before."""
    return events.assign(bought_at=events["bought_at"] - pd.DateOffset(years=5))


def renumbered_items(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Give every item a new number, as a new system for goods does."""
    return events.assign(item="I9" + events["item"].str[2:])


def merged_sessions(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Record the events of twenty users under one."""
    users = np.sort(events["user"].unique())
    shared = dict(zip(users, users[np.arange(len(users)) // MERGED_USERS * MERGED_USERS], strict=True))
    return events.assign(user=events["user"].map(shared))


def divided_sessions(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Give a user a new number each day, as where a cookie is not kept."""
    day = events["bought_at"].dt.strftime("%j")
    return events.assign(user=events["user"] + "-" + day)


def swapped_columns(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Exchange user and item."""
    return events.assign(user=events["item"], item=events["user"])


def missing_users(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Lose the user of a tenth of the events."""
    return events.assign(user=events["user"].mask(rng.random(len(events)) < 0.1))


def returned_goods(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Deliver returns as purchases of a negative number of pieces."""
    returned = rng.random(len(events)) < 0.1
    return events.assign(quantity=events["quantity"].mask(returned, -events["quantity"]))


def vanished_channel(events: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Lose all events of the most frequent channel."""
    most_frequent = events["channel"].value_counts().index[0]
    others: pd.DataFrame = events[events["channel"] != most_frequent]
    return others.reset_index(drop=True)


LOG_FAULTS: Mapping[str, LogDamage] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        bot_events,
        duplicated_days,
        missing_days,
        exchanged_items,
        shifted_clock,
        stale_data,
        renumbered_items,
        merged_sessions,
        divided_sessions,
        swapped_columns,
        missing_users,
        returned_goods,
        vanished_channel,
    )
}
