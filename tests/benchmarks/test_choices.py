"""The choices of the flow on public tables: the same as a run's, and each division computed once."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import choices
from benchmarks.choices import choose, format_choices, measure, scores_on_test
from benchmarks.outer_folds import ResultFile
from benchmarks.tabular_datasets import BenchmarkTable
from flows.health_prediction import CASE
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.evaluation.binary_metrics import roc_auc
from tasks.fit_plan import PlannedFit

CANDIDATES = {name: CASE.candidates[name] for name in ("constant", "logistic regression")}
SIMPLE_CASE = replace(CASE, candidates=CANDIDATES)


def create_dataset(effect: float, rows: int = 200) -> Dataset:
    generator = np.random.default_rng(0)
    truth = pd.Series(np.arange(rows) % 4 == 0).astype("float64")
    frame = pd.DataFrame({"amount": generator.normal(size=rows) + effect * truth})
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64))


@pytest.mark.parametrize("is_out_of_fold", [True, False])
@pytest.mark.parametrize(("effect", "expected"), [(2.0, "logistic regression"), (0.0, "constant")])
def test_a_candidate_is_chosen_only_where_it_is_ahead(
    effect: float, expected: str, is_out_of_fold: bool
) -> None:
    rows = create_dataset(effect)
    test, train = rows.take(np.arange(40)), rows.take(np.arange(40, 200))
    valid = None
    if not is_out_of_fold:
        train, valid = train.take(np.arange(80)), train.take(np.arange(80, 160))
    planned = {name: PlannedFit(candidate, 9.0) for name, candidate in CANDIDATES.items()}
    planned["ensemble"] = PlannedFit(CASE.candidates["ensemble"], 0.0, "no time")
    choice = choose(SIMPLE_CASE, planned, train, valid, FitResources())
    assert choice.chosen == expected
    assert choice.left_out == {"ensemble": "no time"}
    model = CANDIDATES["logistic regression"].fit(train, train.take(np.arange(0)), FitResources(seconds=9.0))
    probability = model.predict(test.frame)["probability"].to_numpy()
    expected_auc = roc_auc(test.truth.to_numpy(), probability)
    assert scores_on_test(choice, test) == {"constant": 0.5, "logistic regression": expected_auc}


def test_later_candidates_that_predict_a_constant_are_left_out() -> None:
    planned = {name: PlannedFit(CASE.candidates["constant"], 9.0) for name in ("constant", "other")}
    choice = choose(SIMPLE_CASE, planned, create_dataset(2.0), None, FitResources())
    assert (choice.chosen, list(choice.left_out)) == ("constant", ["other"])
    assert "the same one for all 200" in choice.left_out["other"]


def test_divisions_are_computed_once_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choices.CASES, "health-prediction", SIMPLE_CASE)
    data, path = BenchmarkTable("hepatitis", create_dataset(1.0), grouped=False), tmp_path / "results.jsonl"
    options = argparse.Namespace(splits=2, threads=1, time_budget=120.0, seconds=None)
    results = measure(data, ResultFile(path), options)
    assert [(each["train_rows"], each["test_rows"], each["out_of_fold"]) for each in results] == [
        (160, 40, True)
    ] * 2
    written = path.read_text()
    assert measure(data, ResultFile(path), options) == results
    assert path.read_text() == written
    report = format_choices(data, results)
    assert "hepatitis: 200 rows, 2 divisions, compared out of fold" in report
    chosen = [each["roc_auc"][each["chosen"]] for each in results]
    assert f"the choice           AUC {np.mean(chosen):.4f}" in report
    (one,) = results[:1]
    value, low, high = one["less_strongest"]
    expected = f"less the strongest candidate: {value:+.4f} [{low:+.4f}, {high:+.4f}]"
    assert expected in format_choices(data, [one])


def test_tables_beyond_5000_rows_are_compared_on_validation_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choices.CASES, "fintech-risk", SIMPLE_CASE)
    data = BenchmarkTable("adult", create_dataset(1.0, 6300), grouped=False)
    options: dict[str, Any] = {"splits": 1, "threads": 1, "time_budget": 120.0, "seconds": 5.0}
    (result,) = measure(data, ResultFile(None), argparse.Namespace(**options))
    assert (result["train_rows"], result["test_rows"], result["out_of_fold"]) == (3780, 1260, False)
    assert set(result["seconds_per_fit"].values()) == {5.0}
