"""Outer folds divide as they say, results are made once, and what is told of them is what was measured."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import leaderboard
from benchmarks.datasets import BenchmarkTable, load
from benchmarks.fits import Fits
from benchmarks.outer import Results, splits, valid_fifth
from benchmarks.peers import LightGBMDefaults
from benchmarks.tabular import measure
from ml.data.casting import TEXT
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.evaluation.confidence_intervals import resampled_difference


def table(rows: int = 240, units: int | None = None) -> Dataset:
    """A number that tells much, a category that tells a little, one positive in four."""
    generator = np.random.default_rng(0)
    truth = pd.Series(np.arange(rows) % 4 == 0).astype("float64")
    frame = pd.DataFrame(
        {
            "amount": generator.normal(size=rows) + truth,
            "town": pd.Series(generator.choice(["a", "b", "c"], rows), dtype=TEXT),
        }
    )
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64) % (units or rows))


@pytest.fixture(scope="module")
def run() -> Iterator[Fits]:
    with Fits(["logistic regression", "LightGBM defaults"], threads=1) as started:
        yield started


def asked(**given: Any) -> argparse.Namespace:
    plain = {"folds": 2, "repeats": 1, "protocol": "repeated", "threads": 1, "seconds": 60.0}
    return argparse.Namespace(**{**plain, **given})


def test_every_repeat_judges_every_row_once_within_classes() -> None:
    part = table()
    found = list(splits(part, False, folds=3, repeats=2))
    assert [(one.repeat, one.fold) for one in found] == [(r, f) for r in (0, 1) for f in (0, 1, 2)]
    for repeat in (0, 1):
        judged = np.concatenate([one.test for one in found if one.repeat == repeat])
        assert sorted(judged) == list(range(240))
    for one in found:
        assert sorted(np.concatenate([one.train, one.test])) == list(range(240))
        assert part.truth.iloc[one.test].sum() == 20
    assert not np.array_equal(found[0].test, found[3].test)
    again = next(splits(part, False, folds=3, repeats=1))
    assert np.array_equal(again.test, found[0].test)


def test_rows_of_a_group_stay_together() -> None:
    part = table(units=60)
    for one in splits(part, True, folds=3, repeats=2):
        assert not set(part.units[one.train]) & set(part.units[one.test])
        teach, choose = valid_fifth(part.take(one.train), True, seed=0)
        assert not set(teach.units) & set(choose.units)
        assert len(teach.units) + len(choose.units) == len(one.train)


def test_a_fifth_of_the_training_rows_chooses() -> None:
    teach, choose = valid_fifth(table(), False, seed=0)
    assert (len(teach.units), len(choose.units)) == (192, 48)
    assert choose.truth.mean() == 0.25


def test_results_are_found_again_and_half_a_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = Results(path)
    first.add({"key": "a", "roc_auc": 0.5})
    first.add({"key": "b", "roc_auc": None})
    with path.open("a") as file:
        file.write('{"key": "c", "roc')
    again = Results(path)
    assert again.known == first.known
    again.add({"key": "c", "roc_auc": 1.0})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b", "c"]


def test_a_result_is_that_of_the_candidate_and_is_made_once(run: Fits, tmp_path: Path) -> None:
    data, path = BenchmarkTable("made", table(), grouped=False), tmp_path / "results.jsonl"
    candidates = ["logistic regression", "LightGBM defaults"]
    lines = measure(data, candidates, Results(path), run, asked())
    assert [(line["fold"], line["candidate"]) for line in lines] == [
        (f, c) for f in (0, 1) for c in candidates
    ]
    for one, line in zip(splits(data.part, False, 2, 1), lines[1::2], strict=True):
        model = LightGBMDefaults().fit(
            data.part.take(one.train), data.part.take(one.test), FitResources(one.repeat)
        )
        test = data.part.take(one.test)
        probability = model.predict(test.frame)["probability"].to_numpy()
        assert line["roc_auc"] == roc_auc(test.truth.to_numpy(), probability)
    for line in lines:
        assert (line["train_rows"], line["test_rows"]) == (120, 120)
        assert line["cpu_seconds"] > 0
        assert line["peak_mb"] > 1
        assert line["bytes"] > 0

    written = path.read_text()
    assert measure(data, candidates, Results(path), run, asked()) == lines
    assert path.read_text() == written
    # Another table or another time is another result.
    for other, how in ((replace(data, part=table(236)), asked()), (data, asked(seconds=59.0))):
        found = measure(other, candidates[1:], Results(path), run, how)
        assert not {line["key"] for line in found} & {line["key"] for line in lines}


def test_a_fit_that_fails_ends_the_benchmark_and_not_the_next_fit(run: Fits) -> None:
    part = table(40)
    single = BenchmarkTable("single", replace(part, truth=pd.Series(np.ones(40))), grouped=False)
    with pytest.raises(SystemExit, match=r"logistic regression to end well, got exit code 1.*go on"):
        measure(single, ["logistic regression"], Results(None), run, asked())
    assert (
        len(
            measure(BenchmarkTable("made", part, False), ["logistic regression"], Results(None), run, asked())
        )
        == 2
    )


def test_lightgbm_defaults_are_those_of_its_own_classifier() -> None:
    from lightgbm import LGBMClassifier

    part = table()
    plain = part.frame.assign(town=part.frame["town"].astype("category"))
    theirs = LGBMClassifier(verbose=-1, deterministic=True, random_state=0, n_jobs=1).fit(plain, part.truth)
    model = LightGBMDefaults().fit(part, part, FitResources())
    mine = model.predict(part.frame)["probability"].to_numpy()
    assert mine == pytest.approx(theirs.predict_proba(plain)[:, 1], abs=1e-12)
    # A town that nobody has seen is as good as none.
    unseen = [part.frame.assign(town=pd.Series(town, part.frame.index, TEXT)) for town in ("z", None)]
    found, expected = (model.predict(frame)["probability"].to_numpy() for frame in unseen)
    assert found == pytest.approx(expected)


def test_the_table_tells_means_and_each_pair_once() -> None:
    costs = {"cpu_seconds": 1.0, "wall_seconds": 2.0, "predict_seconds": 0.0, "peak_mb": 90.0}
    measures = {"brier": 0.2, "log_loss": 0.5, "calibration_error": 0.01, "calibration_slope": None}
    aucs = {"logistic regression": (0.70, 0.72, 0.74), "LightGBM defaults": (0.71, 0.74, 0.77)}
    lines = [
        {"candidate": name, "repeat": 0, "fold": fold, "roc_auc": auc, **costs, **measures}
        for name, values in aucs.items()
        for fold, auc in enumerate(values)
    ]
    said = leaderboard.text(BenchmarkTable("made", table(), grouped=False), lines, folds=3)
    assert "made: 240 rows, 2 columns, 25.00% positive; 1 x 3 stratified folds" in said
    assert said.count(" less ") == 1
    found = resampled_difference(*(np.array(aucs[name]) for name in reversed(aucs)), test_per_train=0.5)
    difference = f"AUC {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p {found.p_value:.3f}"
    assert f"LightGBM defaults less logistic regression: {difference}" in said
    assert "0.7200 [" in said


@pytest.mark.parametrize(("published", "rows"), [(False, 28), (True, 38)])
def test_rows_come_through_the_contract(
    published: bool, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40, two are quarantined in any case; ten are outside of the population that the contract is about."""
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
                "meta": {"action": action, "reason": "to be tried"},
            }
            for action, kwargs in rules
        ],
        "meta": {
            "read": {
                "files": ["loans.csv"],
                "columns": {"amount": "number", "kind": "integer", "bad": "category"},
            },
            "roles": {"target": {"column": "bad", "positive": ["1"]}},
            "special": {"kind": {"3": "unknown"}},
            "budget": 0.2,
        },
    }
    (tmp_path / "contracts" / "fintech_risk").mkdir(parents=True)
    (tmp_path / "contracts" / "fintech_risk" / "german_credit.json").write_text(json.dumps(contract))
    monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(tmp_path / "contracts"))
    data = load("german_credit", published)
    assert data.part.frame.shape == (rows, 2)
    assert (data.part.frame["amount"] % 2 == data.part.truth).all()
    assert (data.part.sentinel_values, data.grouped) == ({"kind": (3.0,)}, False)


def test_breast_cancer_is_read_as_it_comes() -> None:
    data = load("breast_cancer")
    assert data.part.frame.shape == (569, 30)
    assert data.part.truth.sum() == 212
