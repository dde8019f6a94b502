"""Subgroup metrics: correct per group, left out for small groups, and able to fail the quality gate."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ml.data.dataset import Dataset
from ml.data.rare_values import POOLED
from ml.evaluation.evaluator import BinaryEvaluator, NumericEvaluator
from ml.evaluation.quality_gate import QualityThresholds, check_quality
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.evaluation.subgroups import MIN_CLASS_UNITS, MIN_UNITS, subgroup_metrics


def sample_groups(rows: int = 4000) -> tuple[Dataset, pd.DataFrame]:
    """Sample a dataset and its prediction, which is random for the oldest third.

    Region 9 has too few rows, region 8 enough rows but too few positives.
    """
    generator = np.random.default_rng(0)
    truth = (generator.random(rows) < 0.3).astype(float)
    age = generator.uniform(18, 90, size=rows)
    region = generator.choice(["1", "2"], size=rows).astype(object)
    region[:30] = "9"
    region_8 = np.arange(30, 300)
    region[region_8] = "8"
    truth[region_8] = 0.0
    truth[region_8[: MIN_CLASS_UNITS - 1]] = 1.0
    region[300:600] = np.nan
    score = np.where(
        age < 66, np.clip(truth * 0.3 + generator.random(rows) * 0.7, 0, 1), generator.random(rows)
    )
    metadata = pd.DataFrame({"age": age, "region": pd.Series(region).astype("str")})
    units = np.arange(rows, dtype=np.uint64)
    dataset = Dataset(pd.DataFrame({"x": score}), pd.Series(truth), units, metadata)
    return dataset, pd.DataFrame({"probability": score})


def test_metrics_of_a_group_use_its_rows_only() -> None:
    dataset, prediction = sample_groups()
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("age", "region"))
    by_name = {(group["column"], group["group"]): group for group in groups}
    in_region_1 = (dataset.metadata["region"] == "1").to_numpy()
    truth, score = dataset.truth[in_region_1], prediction["probability"][in_region_1]
    group = by_name["region", "1"]
    assert group["value"] == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
    assert (group["rows"], group["observed"]) == (in_region_1.sum(), pytest.approx(truth.mean()))
    assert (group["predicted"], group["selected"]) == pytest.approx((score.mean(), (score >= 0.5).mean()))
    # Numbers are grouped into quartiles; every row is in a group.
    assert [group["rows"] for group in groups if group["column"] == "age"] == [1000] * 4
    assert sum(group["rows"] for group in groups if group["column"] == "region") == len(dataset.frame)
    assert by_name["region", "missing"]["rows"] == 300


def test_small_groups_are_listed_and_not_evaluated() -> None:
    dataset, prediction = sample_groups()
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("region",))
    not_evaluated = {group["group"]: group["rows"] for group in groups if not group["evaluated"]}
    assert not_evaluated == {"9": 30, "8": 270}
    assert MIN_UNITS > 30
    # Several rows of one patient do not make a group larger.
    units = np.repeat(np.arange(80, dtype=np.uint64), 50)
    clustered = Dataset(dataset.frame, dataset.truth, units, dataset.metadata)
    groups = subgroup_metrics(clustered, prediction, BinaryEvaluator(), {}, ("region",))
    assert not any(group["evaluated"] for group in groups)


def test_a_harmed_group_fails_the_quality_gate_and_noise_does_not() -> None:
    dataset, prediction = sample_groups()
    interval = BinaryEvaluator().primary_interval(dataset, prediction)
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("age", "region"))
    evaluation = {
        "primary": "roc_auc",
        "metrics": {"roc_auc": interval.value},
        "low": interval.low,
        "high": interval.high,
        "intervals": {"calibration_error": {"low": 0.0}},
        "groups": groups,
    }
    thresholds = QualityThresholds(min_primary=0.5, max_subgroup_gap=0.05)
    checks = check_quality(thresholds, evaluation, 1.0, 1.0)
    failed = [check["check"] for check in checks if not check["passed"]]
    assert failed
    assert all("of age=" in name for name in failed)
    assert any("above" in name for name in failed)


def test_numeric_and_ranking_evaluators_have_subgroups() -> None:
    rows = 400
    generator = np.random.default_rng(1)
    metadata = pd.DataFrame({"sex": np.where(np.arange(rows) % 2, "f", "m")})
    units = np.arange(rows, dtype=np.uint64)
    truth = pd.Series(generator.normal(size=rows))
    numeric = Dataset(pd.DataFrame({"x": truth}), truth, units, metadata)
    groups = subgroup_metrics(numeric, pd.DataFrame({"value": truth}), NumericEvaluator(), {}, ("sex",))
    assert [(group["group"], group["evaluated"], group["value"]) for group in groups] == [
        ("f", True, 1.0),
        ("m", True, 1.0),
    ]
    users = [f"u{i}" for i in range(rows)]
    frame = pd.DataFrame({"user": users, "items": [[]] * rows, "times": [[]] * rows})
    targets = pd.Series([["a"] if i % 2 else ["b"] for i in range(rows)])
    best = pd.DataFrame({"user": users, "rank": 1, "item": "a", "score": 1.0})
    prediction = pd.concat([best, best.assign(rank=2, item="b", score=0.5)]).sort_values(["user", "rank"])
    ranking = Dataset(frame, targets, units, metadata)
    groups = subgroup_metrics(ranking, prediction, RankingEvaluator(k=1), {}, ("sex",))
    assert [(group["group"], group["value"]) for group in groups] == [("f", 1.0), ("m", 0.0)]


def sensitive_groups(sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Compute the metrics of groups of these sizes, by name."""
    values = np.repeat(np.array(list(sizes), dtype=object), list(sizes.values()))
    generator = np.random.default_rng(2)
    truth = pd.Series((generator.random(len(values)) < 0.4).astype(float))
    metadata = pd.DataFrame({"country": pd.Series(values).astype("str")})
    dataset = Dataset(pd.DataFrame({"x": truth}), truth, np.arange(len(values), dtype=np.uint64), metadata)
    prediction = pd.DataFrame({"probability": generator.random(len(values))})
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("country",))
    return {group["group"]: group for group in groups}


