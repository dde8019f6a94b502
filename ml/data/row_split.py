"""Which rows teach, which choose, which judge.

Membership of the test part hangs on the entity alone (or on a date, or a site), never on a seed: a row that was once
in the test part stays there while data grow, and all rows of one entity fall on one side.
"""

from typing import Any

import numpy as np
import pandas as pd

from ml.contract.schema import Contract, SplitPolicy
from ml.data.digest import entity_hashes, row_hashes

TRAIN, VALID, TEST, PURGED = "train", "valid", "test", "purged"


def answers(rows: pd.DataFrame, contract: Contract) -> pd.Series:
    """1.0 for the positive class and 0.0 for the others, or the number itself."""
    roles = contract.roles
    target = rows[str(roles.target)]
    if roles.positive:
        positive = [value for value in target.dropna().unique() if _label(value) in roles.positive]
        return target.isin(positive).astype("float64")
    return (target > roles.above).astype("float64") if roles.above is not None else target.astype("float64")


def _label(value: Any) -> str:
    """A class as the contract writes it: the number 1.0 is the class "1"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def entities(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """64-bit hash (uint64) of each row's entity: its group, else its id, else what its features say."""
    roles = contract.roles
    name = roles.group or (None if roles.user else roles.id) or roles.user
    if name:
        return entity_hashes(rows[name], contract.name)
    return row_hashes(rows[list(contract.features)])


def divide(rows: pd.DataFrame, target: np.ndarray, entity: np.ndarray, contract: Contract) -> np.ndarray:
    """One label per row: train, valid, test, or purged (an entity that a later part holds)."""
    policy, roles = contract.split, contract.roles
    if policy.by == "time":
        return _by_time(rows[str(roles.time)], entity, policy)
    shares = _uniform(entity)
    if policy.by == "stratified":
        shares = _within(shares, target, entity)
    if policy.by == "site":
        left_out = rows[str(roles.site)].map(_label).isin(policy.sites).to_numpy()
        labels = np.where(shares < policy.valid, VALID, TRAIN)
        return _purge(np.where(left_out, TEST, labels), entity)
    return np.select([shares < policy.test, shares < policy.test + policy.valid], [TEST, VALID], TRAIN)


def _uniform(entity: np.ndarray) -> np.ndarray:
    return entity.astype(np.float64) / 2.0**64


def _within(shares: np.ndarray, target: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Ranks of the hash within each class, in 0..1: parts of small tables have the same class shares.

    The price is that a row on the border may change sides when rows of its class are added. An entity with rows of
    both classes counts as positive, so that all its rows have one hash in one class, hence one rank.
    """
    kind = pd.Series(target).groupby(entity).transform("max").to_numpy()
    return pd.Series(shares).groupby(kind).rank(method="min", pct=True).to_numpy() - 1e-12


def _by_time(times: pd.Series, entity: np.ndarray, policy: SplitPolicy) -> np.ndarray:
    """The latest rows judge. All rows of one instant are on one side."""
    cuts = times.quantile([1 - policy.test - policy.valid, 1 - policy.test], interpolation="higher")
    labels = np.select([times >= cuts.iloc[1], times >= cuts.iloc[0]], [TEST, VALID], TRAIN)
    return _purge(labels, entity)


def _purge(labels: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Rows of entities that a later part holds leave the earlier ones."""
    labels = labels.astype(object)
    judged = np.isin(entity, entity[labels == TEST]) & (labels != TEST)
    labels[judged] = PURGED
    labels[np.isin(entity, entity[labels == VALID]) & (labels == TRAIN)] = PURGED
    return labels
