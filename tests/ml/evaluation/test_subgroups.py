"""Subgroup metrics: correct per group, left out for small groups, and able to fail the quality gate."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ml.data.dataset import Dataset
from ml.data.rare_values import POOLED
from ml.data.target import class_columns
from ml.evaluation.auc_intervals import auc_difference, delong_auc_covariance
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.groups import MAX_GROUPS, MIN_CLASS_UNITS, MIN_UNITS, SMALLER, find_groups
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.quality_gate import QualityThresholds, check_quality
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.evaluation.subgroup_tests import check_groups, check_harm, describe_not_evaluated
from ml.evaluation.subgroups import compare_groups, subgroup_metrics


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
    groups = subgroup_metrics(numeric, pd.DataFrame({"prediction": truth}), NumericEvaluator(), {}, ("sex",))
    assert [(group["group"], group["evaluated"], group["value"]) for group in groups] == [
        ("f", True, 0.0),
        ("m", True, 0.0),
    ]
    users = [f"u{i}" for i in range(rows)]
    frame = pd.DataFrame({"user": users, "items": [[]] * rows, "times": [[]] * rows})
    targets = pd.Series([["a"] if i % 2 else ["b"] for i in range(rows)])
    best = pd.DataFrame({"user": users, "rank": 1, "item": "a", "score": 1.0})
    prediction = pd.concat([best, best.assign(rank=2, item="b", score=0.5)]).sort_values(["user", "rank"])
    ranking = Dataset(frame, targets, units, metadata)
    groups = subgroup_metrics(ranking, prediction, RankingEvaluator(k=1), {}, ("sex",))
    assert [(group["group"], group["value"]) for group in groups] == [("f", 1.0), ("m", 0.0)]


@pytest.mark.parametrize("fault", ["none", "worse", "biased"])
def test_predicted_numbers_that_harm_a_group_are_refused(fault: str) -> None:
    """A group whose numbers are predicted worse than by the mean, or too low, and one whose errors are only larger."""
    rng, rows = np.random.default_rng(5), 2000
    women = np.arange(rows) % 4 == 0
    truth = rng.normal(size=rows) * np.where(women, 2.0, 1.0)
    prediction = truth + rng.normal(size=rows) * np.where(women, 1.0, 0.3)
    if fault == "worse":
        prediction[women] = rng.permutation(truth[women])
    if fault == "biased":
        prediction[women] -= 0.8
    metadata = pd.DataFrame({"sex": np.where(women, "f", "m")})
    dataset = Dataset(
        pd.DataFrame(index=range(rows)), pd.Series(truth), np.arange(rows, dtype=np.uint64), metadata
    )
    evaluator = NumericEvaluator()
    mean, predicted = (pd.DataFrame({"prediction": p}) for p in (np.full(rows, truth.mean()), prediction))
    groups = subgroup_metrics(dataset, predicted, evaluator, {}, ("sex",), mean)
    by_name = {group["group"]: group for group in groups}
    error = truth - prediction
    assert by_name["f"]["bias"]["value"] == pytest.approx(error[women].mean() / truth.std())
    expected = (error[women] ** 2 - (truth[women] - truth.mean()) ** 2).mean()
    assert by_name["f"]["below_baseline"]["value"] == pytest.approx(expected / truth.var())
    failed = [
        check["check"]
        for check in check_groups(evaluator.group_metric, groups, 0.03, 0.25)
        if not check["passed"]
    ]
    assert (
        failed
        == {
            "none": [],
            "worse": ["explained_share of sex=f below that of the baseline by at most"],
            "biased": [
                "mean error of sex=f, beyond that of the rest, in standard deviations of the target, at most"
            ],
        }[fault]
    )
    harmed = compare_groups(dataset, predicted, pd.DataFrame({"prediction": truth}), evaluator, ("sex",))
    harm = {group["group"]: group["harm"]["value"] for group in harmed}
    assert harm["f"] == pytest.approx((error[women] ** 2).mean() / truth.var())


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


def test_the_gap_to_the_rest_has_the_error_of_two_independent_aucs() -> None:
    dataset, prediction = sample_groups()
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("region",))
    group = next(group for group in groups if group["group"] == "1")
    inside = (dataset.metadata["region"] == "1").to_numpy()
    aucs, variances = [], []
    for rows in (inside, ~inside):
        score = prediction["probability"].to_numpy()[rows]
        auc, covariance = delong_auc_covariance(dataset.truth.to_numpy()[rows], score[None, :])
        aucs.append(auc[0])
        variances.append(covariance[0, 0])
    assert group["rest"] == pytest.approx(aucs[1])
    assert group["gap"]["value"] == pytest.approx(aucs[1] - aucs[0])
    assert group["gap"]["error"] == pytest.approx(np.sqrt(sum(variances)), rel=1e-9)


def test_people_with_rows_in_several_groups_are_drawn_together() -> None:
    """The error of a gap equals that of the bootstrap over people, half of whose rows are in each group."""
    dataset, prediction = sample_groups(1200)
    truth, score = dataset.truth.to_numpy(), prediction["probability"].to_numpy()
    people, sex = np.arange(1200) // 4, np.where(np.arange(1200) % 4 < 2, "f", "m")
    truth, score = truth[people], score[people] + np.random.default_rng(0).normal(scale=0.2, size=1200)
    score = np.clip(score, 0.0, 1.0)
    metadata = pd.DataFrame({"sex": sex})
    clustered = Dataset(dataset.frame, pd.Series(truth), people.astype(np.uint64), metadata)
    predicted = pd.DataFrame({"probability": score})
    group = subgroup_metrics(clustered, predicted, BinaryEvaluator(), {"threshold": 0.5}, ("sex",))[0]
    generator, rows = np.random.default_rng(1), np.arange(1200).reshape(-1, 4)
    gaps = []
    for _ in range(200):
        drawn = rows[generator.integers(300, size=300)]
        f, m = drawn[:, :2].ravel(), drawn[:, 2:].ravel()
        gaps.append(roc_auc_score(truth[m], score[m]) - roc_auc_score(truth[f], score[f]))
    assert group["gap"]["error"] == pytest.approx(np.std(gaps, ddof=1), rel=0.2)


def test_calibration_and_error_rates_of_a_group() -> None:
    dataset, prediction = sample_groups()
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("region",))
    group = next(group for group in groups if group["group"] == "1")
    inside = (dataset.metadata["region"] == "1").to_numpy()
    truth, selected = dataset.truth[inside], prediction["probability"][inside] >= 0.5
    assert group["ratio"]["value"] == pytest.approx(group["observed"] / group["predicted"])
    assert group["ratio"]["low"] < group["ratio"]["value"] < group["ratio"]["high"]
    assert group["false_positives"]["value"] == pytest.approx(selected[truth == 0].mean())
    assert group["false_negatives"]["value"] == pytest.approx(1 - selected[truth == 1].mean())
    # These probabilities are too high, so that their log odds must be shifted down.
    assert group["ratio"]["high"] < 1
    assert group["shift"]["high"] < 0


def test_a_group_of_one_class_is_not_evaluated_and_says_so() -> None:
    dataset, prediction = sample_groups()
    dataset.truth[dataset.metadata["region"] == "8"] = 0.0
    groups = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("region",))
    reasons = {group["group"]: group["reason"] for group in groups if not group["evaluated"]}
    assert reasons == {"8": "all target values are equal", "9": f"fewer than {MIN_UNITS} units"}


def test_without_other_rows_a_group_is_compared_with_nothing() -> None:
    dataset, prediction = sample_groups()
    dataset.metadata["region"] = "1"
    (group,) = subgroup_metrics(dataset, prediction, BinaryEvaluator(), {"threshold": 0.5}, ("region",))
    assert group["evaluated"]
    assert "gap" not in group
    assert check_groups("roc_auc", [group], 0.03, 0.25) == []


def test_very_many_groups_are_pooled() -> None:
    """Names of single people are one pool, and all but the largest common groups another."""
    rows = 60_000
    generator = np.random.default_rng(0)
    single = np.array([f"person {i}" for i in range(rows // 2)], dtype=object)
    common = np.array([f"street {i % 1000}" for i in range(rows // 2)], dtype=object)
    metadata = pd.DataFrame({"name": np.concatenate([single, common])})
    truth = pd.Series((generator.random(rows) < 0.3).astype(float))
    dataset = Dataset(pd.DataFrame({"x": truth}), truth, np.arange(rows, dtype=np.uint64), metadata)
    found = list(find_groups(dataset, ("name",)))
    assert len(found) == MAX_GROUPS + 2
    pools = {group.label: group.values for group in found if group.values > 1}
    assert pools == {POOLED: rows // 2, SMALLER: 1000 - MAX_GROUPS}
    assert sum(len(group.rows) for group in found) == rows


def people_and_streets(people: int) -> Dataset:
    """Return numbers of people who have a name each, and of 40 streets of 100 people."""
    names = [f"person {i}" for i in range(people)] + [f"street {i % 40}" for i in range(4000)]
    truth = pd.Series(np.random.default_rng(0).normal(size=len(names)))
    units = np.arange(len(names), dtype=np.uint64)
    return Dataset(pd.DataFrame({"x": truth}), truth, units, pd.DataFrame({"name": names}))


def test_long_values_are_named_by_their_beginning_and_a_digest() -> None:
    dataset, _ = sample_groups(400)
    values = ["x" * 100_000 + ending for ending in "ab"]
    metadata = pd.DataFrame({"note": pd.Series([values[row % 2] for row in range(400)], dtype="str")})
    found = list(find_groups(replace(dataset, metadata=metadata), ("note",)))
    assert [len(group.rows) for group in found] == [200, 200]
    first, second = (group.label for group in found)
    assert first != second
    assert first.startswith("x" * 100 + "... (100,001 characters, SHA-256 ")
    assert max(len(first), len(second)) < 150


def test_what_is_recorded_of_groups_does_not_grow_with_their_number() -> None:
    """Facts, checks and notes of a column that names everybody are those of its largest groups and two pools."""
    evaluator, sizes = NumericEvaluator(), []
    for people in (1000, 10_000):
        dataset = people_and_streets(people)
        prediction = pd.DataFrame({"prediction": dataset.truth + 0.5})
        groups = subgroup_metrics(dataset, prediction, evaluator, {}, ("name",), prediction)
        harms = compare_groups(dataset, prediction, prediction, evaluator, ("name",))
        checks = [*check_groups("explained_share", groups, 0.03, 0.25), *check_harm("rmse", harms, 0.03)]
        assert len(groups) == len(harms) == MAX_GROUPS + 2
        assert {group["values"] for group in groups if "values" in group} == {people, 40 - MAX_GROUPS}
        sizes.append(len(json.dumps([groups, harms, checks, describe_not_evaluated(groups)])))
    assert sizes[1] < 1.02 * sizes[0] < 100_000


def test_a_column_of_single_people_only_is_named_as_one_group() -> None:
    dataset = people_and_streets(500).take(np.arange(500))
    prediction = pd.DataFrame({"prediction": dataset.truth})
    (group,) = subgroup_metrics(dataset, prediction, NumericEvaluator(), {}, ("name",))
    assert (group["group"], group["values"], group["rows"]) == (POOLED, 500, 500)
    assert describe_not_evaluated([group]) == "all 500 values of name are one group"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (
            pd.Series(pd.date_range("1950-01-01", periods=400, freq="D")),
            ["1950-04-10 to 1950-07-19", "1950-07-19 to 1950-10-27", "above 1950-10-27", "up to 1950-04-10"],
        ),
        (
            pd.Series(100000001.0 + np.arange(400)),
            ["100000101 to 100000200", "100000200 to 100000300", "above 100000300", "up to 100000101"],
        ),
    ],
)
def test_quartiles_of_times_and_of_large_numbers_have_names_of_their_own(
    values: pd.Series, names: list[str]
) -> None:
    """A date of birth is no group for each day, and numbers that begin alike are not one group."""
    truth = pd.Series(np.arange(400.0))
    units = np.arange(400, dtype=np.uint64)
    dataset = Dataset(pd.DataFrame({"x": truth}), truth, units, pd.DataFrame({"born": values}))
    found = {group.label: len(group.rows) for group in find_groups(dataset, ("born",))}
    assert found == dict.fromkeys(names, 100)
    some = values.where(values.index % 2 == 0)
    dataset = replace(dataset, metadata=pd.DataFrame({"born": some}))
    sizes = {group.label: len(group.rows) for group in find_groups(dataset, ("born",))}
    assert (sizes.pop("missing"), list(sizes.values())) == (200, [50] * 4)


def test_a_challenger_that_harms_a_group_is_found_whatever_it_does_for_the_others() -> None:
    dataset, champion = sample_groups()
    generator = np.random.default_rng(3)
    truth, score = dataset.truth.to_numpy(), champion["probability"].to_numpy()
    inside = (dataset.metadata["region"] == "1").to_numpy()
    worse = np.clip(score + generator.normal(scale=0.5, size=len(score)), 0, 1)
    better = np.clip(score + 0.2 * truth, 0, 1)
    challenger = pd.DataFrame({"probability": np.where(inside, worse, better)})
    groups = compare_groups(dataset, challenger, champion, BinaryEvaluator(), ("region",))
    group = next(group for group in groups if group["group"] == "1")
    difference = auc_difference(truth[inside], score[inside], worse[inside])
    assert group["harm"]["value"] == pytest.approx(difference.value)
    # By the normal distribution, which with this many cases is close to Student's t.
    assert group["harm"]["high"] == pytest.approx(difference.high, abs=1e-3)
    assert group["rest_harm"]["value"] < 0
    failed = [check["group"] for check in check_harm("roc_auc", groups, 0.03) if not check["passed"]]
    assert failed == ["1"]
    same = compare_groups(dataset, champion, champion, BinaryEvaluator(), ("age", "region"))
    assert all(check["passed"] for check in check_harm("roc_auc", same, 0.03))


def test_harms_of_rankings_are_shares_of_what_the_group_had() -> None:
    rows = 400
    users = [f"u{i}" for i in range(rows)]
    frame = pd.DataFrame({"user": users, "items": [[]] * rows, "times": [[]] * rows})
    targets = pd.Series([["a"] if i % 4 else ["b"] for i in range(rows)])
    metadata = pd.DataFrame({"sex": np.where(np.arange(rows) % 2, "f", "m")})
    dataset = Dataset(frame, targets, np.arange(rows, dtype=np.uint64), metadata)

    def only(item: str) -> pd.DataFrame:
        return pd.DataFrame({"user": users, "rank": 1, "item": item, "score": 1.0})

    evaluator = RankingEvaluator(k=1)
    groups = compare_groups(dataset, only("b"), only("a"), evaluator, ("sex",))
    # All of f chose a, and half of m: what b gives to m instead is as much.
    assert [(group["group"], group["harm"]["value"]) for group in groups] == [("f", 1.0), ("m", 0.0)]
    nothing = compare_groups(dataset, only("a"), only("c"), evaluator, ("sex",))
    assert not any(group["evaluated"] for group in nothing)
    found = subgroup_metrics(dataset, only("b"), evaluator, {}, ("sex",), only("a"))
    assert found[0]["below_baseline"]["value"] == 1.0
    failed = [check["check"] for check in check_groups("ndcg_at_1", found, 0.03, None) if not check["passed"]]
    assert failed == ["ndcg_at_1 of sex=f below that of the baseline by at most"]


def test_classes_of_a_group_are_judged_by_accuracy_and_confidence() -> None:
    rows = 1200
    generator = np.random.default_rng(0)
    truth = pd.Series(generator.integers(0, 3, size=rows).astype(float))
    sex = np.where(np.arange(rows) < 600, "f", "m")
    # Right in 90 of 100 cases, as promised; for f only in 60.
    right = generator.random(rows) < np.where(sex == "f", 0.6, 0.9)
    chosen = np.where(right, truth, (truth + 1) % 3).astype(int)
    probability = np.full((rows, 3), 0.05)
    probability[np.arange(rows), chosen] = 0.9
    classes = ("a", "b", "c")
    prediction = pd.DataFrame(probability, columns=class_columns(classes))
    units = np.arange(rows, dtype=np.uint64)
    metadata = pd.DataFrame({"sex": sex})
    dataset = Dataset(pd.DataFrame({"x": truth}), truth, units, metadata, classes=classes)
    groups = subgroup_metrics(dataset, prediction, MulticlassEvaluator(), {}, ("sex",))
    checks = check_groups("accuracy", groups, 0.03, 0.25)
    failed = {(check["family"], check["group"]) for check in checks if not check["passed"]}
    assert failed == {("metric", "f"), ("calibration", "f")}
