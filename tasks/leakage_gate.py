"""Leakage gate: what is measured on the datasets of a split, and which findings stop a run.

Only findings that are certain stop it: lower confidence limits count, corrected for the number of columns. What a small
table cannot show is a warning in the report.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.class_leaks import (
    find_class_pair_leaks,
    first_half,
    measure_class_columns,
    measure_class_signal,
)
from ml.data.copy_evidence import GIVEN_AWAY_BOUND, CopyEvidence, judge_copies
from ml.data.dataset import Dataset
from ml.data.leakage import shared_entities
from ml.data.maturity import count_late_outcomes, known_times
from ml.data.row_split import OUT_OF_SCOPE_TEST, OUT_OF_SCOPE_VALID, TEST, TRAIN, VALID
from ml.data.signal_share import SignalShare, measure_signal_share
from ml.data.target_leaks import (
    AUC_BOUND,
    CORRELATION_BOUND,
    DIVISION_BOUND,
    ColumnAuc,
    PairLeak,
    correlation,
    find_pair_leaks,
    measure_columns,
    sample_rows,
)
from ml.data.text_leaks import measure_named_classes
from ml.errors import LeakageError
from ml.features.declared import with_declared_features
from tasks.facts import SplitChecks

# Columns that the report lists, those that predict the target best alone.
LISTED_COLUMNS = 5
# By what columns are measured where the target is a number; else it is the AUC.
RANK_CORRELATION = "rank correlation"


def check_leakage(datasets: Mapping[str, Dataset], contract: Contract) -> SplitChecks:
    """Measure the datasets, whichever function made them. Users of a log are in several datasets by design."""
    if contract.is_recommendation:
        if contract.roles.allow_repeat_recommendations:
            return {}
        return {"targets_in_history": _count_targets_in_history(datasets)}
    shared = shared_entities(dict(datasets))
    # One customer may write about a class and about something else; train knows none of the latter.
    for pair in ((VALID, OUT_OF_SCOPE_VALID), (TEST, OUT_OF_SCOPE_TEST)):
        shared.pop(" and ".join(pair), None)
    return {"shared_entities": shared, **_check_rows(datasets, contract)}


def _check_rows(datasets: Mapping[str, Dataset], contract: Contract) -> SplitChecks:
    parts = [datasets[name] for name in (TRAIN, VALID, TEST)]
    texts = list(contract.roles.text)
    # A text has as many values as rows; the split keeps similar ones together.
    rows = pd.concat([part.frame for part in parts], ignore_index=True)
    frame = with_declared_features(rows, contract).drop(columns=texts, errors="ignore")
    truth = np.concatenate([part.truth.to_numpy(np.float64) for part in parts])
    units = np.concatenate([part.units for part in parts])
    in_test = np.arange(len(truth)) >= len(truth) - len(parts[-1].truth)
    allowed = set(contract.leakage_exceptions)
    is_numeric = contract.roles.target_kind == "numeric"
    measured, pairs, signal = _measure(frame, truth, contract)
    ranked = sorted(measured, key=lambda m: -m.auc)
    classes = contract.roles.labels
    named = [measure_named_classes(c, rows[c], truth, classes) for c in texts if classes and c in rows]
    leaks = [m for m in (*ranked, *named) if m.is_leak and m.column not in allowed]
    scale = correlation if is_numeric else float
    checks: SplitChecks = {
        "measure": RANK_CORRELATION if is_numeric else "AUC",
        "single_feature_leaks": {m.column: scale(m.auc) for m in leaks},
        "pair_leaks": [
            {"columns": list(p.columns), "kind": p.kind, "value": p.measure, "low": p.limit} for p in pairs
        ],
        "columns": [
            {"column": m.column, "value": scale(m.auc), "low": scale(m.low), "high": scale(m.high)}
            for m in ranked[:LISTED_COLUMNS]
        ],
        "warnings": _undecided([m for m in measured if m.column not in allowed], is_numeric),
    }
    if not texts:
        _add_copies(checks, judge_copies(frame, _two_classes(truth, contract), units, in_test), contract)
    if signal:
        _add_signal_share(checks, signal, allowed, {m.column for m in leaks})
    return checks


def _measure(
    frame: pd.DataFrame, truth: np.ndarray, contract: Contract
) -> tuple[list[ColumnAuc], list[PairLeak], SignalShare | None]:
    """Measure single columns, pairs of them, and the share of the signal that the best one has."""
    is_binary = contract.roles.target_kind == "binary"
    rows = sample_rows(truth, is_binary, seed=0)
    sample, target = frame.iloc[rows], truth[rows]
    several = bool(contract.roles.labels)
    measured = (
        measure_class_columns(sample, target) if several else measure_columns(sample, target, is_binary)
    )
    # A column that reveals the target alone does so together with any other.
    others = [
        m.column
        for m in sorted(measured, key=lambda m: -m.auc)
        if not m.is_leak and m.column not in contract.leakage_exceptions
    ]
    if several:
        pairs = find_class_pair_leaks(sample, target, others)
        return measured, pairs, measure_class_signal(sample, target)
    pairs = find_pair_leaks(sample, target, is_binary, others)
    return measured, pairs, measure_signal_share(sample, target, is_binary, measured)


def _two_classes(truth: np.ndarray, contract: Contract) -> np.ndarray:
    return first_half(truth) if contract.roles.labels else truth


def _add_copies(checks: SplitChecks, copies: CopyEvidence, contract: Contract) -> None:
    is_leak = copies.is_leak and contract.copy_exception is None
    checks["copies"] = {**asdict(copies), "is_leak": is_leak}  # type: ignore[typeddict-item]
    if copies.is_notable and not copies.is_leak and contract.copy_exception is None:
        checks["warnings"].append(
            f"{copies.copied_share:.1%} of the rows have a copy or near copy under another entity;"
            f" {copies.exposed_share:.1%} of the test rows have one in another dataset"
        )


def _undecided(measured: list[ColumnAuc], is_numeric: bool) -> list[str]:
    """Describe the columns that seem to reveal the target, in too few rows to be certain."""
    scale = correlation if is_numeric else float
    return [
        f"{m.column} alone predicts the target with {'a rank correlation' if is_numeric else 'an AUC'} of"
        f" {scale(m.auc):.3f} [{scale(m.low):.3f}, {scale(m.high):.3f}]: too few rows to tell whether it is derived"
        " from the target"
        for m in measured
        if not m.is_leak and (m.auc > AUC_BOUND or (not is_numeric and m.measure > DIVISION_BOUND))
    ]


def _add_signal_share(checks: SplitChecks, signal: SignalShare, allowed: set[str], leaks: set[str]) -> None:
    scale, measure = float if signal.is_binary else correlation, checks["measure"]
    finding = (
        f"{signal.column} alone has {min(signal.share, 1.0):.0%} of the signal of all columns: {measure}"
        f" {scale(signal.auc):.3f}, lower limit {scale(signal.low):.3f}"
    )
    if signal.column not in allowed | leaks:
        if signal.is_leak:
            checks["dominant_column"] = {
                "column": signal.column,
                "value": scale(signal.auc),
                "low": scale(signal.low),
                "share": signal.share,
            }
        elif signal.is_notable:
            checks["warnings"].append(finding)
    if signal.all_nearly_perfect and not leaks and not checks["pair_leaks"] and not allowed:
        checks["warnings"].append(
            f"all columns together predict the target ({measure} {scale(signal.all_auc):.4f}): are some of them known"
            " only after it?"
        )


def check_late_outcomes(
    datasets: Mapping[str, Dataset], rows: pd.DataFrame, contract: Contract
) -> SplitChecks:
    """Count the rows whose outcome was not known before the first row of a later dataset, in a split by time.

    `rows` are those that were split, with the index of the datasets.
    """
    known = known_times(rows, contract)
    if known is None or contract.split.by != "time":
        return {}
    times = rows[str(contract.roles.time)]
    index = {name: datasets[name].frame.index for name in (TRAIN, VALID, TEST)}
    pairs = ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST))
    counts = {
        f"{earlier} and {later}": count_late_outcomes(times, known, index[earlier], index[later])
        for earlier, later in pairs
    }
    return {"late_outcomes": {pair: count for pair, count in counts.items() if count}}


def _count_targets_in_history(datasets: Mapping[str, Dataset]) -> int:
    """Count the users of valid and test with a target item that is in their own history."""
    return sum(
        not set(items).isdisjoint(target)
        for dataset in (datasets[VALID], datasets[TEST])
        for items, target in zip(dataset.frame["items"], dataset.truth, strict=True)
    )


def raise_if_leaking(facts: Mapping[str, Any]) -> None:
    """Raise LeakageError for the first finding in the facts of a split that stops a run."""
    checks: SplitChecks = facts["checks"]
    if entities := checks.get("shared_entities"):
        raise LeakageError("no entity in two datasets", f"{entities}", "set meta.roles.group", facts)
    if late := checks.get("late_outcomes"):
        raise LeakageError(
            "outcomes that were known before the first row of the next dataset",
            "later ones: " + ", ".join(f"{count} in {pair}" for pair, count in late.items()),
            "leave a gap between the datasets: correct the split function",
            facts,
        )
    if count := checks.get("histories_with_test_events"):
        raise LeakageError(
            "no test events in the histories", f"{count} such histories", "check the times", facts
        )
    if count := checks.get("targets_in_history"):
        raise LeakageError(
            "target items that are not already in the user's history",
            f"{count} users with such items",
            "set meta.roles.allow_repeat_recommendations if items may repeat",
            facts,
        )
    _raise_for_columns(checks, facts)
    copies = checks.get("copies")
    if copies and copies["is_leak"]:
        raise LeakageError(
            f"test rows whose target no copy in another dataset reveals (at most {GIVEN_AWAY_BOUND:.0%} of what is"
            " unknown)",
            f"{copies['exposed_share']:.1%} of the test rows with a copy or near copy under another entity; they reveal"
            f" at least {copies['limit']:.1%} of it",
            "remove the copies; or give rows that belong together one value of meta.roles.group; or allow it with a"
            " reason in meta.copy_exception",
            facts,
        )


def _raise_for_columns(checks: SplitChecks, facts: Mapping[str, Any]) -> None:
    next_step = "ignore the column in meta.roles, or allow it with a reason in meta.leakage_exceptions"
    # Results that earlier releases have stored are of classes.
    measure = checks.get("measure", "AUC")
    if leaks := checks.get("single_feature_leaks"):
        bound = (
            f"{measure} above {CORRELATION_BOUND}"
            if measure == RANK_CORRELATION
            else f"AUC above {AUC_BOUND}, or its values divide the classes with a balanced accuracy above"
            f" {DIVISION_BOUND}"
        )
        raise LeakageError(
            f"no single feature that is certain to reveal the target ({bound})",
            ", ".join(f"{column} ({measure} {value:.4f})" for column, value in leaks.items()),
            next_step,
            facts,
        )
    if pairs := checks.get("pair_leaks"):
        kinds = {"cells": "combined values", "sum": "weighted sum", "product": "product"}
        shown = (
            f"{' and '.join(pair['columns'])} ({kinds[pair['kind']]}: {pair['value']:.4f},"
            f" lower limit {pair['low']:.4f})"
            for pair in pairs[:3]
        )
        raise LeakageError(
            "no two features that together are certain to reveal the target",
            ", ".join(shown),
            next_step,
            facts,
        )
    if dominant := checks.get("dominant_column"):
        raise LeakageError(
            "no single feature with nearly the whole signal of all columns",
            f"{dominant['column']} ({measure} {dominant['value']:.4f}, lower limit {dominant['low']:.4f},"
            f" {min(dominant['share'], 1.0):.0%} of the signal)",
            next_step,
            facts,
        )
