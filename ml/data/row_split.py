"""Assign the rows of a table to train, valid and test.

The assignment depends on the entity (or on the time, or the site), never on a seed: a row of the test set stays there
when data are added, and all rows of an entity are in one dataset.
"""

from typing import Any

import numpy as np
import pandas as pd

from ml.contract.roles import Roles
from ml.contract.schema import Contract
from ml.contract.split_policy import SplitPolicy
from ml.data.digest import entity_hashes, row_hashes
from ml.data.maturity import known_times
from ml.errors import ContractError

TRAIN, VALID, TEST, PURGED = "train", "valid", "test", "purged"
# Rows whose outcome was not known when the next dataset began.
GAP = "gap"
# Rows of none of the classes: a threshold is chosen on the first, decisions are measured on the second.
OUT_OF_SCOPE_VALID, OUT_OF_SCOPE_TEST = "out_of_scope_valid", "out_of_scope_test"


def targets(rows: pd.DataFrame, contract: Contract) -> pd.Series:
    """Return the target column as float64: a class as its number, or the number itself.

    Of two classes the positive one is 1.0, of several each is its position among the labels of the contract, and NaN
    what is out of scope. Raises ContractError for a value that is none of these.
    """
    roles = contract.roles
    target = rows[str(roles.target)]
    if roles.labels:
        return _label_positions(target, roles)
    if roles.positive:
        positive = [value for value in target.dropna().unique() if _class_name(value) in roles.positive]
        return target.isin(positive).astype("float64")
    if roles.above is None:
        return target.astype("float64")
    positive_numbers = target > roles.above
    if roles.at_most is not None:
        positive_numbers &= target <= roles.at_most
    return positive_numbers.astype("float64")


def require_number(truth: pd.Series, contract: Contract) -> None:
    """Raise ContractError for a number to predict that has two values only: these are classes, whatever their type."""
    if contract.roles.target_kind == "numeric" and truth.nunique() == 2:
        raise ContractError(
            f"more than two values in {contract.roles.target}, which the contract says is a number",
            "two",
            "name the positive ones in meta.roles.target.positive, or set above",
        )


def _label_positions(target: pd.Series, roles: Roles) -> pd.Series:
    positions = {label: position for position, label in enumerate(roles.labels)}
    names = class_names(target)
    codes = names.map(positions).astype("float64")
    if unknown := int((codes.isna() & ~names.isin(roles.out_of_scope)).sum()):
        raise ContractError(
            f"one of the {len(roles.labels)} labels of meta.roles.target in each row",
            f"{unknown} of {len(target)} rows with another value, or none",
            "add the label to the contract, or a rule that sets such rows aside",
        )
    return codes


def class_names(target: pd.Series) -> pd.Series:
    """Return the classes as the contract names them; a missing one stays missing."""
    return target.map(_class_name, na_action="ignore")


def _class_name(value: Any) -> str:
    """Name a class or site as the contract does: the number 1.0 is "1"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def row_entities(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Hash the entity of each row to uint64: its group, else its user or id, else the content of its features."""
    roles = contract.roles
    column = roles.group or (None if roles.user else roles.id) or roles.user
    if column:
        return entity_hashes(rows[column], contract.name)
    return row_hashes(rows[list(contract.inputs)])


def assign_rows(rows: pd.DataFrame, target: np.ndarray, entity: np.ndarray, contract: Contract) -> np.ndarray:
    """Return a label for each row: train, valid, test, purged (its entity has rows in a later dataset), or gap."""
    policy, roles = contract.split, contract.roles
    if policy.by == "time":
        return _purge(_by_time(rows[str(roles.time)], known_times(rows, contract), policy), entity)
    shares = _uniform(entity)
    if policy.by == "stratified":
        shares = _rank_within_class(shares, target, entity)
    if policy.by == "site":
        left_out = rows[str(roles.site)].map(_class_name).isin(policy.sites).to_numpy()
        labels = np.where(shares < policy.valid, VALID, TRAIN)
        return _purge(np.where(left_out, TEST, labels), entity)
    if policy.by == "column":
        return _purge(_by_column(rows[str(policy.column)], shares, policy), entity)
    return np.select([shares < policy.test, shares < policy.test + policy.valid], [TEST, VALID], TRAIN)


def _by_column(column: pd.Series, shares: np.ndarray, policy: SplitPolicy) -> np.ndarray:
    """Assign rows as a column says; without values for validation, a share of the rest is."""
    marks = class_names(column)
    is_test = marks.isin(policy.test_values or ()).to_numpy()
    is_valid = marks.isin(policy.valid_values).to_numpy() if policy.valid_values else shares < policy.valid
    return np.select([is_test, is_valid], [TEST, VALID], TRAIN)


def separate_out_of_scope(labels: np.ndarray, truth: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Relabel rows without a class (NaN): no model learns from them, but whether it knows them not can be measured.

    Those of train and valid become `out_of_scope_valid`, those of test `out_of_scope_test`. Rows whose entity is in
    train with a class are purged, as a model may know them.
    """
    outside = np.isnan(truth)
    if not outside.any():
        return labels
    separated = labels.astype(object)
    separated[outside & np.isin(labels, (TRAIN, VALID))] = OUT_OF_SCOPE_VALID
    separated[outside & (labels == TEST)] = OUT_OF_SCOPE_TEST
    separated[outside & np.isin(entity, entity[separated == TRAIN])] = PURGED
    return separated


def _uniform(entity: np.ndarray) -> np.ndarray:
    return entity.astype(np.float64) / 2.0**64


def _rank_within_class(shares: np.ndarray, target: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Rank the hashes within each class, from 0 to 1, so that the datasets of small tables have equal class shares.

    As a consequence, a row at a boundary may change its dataset when rows of its class are added. An entity with rows
    of both classes counts as positive, of several classes as the last, so that all its rows have the same rank.
    """
    # What has no class is a class of its own here.
    entity_class = pd.Series(target).fillna(-1.0).groupby(entity).transform("max").to_numpy()
    return pd.Series(shares).groupby(entity_class).rank(method="min", pct=True).to_numpy() - 1e-12


def _by_time(times: pd.Series, known: pd.Series | None, policy: SplitPolicy) -> np.ndarray:
    """Assign the latest rows to test, those before to valid; rows of equal times are in one dataset.

    Outcomes that come late leave a gap: rows are in train or valid only if their outcome was known before the next
    dataset begins. The shares of train and valid are those of the rows whose outcome was known before the test.
    """
    if known is None:
        cutoffs = times.quantile([1 - policy.test - policy.valid, 1 - policy.test], interpolation="higher")
        return np.select([times >= cutoffs.iloc[1], times >= cutoffs.iloc[0]], [TEST, VALID], TRAIN)
    test_from = times.quantile(1 - policy.test, interpolation="higher")
    is_test, in_time = times >= test_from, known < test_from
    share = 1 - policy.valid / (1 - policy.test)
    valid_from = times[in_time].quantile(share, interpolation="higher")
    is_valid = in_time & (times >= valid_from)
    return np.select([is_test, is_valid, known < valid_from], [TEST, VALID, TRAIN], GAP)


def _purge(labels: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Relabel rows as purged whose entity also has rows in a later dataset."""
    labels = labels.astype(object)
    in_test = np.isin(entity, entity[labels == TEST])
    labels[in_test & (labels != TEST)] = PURGED
    labels[np.isin(entity, entity[labels == VALID]) & (labels == TRAIN)] = PURGED
    return labels
