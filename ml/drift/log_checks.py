"""Compare the users and items of an event log with its summary: events per user, unknown items, and shares of items."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ml.contract.schema import Contract
from ml.drift.columns import compare_distribution
from ml.drift.finding import Finding, judge
from ml.drift.limits import Noise, share_difference_low
from ml.drift.numeric import MIN_ROWS
from ml.drift.relations import MAX_CORRELATION
from ml.drift.summary import LogSummary, events_per_user

# Fewer items say nothing about the order of their shares.
MIN_ITEMS = 20


def compare_log(log: LogSummary, rows: pd.DataFrame, contract: Contract, noise: Noise) -> Iterator[Finding]:
    """Yield the findings of users and items of clean rows."""
    yield from _compare_users(log, rows, contract, noise)
    item = str(contract.roles.item)
    is_new = ~rows[item].isin(list(log.items))
    after, before = float(is_new.mean()), 1.0 - log.known
    text = f"{after:.0%} of the events have items that were rare or unknown, before {before:.0%}"
    low = share_difference_low(before, after, noise)
    yield from judge("new_items", item, after - before, low, text)
    if log.shares:
        yield from compare_item_shares(item, log, rows[item], noise)


def _compare_users(
    log: LogSummary, rows: pd.DataFrame, contract: Contract, noise: Noise
) -> Iterator[Finding]:
    counts = events_per_user(rows, contract)
    user = str(contract.roles.user)
    if len(counts) < MIN_ROWS:
        return
    share = float(counts.max() / len(rows))
    text = f"one user has {share:.0%} of the events, before at most {log.largest_user:.0%}"
    low = share_difference_low(log.largest_user, share, noise)
    yield from judge("events_per_user", user, share - log.largest_user, low, text)
    units = Noise(log.events_per_user.values, len(counts), noise.level)
    yield from compare_distribution("events_per_user", user, log.events_per_user, counts, units)


def compare_item_shares(column: str, log: LogSummary, items: pd.Series, noise: Noise) -> Iterator[Finding]:
    """Yield a finding where items that were frequent are no longer the frequent ones, as where they exchanged numbers.

    The rank correlation of the shares of those items of which at least 10 events are expected in this batch; its limit
    by Fisher's z with the variance of Fieller, Hartley and Pearson (1957). Between halves of public logs, in order of
    time, it is .5 to .95, and about 0 where numbers are exchanged.
    """
    before = pd.Series(log.shares, index=list(log.items))
    before = before[before * len(items) >= MIN_ROWS]
    if len(before) < MIN_ITEMS or before.nunique() == 1:
        return
    after = items.value_counts().reindex(before.index, fill_value=0)
    correlation = float(spearmanr(before, after).statistic) if after.nunique() > 1 else 0.0
    z = np.arctanh(np.clip(correlation, -MAX_CORRELATION, MAX_CORRELATION))
    high = np.tanh(z + noise.deviations * np.sqrt(1.06 / (len(before) - 3)))
    text = f"the rank correlation of the shares of {len(before):,} items with the earlier ones is {correlation:.2f}"
    yield from judge("item_shares", column, 1.0 - correlation, 1.0 - float(high), text)