def test_values_of_fewer_than_ten_people_are_pooled() -> None:
    groups = sensitive_groups({"a": 300, "b": 200, "rare-1": 9, "rare-2": 6, "c": 10})
    assert set(groups) == {"a", "b", "c", POOLED}
    assert groups[POOLED]["rows"] == 15
    assert groups["b"]["rows"] == 200
    assert groups["b"]["evaluated"]
    assert "observed" in groups["b"]


def test_a_pool_of_few_people_cannot_be_computed_from_the_other_groups() -> None:
    groups = sensitive_groups({"a": 300, "b": 200, "rare": 3})
    hidden = {name for name, group in groups.items() if group["rows"] is None}
    assert hidden == {POOLED, "b"}
    assert not {"observed", "predicted", "selected"} & (set(groups["b"]) | set(groups[POOLED]))
    # The gate still sees the group.
    assert groups["b"]["evaluated"]
    assert groups["b"]["low"] < groups["b"]["value"] < groups["b"]["high"]
    assert groups["a"]["rows"] == 300


def test_several_rows_of_a_person_do_not_make_a_value_common() -> None:
    dataset, prediction = sample_groups()
    units = np.repeat(np.arange(8, dtype=np.uint64), 500)
    clustered = Dataset(dataset.frame, dataset.truth, units, dataset.metadata)
    groups = subgroup_metrics(clustered, prediction, BinaryEvaluator(), {}, ("region",))
    assert [(group["group"], group["rows"]) for group in groups] == [(POOLED, None)]


def test_bands_of_numbers_do_not_name_the_lowest_and_the_highest() -> None:
    dataset, prediction = sample_groups()
    dataset.metadata.loc[0, "age"], dataset.metadata.loc[1, "age"] = 0.125, 117.5
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {}, ("age",))
    names = " ".join(group["group"] for group in groups)
    assert "117" not in names
    assert "0.12" not in names
    assert "up to" in names
    assert "above" in names
