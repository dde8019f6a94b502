"""The leakage gate: each finding stops a run, its clean counterpart passes, and a contract may allow it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.errors import LeakageError
from tasks.facts import SplitChecks
from tasks.leakage_gate import check_leakage, raise_if_leaking

ROWS = 1200
FEATURES = ("a", "b", "c", "d", "e", "town")


def contract(target: dict[str, Any] | None = None, **meta: Any) -> Contract:
    columns = dict.fromkeys(FEATURES[:-1], "number") | {"town": "category", "id": "category", "y": "number"}
    roles = {"target": target or {"column": "y", "positive": ["1"]}, "id": "id"}
    read = {"files": ["x.csv"], "columns": columns}
    meta = {"schema_version": 2, "read": read, "roles": roles, **meta}
    return parse({"name": "toy.rows", "expectations": [], "meta": meta})


def table(rows: int = ROWS, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 5)), columns=list("abcde"))
    frame["town"] = rng.choice(["N", "S", "E"], rows)
    odds = frame["a"] + frame["b"] - frame["c"] + (frame["town"] == "N") - 1.0
    return frame, (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(float).to_numpy()


def check(frame: pd.DataFrame, truth: np.ndarray, of: Contract | None = None) -> SplitChecks:
    """Divide the rows at random, and check them."""
    shares = np.random.default_rng(9).random(len(frame))
    units = np.arange(len(frame), dtype=np.uint64)
    datasets = {}
    for name, low, high in (("train", 0.0, 0.6), ("valid", 0.6, 0.8), ("test", 0.8, 1.0)):
        rows = np.flatnonzero((shares >= low) & (shares < high))
        datasets[name] = Dataset(frame.iloc[rows], pd.Series(truth[rows], frame.index[rows]), units[rows])
    checks = check_leakage(datasets, of or contract())
    raise_if_leaking({"checks": checks})
    return checks


def test_a_clean_table_passes_without_a_warning() -> None:
    checks = check(*table())
    assert (checks["warnings"], checks["single_feature_leaks"], checks["pair_leaks"]) == ([], {}, [])
    assert checks["columns"][0]["column"] in "abc"
    assert all(e["low"] < e["value"] < e["high"] for e in checks["columns"])


def test_a_noisy_copy_of_the_target_stops_the_run() -> None:
    frame, truth = table()
    copy = np.where(np.random.default_rng(1).random(ROWS) < 0.02, 1 - truth, truth)
    with pytest.raises(LeakageError, match=r"no single feature .* got e \(AUC 0.9"):
        check(frame.assign(e=copy), truth)
    allowed = contract(leakage_exceptions={"e": "the measurement that defines it"})
    assert check(frame.assign(e=copy), truth, allowed)["single_feature_leaks"] == {}


def test_an_exclusive_or_stops_the_run() -> None:
    frame, truth = table()
    key = np.random.default_rng(1).integers(0, 2, ROWS)
    hidden = frame.assign(d=key, e=key ^ truth.astype(int))
    with pytest.raises(LeakageError, match=r"no two features .* d and e \(combined values"):
        check(hidden, truth)
    assert check(hidden, truth, contract(leakage_exceptions={"e": "known before"}))["pair_leaks"] == []


def test_a_column_with_nearly_the_whole_signal_stops_the_run() -> None:
    frame, truth = table()
    noise = frame.assign(a=frame["d"].sample(frac=1, random_state=1).to_numpy())
    truth = np.random.default_rng(2).permutation(truth)
    dominant = noise.assign(e=np.where(np.random.default_rng(1).random(ROWS) < 0.06, 1 - truth, truth))
    with pytest.raises(
        LeakageError, match=r"nearly the whole signal .* got e \(AUC 0.9\d+, lower limit 0.9\d+, \d+%"
    ):
        check(dominant, truth)
    check(dominant, truth, contract(leakage_exceptions={"e": "the test itself"}))
    # The same column is one of several that know something.
    shared = dominant.assign(a=truth + np.random.default_rng(3).normal(0, 0.5, ROWS))
    assert "dominant_column" not in check(shared, truth)


def test_copies_under_other_ids_stop_the_run() -> None:
    frame, truth = table(600)
    labels = np.random.default_rng(1).permutation(truth)
    both, twice = pd.concat([frame, frame], ignore_index=True), np.r_[labels, labels]
    with pytest.raises(LeakageError, match="copy or near copy under another entity"):
        check(both, twice)
    checks = check(both, twice, contract(copy_exception="the published protocol"))
    assert (checks["copies"]["is_leak"], checks["warnings"]) == (False, [])
    assert checks["copies"]["copied_share"] == 1.0
    assert check(frame, labels)["copies"]["pairs"] == 0


@pytest.mark.parametrize("prototypes", [1, 3, 40])
def test_rows_that_are_all_near_copies_of_each_other_are_no_leak(prototypes: int) -> None:
    """Everybody has the cells of one of few people but for rounding: then a match says nothing about a pair."""
    rng = np.random.default_rng(4)
    frame = table(prototypes)[0].iloc[rng.integers(0, prototypes, ROWS)].reset_index(drop=True)
    frame[list("abcde")] += 1e-6 * rng.normal(size=(ROWS, 5))
    checks = check(frame, (rng.random(ROWS) < 0.3).astype(float))
    assert (checks["copies"]["is_leak"], checks["warnings"]) == (False, [])


def test_few_rows_are_a_warning_and_no_leak() -> None:
    """40 rows prove nothing, however well a column divides them."""
    frame, truth = table(40)
    assert "e alone predicts" in check(frame.assign(e=truth), truth)["warnings"][0]
    for seed in range(4):
        check(*table(40, seed))


def test_a_model_that_knows_everything_is_a_warning() -> None:
    frame, _ = table(4000)
    truth = (frame["a"] + frame["b"] + frame["c"] > 0).astype(float).to_numpy()
    assert "all columns together" in check(frame, truth)["warnings"][0]


def test_numeric_targets_are_checked_too() -> None:
    frame, _ = table()
    numeric = contract({"column": "y"})
    honest = (2 * frame["a"] + frame["b"]).to_numpy() + np.random.default_rng(1).normal(size=ROWS)
    assert check(frame, honest, numeric)["warnings"] == []
    with pytest.raises(LeakageError, match="no two features"):
        check(frame, (2 * frame["a"] + frame["b"]).to_numpy(), numeric)
    with pytest.raises(LeakageError, match=r"no single feature .*rank correlation above 0.98.*e \(rank corr"):
        check(frame.assign(e=honest * 3), honest, numeric)
    ranked = check(frame, honest, numeric)["columns"]
    assert ranked[0]["column"] == "a"
    assert ranked[0]["value"] == pytest.approx(0.8, abs=0.05)


def test_facts_of_earlier_versions_are_judged_by_what_they_hold() -> None:
    """Version 0.2 recorded a mapping from column to AUC, and no copies."""
    clean: SplitChecks = {"shared_entities": {}, "single_feature_leaks": {}}
    raise_if_leaking({"checks": clean})
    with pytest.raises(LeakageError, match="no entity in two datasets"):
        raise_if_leaking({"checks": {**clean, "shared_entities": {"train and test": 3}}})


def test_copies_stop_the_run_where_the_target_has_several_classes() -> None:
    frame, _ = table()
    several = contract({"column": "y", "labels": ["0", "1", "2", "3"]})
    kind = np.random.default_rng(3).integers(0, 4, ROWS).astype(float)
    assert check(frame, kind, several)["copies"]["pairs"] == 0
    with pytest.raises(LeakageError, match="a copy or near copy under another entity"):
        check(pd.concat([frame, frame], ignore_index=True), np.tile(kind, 2), several)
