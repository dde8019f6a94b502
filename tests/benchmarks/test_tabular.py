"""The tabular benchmark: outer folds, stored results, the report, and data sets read through their contracts."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.fit_server import FitServer
from benchmarks.fold_differences import conclusion, format_fold_differences
from benchmarks.outer_folds import ResultFile, outer_folds
from benchmarks.peers import LightGBMDefaults
from benchmarks.tabular import measure
from benchmarks.tabular_datasets import BenchmarkTable, load_table
from benchmarks.tabular_report import format_results
from ml.data.casting import TEXT_DTYPE
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.evaluation.auc_intervals import auc_difference
from ml.evaluation.binary_metrics import roc_auc
from ml.evaluation.mean_intervals import cross_validation_difference


def create_dataset(rows: int = 240, units: int | None = None) -> Dataset:
    """A predictive number, a random category, and one positive row in four."""
    generator = np.random.default_rng(0)
    truth = pd.Series(np.arange(rows) % 4 == 0).astype("float64")
    frame = pd.DataFrame(
        {
            "amount": generator.normal(size=rows) + truth,
            "town": pd.Series(generator.choice(["a", "b", "c"], rows), dtype=TEXT_DTYPE),
        }
    )
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64) % (units or rows))


@pytest.fixture(scope="module")
def server() -> Iterator[FitServer]:
    with FitServer(["logistic regression", "LightGBM defaults"], threads=1) as started:
        yield started


def options(**changes: Any) -> argparse.Namespace:
    defaults = {"folds": 2, "repeats": 1, "protocol": "repeated", "threads": 1, "seconds": 60.0}
    return argparse.Namespace(**{"predictions": None, "first_folds": None, **defaults, **changes})


def test_each_repeat_tests_every_row_once_in_stratified_folds() -> None:
    dataset = create_dataset()
    folds = list(outer_folds(dataset, False, folds=3, repeats=2))
    assert [(fold.repeat, fold.fold) for fold in folds] == [(r, f) for r in (0, 1) for f in (0, 1, 2)]
    for repeat in (0, 1):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(240))
    for fold in folds:
        assert sorted(np.concatenate([fold.train, fold.test])) == list(range(240))
        assert dataset.truth.iloc[fold.test].sum() == 20
    assert not np.array_equal(folds[0].test, folds[3].test)
    again = next(outer_folds(dataset, False, folds=3, repeats=1))
    assert np.array_equal(again.test, folds[0].test)


def test_rows_of_a_group_stay_together() -> None:
    dataset = create_dataset(units=60)
    for fold in outer_folds(dataset, True, folds=3, repeats=2):
        assert not set(dataset.units[fold.train]) & set(dataset.units[fold.test])


def test_results_are_read_again_without_an_incomplete_last_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = ResultFile(path)
    first.add({"key": "a", "roc_auc": 0.5})
    first.add({"key": "b", "roc_auc": None})
    with path.open("a") as file:
        file.write('{"key": "c", "roc')
    again = ResultFile(path)
    assert again.results == first.results
    again.add({"key": "c", "roc_auc": 1.0})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b", "c"]


def test_results_are_those_of_the_candidate_and_computed_once(server: FitServer, tmp_path: Path) -> None:
    data, path = BenchmarkTable("synthetic", create_dataset(), grouped=False), tmp_path / "results.jsonl"
    candidates = ["logistic regression", "LightGBM defaults"]
    results = measure(data, candidates, ResultFile(path), server, options())
    assert [(result["fold"], result["candidate"]) for result in results] == [
        (f, c) for f in (0, 1) for c in candidates
    ]
    for fold, result in zip(outer_folds(data.dataset, False, 2, 1), results[1::2], strict=True):
        train, test = data.dataset.take(fold.train), data.dataset.take(fold.test)
        model = LightGBMDefaults().fit(train, test, FitResources(fold.repeat))
        probability = model.predict(test.frame)["probability"].to_numpy()
        assert result["roc_auc"] == roc_auc(test.truth.to_numpy(), probability)
    for result in results:
        assert (result["train_rows"], result["test_rows"]) == (120, 120)
        assert result["cpu_seconds"] > 0
        assert result["peak_mb"] > 1
        assert result["bytes"] > 0

    written = path.read_text()
    assert measure(data, candidates, ResultFile(path), server, options()) == results
    assert path.read_text() == written
    first = measure(data, candidates, ResultFile(path), server, options(first_folds=1))
    assert first == results[:2]
    # Another table or time limit gives another result.
    other_table = replace(data, dataset=create_dataset(236))
    for other, changed in ((other_table, options()), (data, options(seconds=59.0))):
        found = measure(other, candidates[1:], ResultFile(path), server, changed)
        assert not {result["key"] for result in found} & {result["key"] for result in results}


def test_kept_predictions_are_compared_within_each_fold(server: FitServer, tmp_path: Path) -> None:
    """A fold of the same key without its predictions is computed again; fits of other rows are refused."""
    data, stored = BenchmarkTable("synthetic", create_dataset(), grouped=False), ResultFile(None)
    candidates = ["logistic regression", "LightGBM defaults"]
    without = measure(data, candidates, stored, server, options())
    results = measure(data, candidates, stored, server, options(predictions=tmp_path))
    assert [result["roc_auc"] for result in results] == [result["roc_auc"] for result in without]
    lines = format_fold_differences(results, tmp_path, "LightGBM defaults").splitlines()
    assert len(lines) == 2
    folds = list(outer_folds(data.dataset, False, 2, 1))
    for line, pair, fold in zip(lines, (results[:2], results[2:]), folds, strict=True):
        stored_files = [np.load(tmp_path / f"{result['key']}.npz") for result in pair]
        test = data.dataset.take(fold.test)
        for file, result in zip(stored_files, pair, strict=True):
            assert np.array_equal(file["truth"], test.truth)
            assert roc_auc(file["truth"], file["probability"]) == result["roc_auc"]
        expected = auc_difference(test.truth.to_numpy(), *(file["probability"] for file in stored_files))
        assert f"logistic regression less LightGBM defaults: AUC {expected.value:+.4f}" in line
        assert line.endswith(f"p {expected.p_value:.3f}: {conclusion(expected.low, expected.high)}")

    swapped = [{**result, "key": results[(index + 2) % 4]["key"]} for index, result in enumerate(results)]
    mixed = [results[0], swapped[1]]
    with pytest.raises(ValueError, match="expected the same test rows in repeat 0, fold 0"):
        format_fold_differences(mixed, tmp_path, "LightGBM defaults")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 0.02, "ahead"),
        (-0.02, -0.001, "behind"),
        (-0.004, 0.004, "equivalent within 0.005"),
        (0.001, 0.004, "ahead, equivalent within 0.005"),
        (-0.004, -0.001, "behind, equivalent within 0.005"),
        (-0.01, 0.004, "undecided"),
    ],
)
def test_an_interval_shows_no_more_than_it_excludes(low: float, high: float, expected: str) -> None:
    assert conclusion(low, high) == expected


def test_a_failed_fit_ends_the_benchmark_and_not_later_fits(server: FitServer) -> None:
    dataset = create_dataset(40)
    one_class = BenchmarkTable("one class", replace(dataset, truth=pd.Series(np.ones(40))), grouped=False)
    candidates = ["logistic regression"]
    with pytest.raises(SystemExit, match=r"a fit of logistic regression; got exit code 1.*to continue"):
        measure(one_class, candidates, ResultFile(None), server, options())
    data = BenchmarkTable("synthetic", dataset, grouped=False)
    assert len(measure(data, candidates, ResultFile(None), server, options())) == 2


def test_lightgbm_defaults_match_its_classifier() -> None:
    from lightgbm import LGBMClassifier

    dataset = create_dataset()
    frame = dataset.frame
    categorical = frame.assign(town=frame["town"].astype("category"))
    classifier = LGBMClassifier(verbose=-1, deterministic=True, random_state=0, n_jobs=1)
    classifier.fit(categorical, dataset.truth)
    model = LightGBMDefaults().fit(dataset, dataset, FitResources())
    probability = model.predict(frame)["probability"].to_numpy()
    assert probability == pytest.approx(classifier.predict_proba(categorical)[:, 1], abs=1e-12)
    # An unknown town counts as missing.
    unseen = [frame.assign(town=pd.Series(town, frame.index, TEXT_DTYPE)) for town in ("z", None)]
    found, expected = (model.predict(frame)["probability"].to_numpy() for frame in unseen)
    assert found == pytest.approx(expected)


def test_the_report_has_means_and_each_pair_once() -> None:
    costs = {"cpu_seconds": 1.0, "wall_seconds": 2.0, "predict_seconds": 0.0, "peak_mb": 90.0}
    metrics = {"brier_score": 0.2, "log_loss": 0.5, "calibration_error": 0.01, "calibration_slope": None}
    aucs = {"logistic regression": (0.70, 0.72, 0.74), "LightGBM defaults": (0.71, 0.74, 0.77)}
    results = [
        {"candidate": name, "repeat": 0, "fold": fold, "roc_auc": auc, **costs, **metrics}
        for name, values in aucs.items()
        for fold, auc in enumerate(values)
    ]
    report = format_results(BenchmarkTable("synthetic", create_dataset(), grouped=False), results, folds=3)
    assert "synthetic: 240 rows, 2 columns, 25.00% positive; 1 x 3 stratified folds" in report
    assert report.count(" less ") == 1
    found = cross_validation_difference(
        *(np.array(aucs[name]) for name in reversed(aucs)), test_per_train=0.5
    )
    difference = f"AUC {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p {found.p_value:.3f}"
    assert f"LightGBM defaults less logistic regression: {difference}" in report
    assert "0.7200 [" in report


@pytest.mark.parametrize(("whole_population", "rows"), [(False, 28), (True, 38)])
def test_tables_are_read_through_their_contract(
    whole_population: bool, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 rows, two are quarantined in any case, and the contract excludes ten others."""
    lines = "".join(f"{i},{i % 4},{i % 2}\n" for i in range(38)) + "-1,1,0\n-2,1,1\n"
    (tmp_path / "german_credit").mkdir()
    (tmp_path / "german_credit" / "loans.csv").write_text("amount,kind,bad\n" + lines)
    rules = [
        ("quarantine", {"column": "amount", "min_value": 0}),
        ("exclude", {"column": "kind", "min_value": 1}),
    ]
    contract = {
        "name": "fintech-risk.german_credit",
        "expectations": [
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": kwargs,
                "meta": {"action": action, "reason": "a test"},
            }
            for action, kwargs in rules
        ],
        "meta": {
            "schema_version": 2,
            "read": {
                "files": ["loans.csv"],
                "columns": {"amount": "number", "kind": "integer", "bad": "category"},
            },
            "roles": {"target": {"column": "bad", "positive": ["1"]}},
            "sentinel_values": {"kind": {"3": "unknown"}},
            "max_quarantined_share": 0.2,
        },
    }
    (tmp_path / "contracts" / "fintech_risk").mkdir(parents=True)
    (tmp_path / "contracts" / "fintech_risk" / "german_credit.json").write_text(json.dumps(contract))
    monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(tmp_path / "contracts"))
    data = load_table("german_credit", whole_population)
    assert data.dataset.frame.shape == (rows, 2)
    assert (data.dataset.frame["amount"] % 2 == data.dataset.truth).all()
    assert (data.dataset.sentinel_values, data.grouped) == ({"kind": (3.0,)}, False)


def test_breast_cancer_comes_from_scikit_learn() -> None:
    data = load_table("breast_cancer")
    assert data.dataset.frame.shape == (569, 30)
    assert data.dataset.truth.sum() == 212
