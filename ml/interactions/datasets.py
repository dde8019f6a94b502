"""datasets."""

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.digest import entity_hashes
from ml.interactions.event_log import first_segment, histories


def learning_part(events: pd.DataFrame, contract: Contract) -> Dataset:
    """Histories to learn from; nothing comes next."""
    frame = histories(events, pd.Index(events["user"].unique()))
    return _part(frame, pd.Series([[]] * len(frame), dtype=object), contract)


def judging_part(
    before: pd.DataFrame, after: pd.DataFrame, about: pd.DataFrame, contract: Contract
) -> Dataset:
    """Histories of the users of `after`, and the items that they then took, each once.

    Where the contract says that items do not return, an item of the history is no answer, and a blocked item never is;
    users without any other item are left out. `about` has one row per user (index) with the columns that judge.
    """
    asked = after
    after = after[~after["item"].isin(list(contract.blocked))].drop_duplicates(["user", "item"])
    if not contract.roles.repeat:
        known = pd.MultiIndex.from_frame(before[["user", "item"]])
        after = after[~pd.MultiIndex.from_frame(after[["user", "item"]]).isin(known)]
    truth = after.groupby("user", sort=True)["item"].agg(list)
    frame = histories(before[before["user"].isin(truth.index)], truth.index)
    if "segment" in frame:
        # Where a new user is from is known before what they take.
        frame["segment"] = pd.Series(first_segment(pd.concat([before, asked]), truth.index), dtype=object)
    part = _part(frame, pd.Series(truth.to_list(), dtype=object), contract)
    facts = about.reindex(truth.index).reset_index(drop=True)
    return Dataset(part.frame, part.truth, part.units, facts)


def about_users(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The sensitive columns of each user, as first seen."""
    return rows.groupby(str(contract.roles.user))[list(contract.roles.sensitive)].first()


def _part(frame: pd.DataFrame, truth: pd.Series, contract: Contract) -> Dataset:
    units = entity_hashes(frame["user"], contract.name) if len(frame) else np.empty(0, dtype=np.uint64)
    return Dataset(frame, truth, units)
