"""Split: divide clean rows into train, valid and test datasets, and fail if information leaks between them."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import cast

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract
from ml.data.dataset import Dataset, rarer_class_units
from ml.data.identifiers import identifier_warnings
from ml.data.near_duplicates import NearDuplicates
from ml.data.relatives import GroupedUnits
from ml.data.row_split import (
    GAP,
    OUT_OF_SCOPE_TEST,
    OUT_OF_SCOPE_VALID,
    PURGED,
    TEST,
    TRAIN,
    VALID,
    assign_rows,
    require_number,
    separate_out_of_scope,
    targets,
)
from ml.data.text_units import row_units
from ml.errors import LeakageError
from ml.interactions import event_log, next_item_split
from ml.interactions.datasets import evaluation_dataset, training_dataset, user_metadata
from tasks.data_facts import ItemAttributeCounts
from tasks.error_boundary import redact_errors
from tasks.facts import DatasetSize, DivisionFacts, SimilarTexts, SplitChecks, SplitFacts
from tasks.leakage_gate import check_late_outcomes, check_leakage, raise_if_leaking
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.stored_datasets import TRAIN_VALID, dataset_settings

CODE = (
    "tasks/split.py",
    "tasks/error_boundary.py",
    "tasks/stored_datasets.py",
    "tasks/leakage_gate.py",
    "ml/contract",
    "ml/data",
    "ml/errors.py",
    "ml/features/declared.py",
    "ml/interactions",
)
# Units of a class without which a dataset cannot evaluate.
MIN_CLASS_UNITS = 2
# Share of the rows in one group of near copies beyond which they cannot be divided.
LARGEST_GROUP_SHARE = 0.5

Datasets = dict[str, Dataset]
SplitFunction = Callable[[pd.DataFrame, Contract], tuple[Datasets, DivisionFacts]]


@task(name="split", cache_policy=NO_CACHE)
@redact_errors
def split(
    clean: StoredResult, contract: Contract, split_function: SplitFunction, now: datetime, store: Store
) -> StoredResult:
    """Store the tables train, valid, test (and train_valid, if the final model may be fitted on more than train).

    A side table of items is passed on as `items`. Raises LeakageError. Rows after `now` (UTC where it has no zone) are
    looked for in every run, also in a reused split: a day later they may be valid.
    """
    key = key_of(
        "split",
        CODE,
        ("pandas", "numpy", "lightgbm"),
        clean=clean.digest,
        contract=contract.source,
        split_function=split_function.__name__,
    )

    def make() -> StageResult:
        started = time.perf_counter()
        datasets, division = split_function(rows, contract)
        _require_target_values(datasets, contract)
        checks = cast(
            SplitChecks,
            {
                **division["checks"],
                **check_leakage(datasets, contract),
                **check_late_outcomes(datasets, rows, contract),
            },
        )
        roles = contract.roles
        if alike := identifier_warnings(rows, (roles.group, roles.user, roles.id, roles.item)):
            checks["warnings"] = [*checks.get("warnings", []), *alike]
        facts = {
            **division,
            **dataset_settings(contract),
            "policy": {
                **contract.split.model_dump(),
                "unit": _unit_column(contract),
                "merged_by_text": bool(contract.roles.text) and not contract.roles.group,
            },
            "checks": checks,
        }
        tables = {name: dataset.to_table() for name, dataset in datasets.items()}
        if "items" in clean.table_names:
            tables["items"] = clean.table("items")
            facts["item_attributes"] = _count_items(tables["items"], rows[str(contract.roles.item)])
        facts["seconds"] = time.perf_counter() - started
        return StageResult(tables, cast(SplitFacts, facts))

    rows = clean.table("clean")
    _require_no_future_rows(rows, contract, now)
    stored = store.get_or_compute(key, make, "split")
    raise_if_leaking(stored.facts)
    return stored


def split_rows(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, DivisionFacts]:
    """Divide rows that are one case each: by hash, within classes, by time or by site, as the contract says.

    Rows that are out of scope, if there are any, are the datasets `out_of_scope_valid` and `out_of_scope_test`.
    """
    truth = targets(rows, contract)
    require_number(truth, contract)
    found = row_units(rows, contract)
    units = found.units
    if found.relatives:
        _require_several_groups(found.relatives, contract)
    labels = assign_rows(rows, truth.to_numpy(), units, contract)
    if contract.roles.out_of_scope:
        labels = separate_out_of_scope(labels, truth.to_numpy(), units)
    roles = contract.roles
    metadata_columns = list(dict.fromkeys(c for c in (*roles.sensitive, roles.site, roles.id) if c))

    def dataset(name: str) -> Dataset:
        positions = np.flatnonzero(labels == name)
        frame = rows[list(contract.inputs)].iloc[positions]
        metadata = rows[metadata_columns].iloc[positions]
        return Dataset(frame, truth.iloc[positions], units[positions], metadata)

    extra = [name for name in (OUT_OF_SCOPE_VALID, OUT_OF_SCOPE_TEST) if (labels == name).any()]
    datasets = {name: dataset(name) for name in (TRAIN, VALID, TEST, *extra)}
    facts: DivisionFacts = {
        "datasets": _dataset_sizes(datasets, with_mean=not roles.labels),
        "checks": {},
        "purged": int((labels == PURGED).sum()),
    }
    if (labels == GAP).any():
        facts["gap"] = int((labels == GAP).sum())
    if found.similar_texts:
        facts["similar_texts"] = _similar_texts(found.similar_texts, labels)
    if found.relatives:
        facts["near_copies"] = {
            "rows": found.relatives.rows,
            "largest": found.relatives.largest,
            "copies_only": found.relatives.copies_only,
        }
    return datasets, facts


def _require_several_groups(relatives: GroupedUnits, contract: Contract) -> None:
    """Raise LeakageError where most rows are copies or relatives of one another, so that no split can divide them."""
    rows = len(relatives.units)
    if relatives.largest > LARGEST_GROUP_SHARE * rows:
        raise LeakageError(
            f"near copies in groups of at most {LARGEST_GROUP_SHARE:.0%} of the rows, to divide them",
            f"one group of {relatives.largest:,} of {rows:,} rows",
            f"remove the copies, or set meta.split.group_near_copies of {contract.name} to false",
        )


def _similar_texts(similar: NearDuplicates, labels: np.ndarray) -> SimilarTexts:
    elsewhere = similar.groups[np.isin(labels, (TRAIN, VALID))]
    return {
        "rows": similar.rows,
        "exact": similar.exact,
        "near": similar.near,
        "largest": similar.largest,
        "exposed": int(np.isin(similar.groups[labels == TEST], elsewhere).sum()),
    }


def split_histories(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, DivisionFacts]:
    """Divide a log of events into histories and next items (`ml.interactions.next_item_split`).

    `train_valid` has all events that are known before the test, for the model that is evaluated on it.
    """
    events = event_log.to_event_log(rows, contract)
    splits = next_item_split.split_events(events, contract.split)
    metadata = user_metadata(rows, contract)
    datasets = {
        TRAIN: training_dataset(splits.valid.train, contract),
        VALID: evaluation_dataset(splits.valid.history, splits.valid.target, metadata, contract),
        TEST: evaluation_dataset(splits.test.history, splits.test.target, metadata, contract),
        TRAIN_VALID: training_dataset(splits.test.train, contract),
    }
    target_events = {VALID: splits.valid.target, TEST: splits.test.target}
    leaking = _count_histories_with_test_events(datasets[TEST], events, splits.cutoffs, contract)
    return datasets, {
        "datasets": _dataset_sizes(datasets),
        "cutoffs": [str(pd.Timestamp(seconds, unit="s")) for seconds in splits.cutoffs],
        "catalogue": int(events["item"].nunique()),
        "simultaneous_events": _simultaneous_share(rows, events, contract),
        # Users whose target items are all in their histories, where items may not repeat.
        "users_without_new_items": {
            name: int(target["user"].nunique()) - len(datasets[name].frame)
            for name, target in target_events.items()
        },
        "train_includes_later_events": contract.split.by in ("last", "random_last_out"),
        "checks": {"histories_with_test_events": leaking},
    }


def _count_items(items: pd.DataFrame, interacted: pd.Series) -> ItemAttributeCounts:
    """Count the items of the side table, and compare those with attributes with the items of the log."""
    with_attributes = set(items["item"][items["attribute"].notna()])
    return {
        "items": int(items["item"].nunique()),
        "with_attributes": len(with_attributes),
        "without_interactions": len(with_attributes - set(interacted)),
        "interacted_without_attributes": len(set(interacted) - with_attributes),
    }


def _simultaneous_share(rows: pd.DataFrame, events: pd.DataFrame, contract: Contract) -> float:
    """Return the share of events with no order: among all events if time divides them, else within their user."""
    if contract.split.by == "time":
        return float((events["seconds"].diff().iloc[1:] == 0).mean()) if len(events) > 1 else 0.0
    return event_log.simultaneous_share(rows, contract)


def _count_histories_with_test_events(
    test: Dataset, events: pd.DataFrame, cutoffs: tuple[float, ...], contract: Contract
) -> int:
    """Count test histories with events after the cutoff, or, without one, with as many events as their user has."""
    if contract.split.by == "time":
        return int(sum(((times and times[-1]) or -np.inf) >= cutoffs[-1] for times in test.frame["times"]))
    counts = events["user"].value_counts().reindex(test.frame["user"])
    return int((test.frame["items"].map(len).to_numpy() >= counts.to_numpy()).sum())


def _unit_column(contract: Contract) -> str:
    """Return the column whose values stay together; empty if each row, or its text, is a unit of its own."""
    roles = contract.roles
    return roles.user or roles.group or roles.id or ""


def _dataset_sizes(datasets: Datasets, with_mean: bool = True) -> dict[str, DatasetSize]:
    sizes: dict[str, DatasetSize] = {
        name: {"rows": len(dataset.frame), "units": len(np.unique(dataset.units))}
        for name, dataset in datasets.items()
    }
    for name, dataset in datasets.items():
        if with_mean and dataset.truth.dtype != object and len(dataset.truth):
            sizes[name]["mean"] = float(dataset.truth.mean())
    return sizes


def _require_no_future_rows(rows: pd.DataFrame, contract: Contract, now: datetime) -> None:
    instant = pd.Timestamp(now)
    instant = instant.tz_convert(None) if instant.tzinfo else instant
    for column in (contract.roles.time, contract.roles.known_at):
        future = int((rows[column] > instant).sum()) if column and column in rows.columns else 0
        if future:
            raise LeakageError(
                f"no {column} after now, {instant:%Y-%m-%d %H:%M} UTC",
                f"{future} of {len(rows)} rows",
                "correct the dates, or this machine's clock",
            )


def _require_target_values(datasets: Datasets, contract: Contract) -> None:
    """Raise LeakageError for a dataset that is empty, or that evaluates and has the same target value in all rows.

    Of a class of two, there must be two units to evaluate on: with one, an AUC has no interval.
    """
    for name in (TRAIN, VALID, TEST):
        dataset = datasets[name]
        is_numeric = dataset.truth.dtype != object
        distinct = dataset.truth.nunique() if is_numeric else min(len(dataset.truth), 2)
        if not len(dataset.frame) or ((name != TRAIN or is_numeric) and distinct < 2):
            raise LeakageError(
                f"rows with at least two different target values in {name}",
                f"{len(dataset.frame)} rows with {distinct}",
                f"bring more data, or change meta.split of {contract.name}",
            )
        rarer = None if name == TRAIN or contract.roles.labels else rarer_class_units(dataset)
        if rarer is not None and rarer < MIN_CLASS_UNITS:
            raise LeakageError(
                f"{MIN_CLASS_UNITS} units of each class in {name}, for a metric to have an interval",
                f"{rarer} of the rarer one",
                f"bring more data, or change meta.split of {contract.name}",
            )
