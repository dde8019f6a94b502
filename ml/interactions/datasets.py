"""Datasets of histories for fitting and for evaluation, from event logs."""

from dataclasses import replace

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.digest import entity_hashes
from ml.interactions.event_log import first_segments, histories_by_user


def training_dataset(events: pd.DataFrame, contract: Contract) -> Dataset:
    """Build histories to fit on, one row per user, with empty targets."""
    frame = histories_by_user(events, pd.Index(events["user"].unique()))
    return _dataset(frame, pd.Series([[]] * len(frame), dtype=object), contract)


def evaluation_dataset(
    history_events: pd.DataFrame, target_events: pd.DataFrame, metadata: pd.DataFrame, contract: Contract
) -> Dataset:
    """Build histories and target items of the users of `target_events`, one row per user, sorted by user.

    Targets are distinct items in the order of their events, without items that the contract never recommends, and
    without items of the history unless it allows repeat recommendations. Users left without a target are dropped.
    `metadata` has one row per user (index) with columns that models do not see.
    """
    eligible = ~target_events["item"].isin(list(contract.never_recommend))
    targets = target_events[eligible].drop_duplicates(["user", "item"])
    if not contract.roles.allow_repeat_recommendations:
        history_pairs = pd.MultiIndex.from_frame(history_events[["user", "item"]])
        targets = targets[~pd.MultiIndex.from_frame(targets[["user", "item"]]).isin(history_pairs)]
    by_user = targets.groupby("user", sort=True)
    truth = by_user["item"].agg(list)
    frame = histories_by_user(history_events[history_events["user"].isin(truth.index)], truth.index)
    if "segment" in frame:
        # The segment of a new user is an input that is available before the target events.
        every_event = pd.concat([history_events, target_events])
        frame["segment"] = pd.Series(first_segments(every_event, truth.index), dtype=object)
    dataset = _dataset(frame, pd.Series(truth.to_list(), dtype=object), contract)
    user_rows = metadata.reindex(truth.index).reset_index(drop=True)
    times = pd.Series(by_user["seconds"].agg(list).to_list(), dtype=object)
    return replace(dataset, metadata=user_rows, truth_times=times)


def user_metadata(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the sensitive columns of each user (index), each with its first value that is not missing."""
    return rows.groupby(str(contract.roles.user))[list(contract.roles.sensitive)].first()


def _dataset(frame: pd.DataFrame, truth: pd.Series, contract: Contract) -> Dataset:
    units = entity_hashes(frame["user"], contract.name) if len(frame) else np.empty(0, dtype=np.uint64)
    return Dataset(frame, truth, units)
