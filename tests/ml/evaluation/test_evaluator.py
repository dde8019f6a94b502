"""Evaluators: consistent numbers from all methods, independence of row order, agreement with references, privacy."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from sklearn import metrics

from ml.data.dataset import Dataset
from ml.data.target import class_columns
from ml.evaluation.confidence_intervals import Difference
from ml.evaluation.evaluator import BinaryEvaluator, Decision, Evaluator
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator
from tasks.metric_descriptions import describe_metric


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """An evaluator, a dataset, predictions of a better and a worse model, and uninformative predictions."""

    evaluator: Evaluator
    dataset: Dataset
    first: pd.DataFrame
    second: pd.DataFrame
    uninformative: pd.DataFrame
    decision: Decision

    def take(self, rows: np.ndarray) -> "EvaluationCase":
        """Select rows of the dataset and of all predictions."""
        dataset = self.dataset.take(rows)

        def select(prediction: pd.DataFrame) -> pd.DataFrame:
            if "user" not in prediction.columns:
                return prediction.iloc[rows]
            lists = dict(list(prediction.groupby("user")))
            return pd.concat([lists[user] for user in dataset.frame["user"]])

        predictions = (select(prediction) for prediction in (self.first, self.second, self.uninformative))
        return EvaluationCase(self.evaluator, dataset, *predictions, self.decision)


def tabular_dataset(truth: np.ndarray) -> Dataset:
    frame = pd.DataFrame({"x": np.zeros(len(truth))})
    return Dataset(frame, pd.Series(truth), np.arange(len(truth), dtype=np.uint64) + 2**63)


def binary_case(rows: int) -> EvaluationCase:
    rng = np.random.default_rng(0)
    truth = (rng.random(rows) < 0.4).astype(float)

    def predict(skill: float) -> pd.DataFrame:
        probability = 1 / (1 + np.exp(rng.normal(size=rows) - skill * truth))
        # Small samples are rounded to have many ties.
        return pd.DataFrame({"probability": probability.round(2 if rows <= 200 else 9)})

    uninformative = pd.DataFrame({"probability": np.full(rows, 0.4)})
    first, second = predict(1.0), predict(0.7)
    dataset = tabular_dataset(truth)
    return EvaluationCase(BinaryEvaluator(), dataset, first, second, uninformative, {"threshold": 0.6})


def numeric_case(rows: int) -> EvaluationCase:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=rows)
    first, second = (
        pd.DataFrame({"prediction": truth + rng.normal(size=rows) * noise}) for noise in (0.5, 0.8)
    )
    uninformative = pd.DataFrame({"prediction": np.full(rows, truth.mean())})
    decision = {"half_width": 0.8}
    return EvaluationCase(NumericEvaluator(), tabular_dataset(truth), first, second, uninformative, decision)


CLASSES = ("refund", "delivery", "login", "other", "never")


def multiclass_case(rows: int) -> EvaluationCase:
    """Build a case in which the last class has no rows; predicting it is never right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, rows)

    def predict(skill: float) -> pd.DataFrame:
        scores = rng.normal(size=(rows, 5)) + skill * np.eye(5)[truth]
        odds = np.exp(scores)
        return pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), columns=class_columns(CLASSES))

    uninformative = pd.DataFrame(np.tile(np.eye(5)[4], (rows, 1)), columns=class_columns(CLASSES))
    first, second = predict(3.0), predict(2.0)
    dataset = replace(tabular_dataset(truth.astype(np.float64)), classes=CLASSES)
    decision = {"min_probability": 0.5, "label_probability": 0.1}
    return EvaluationCase(MulticlassEvaluator(), dataset, first, second, uninformative, decision)


CATALOGUE = [f"item-{n:02}" for n in range(30)]


def to_prediction(lists: dict[str, list[str]]) -> pd.DataFrame:
    """Build a prediction from lists of items, best first, without ties."""
    rows = [
        (user, rank, item, -float(rank))
        for user, items in lists.items()
        for rank, item in enumerate(items, 1)
    ]
    return pd.DataFrame(rows, columns=["user", "rank", "item", "score"]).astype({"score": np.float64})


def ranking_dataset(histories: dict[str, list[str]], targets: dict[str, list[str]]) -> Dataset:
    frame = pd.DataFrame({"user": pd.Series(list(histories), dtype="str")})
    frame["items"] = pd.Series(list(histories.values()), dtype=object)
    frame["times"] = frame["items"].map(lambda items: [float(n) for n in range(len(items))])
    truth = pd.Series([targets[user] for user in histories], dtype=object)
    times = truth.map(lambda items: [1e9] * len(items))
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), truth_times=times)


def ranking_case(users: int) -> EvaluationCase:
    rng = np.random.default_rng(0)
    names = [f"user-{n:02}" for n in range(users)]
    histories = {u: rng.choice(CATALOGUE, rng.choice([0, 2, 7, 25])).tolist() for u in names}
    targets = {u: rng.choice(CATALOGUE, rng.integers(1, 5), replace=False).tolist() for u in names}

    def predict(skill: float) -> pd.DataFrame:
        """Order all items at random, with the targets moved up by `skill`."""

        def position(user: str, item: str) -> float:
            return float(rng.random() - skill * (item in targets[user]))

        return to_prediction({u: sorted(CATALOGUE, key=lambda i, u=u: position(u, i)) for u in names})

    uninformative = to_prediction({u: ["nothing"] for u in names})
    dataset, first, second = ranking_dataset(histories, targets), predict(0.5), predict(0.3)
    return EvaluationCase(RankingEvaluator(k=5), dataset, first, second, uninformative, {})


@cache
def first_minus_second(case: EvaluationCase) -> Difference:
    return case.evaluator.paired_difference(case.dataset, case.first, case.second)


@cache
def second_minus_first(case: EvaluationCase) -> Difference:
    return case.evaluator.paired_difference(case.dataset, case.second, case.first)


CASE_BUILDERS: dict[str, Callable[[int], EvaluationCase]] = {
    "binary": binary_case,
    "multiclass": multiclass_case,
    "numeric": numeric_case,
    "ranking": ranking_case,
}
CASES = {name: build(200) for name, build in CASE_BUILDERS.items()}
ROW_TARGETS = ["binary", "multiclass", "numeric"]
every_target = pytest.mark.parametrize("target", list(CASES))
every_case = pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
every_row_case = pytest.mark.parametrize("case", [CASES[name] for name in ROW_TARGETS], ids=ROW_TARGETS)


# --- all evaluators ------------------------------------------------------------------------------------------------


@every_case
def test_all_methods_agree_on_the_value_of_a_metric(case: EvaluationCase) -> None:
    evaluator, primary = case.evaluator, case.evaluator.primary
    metrics_of_first = evaluator.metrics(case.dataset, case.first, case.decision)
    primary_interval = evaluator.primary_interval(case.dataset, case.first)
    intervals = evaluator.metric_intervals(case.dataset, case.first, case.decision, seed=0)
    assert intervals[primary] == primary_interval
    assert primary_interval.value == pytest.approx(metrics_of_first[primary], abs=1e-12)
    for name, interval in intervals.items():
        assert interval.value == pytest.approx(metrics_of_first[name], abs=1e-12), name
        assert interval.low < interval.value < interval.high, name
    metrics_of_second = evaluator.metrics(case.dataset, case.second, case.decision)
    difference = first_minus_second(case).value
    assert difference > 0
    higher = 1 if describe_metric(primary).better == "higher" else -1
    assert difference == pytest.approx(
        higher * (metrics_of_first[primary] - metrics_of_second[primary]), abs=1e-12
    )


@every_case
def test_uninformative_predictions_are_at_the_chance_level(case: EvaluationCase) -> None:
    uninformative = case.evaluator.metrics(case.dataset, case.uninformative, case.decision)
    first, chance = case.evaluator.primary_interval(case.dataset, case.first), case.evaluator.chance_level
    if chance is None:
        chance = case.dataset.truth.std(ddof=0)
        assert first.high < chance
    else:
        assert first.low > chance
    assert uninformative[case.evaluator.primary] == pytest.approx(chance, abs=1e-12)


@every_case
def test_paired_differences_are_antisymmetric(case: EvaluationCase) -> None:
    forward, backward = first_minus_second(case), second_minus_first(case)
    opposite = (-backward.value, -backward.high, -backward.low)
    assert (forward.value, forward.low, forward.high) == pytest.approx(opposite)
    assert forward.p_value == pytest.approx(backward.p_value)


@every_case
def test_a_model_does_not_differ_from_itself(case: EvaluationCase) -> None:
    assert case.evaluator.paired_difference(case.dataset, case.first, case.first.copy()) == Difference(
        0.0, 0.0, 0.0, 1.0
    )


@every_case
def test_the_order_of_rows_does_not_matter(case: EvaluationCase) -> None:
    evaluator = case.evaluator
    shuffled = case.take(np.random.default_rng(1).permutation(len(case.dataset.frame)))
    for prediction, permuted in ((case.first, shuffled.first), (case.second, shuffled.second)):
        before = evaluator.metrics(case.dataset, prediction, case.decision)
        after = evaluator.metrics(shuffled.dataset, permuted, case.decision)
        assert after == pytest.approx(before, abs=1e-12)
    decision = evaluator.decision(case.dataset, case.first)
    assert evaluator.decision(shuffled.dataset, shuffled.first) == decision


def list_lengths(value: Any) -> list[int]:
    """Collect the lengths of all lists inside a JSON value."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    outer = [len(value)] if isinstance(value, list) else []
    return outer + [length for child in children for length in list_lengths(child)]


@every_target
def test_curves_are_json_aggregates_without_names(target: str) -> None:
    """Whatever the number of rows: no long list, no name of a user, item or unit, and no NaN, which JSON lacks."""
    case = CASE_BUILDERS[target](3000)
    curves = case.evaluator.curves(case.dataset, case.first)
    text = json.dumps(curves, allow_nan=False)
    assert json.loads(text) == curves
    assert max(list_lengths(curves)) <= 200
    assert not any(name in text for name in ("user-", "item-"))
    assert target == "ranking" or not any(str(unit) in text for unit in case.dataset.units)


# --- evaluators of rows --------------------------------------------------------------------------------------------


@every_row_case
def test_copies_of_a_row_narrow_no_interval_within_a_unit(case: EvaluationCase) -> None:
    """Copies add no information within a unit; as units of their own they narrow all intervals."""
    rows = len(case.dataset.frame)
    copied = case.take(np.repeat(np.arange(rows), 3))
    own_units = np.arange(3 * rows, dtype=np.uint64)
    independent = replace(copied, dataset=replace(copied.dataset, units=own_units))

    def all_intervals(case: EvaluationCase) -> dict[str, Any]:
        intervals = case.evaluator.metric_intervals(case.dataset, case.first, case.decision, seed=3)
        return {
            **intervals,
            "primary": case.evaluator.primary_interval(case.dataset, case.first),
            "difference": first_minus_second(case),
        }

    once, within_units, by_row = all_intervals(case), all_intervals(copied), all_intervals(independent)
    for name, interval in once.items():
        limits = (within_units[name].low, within_units[name].high)
        assert limits == pytest.approx((interval.low, interval.high), abs=1e-9), name
        assert by_row[name].high - by_row[name].low < 0.75 * (interval.high - interval.low), name


@every_row_case
def test_seed_determines_the_intervals(case: EvaluationCase) -> None:
    intervals, same_seed, other_seed = (
        case.evaluator.metric_intervals(case.dataset, case.first, case.decision, seed) for seed in (1, 1, 2)
    )
    assert intervals == same_seed
    assert intervals != other_seed


units = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=15)


@given(units, units)
def test_only_rows_of_training_units_are_excluded(test_units: list[int], train_units: list[int]) -> None:
    evaluator = BinaryEvaluator()
    test, train = (
        Dataset(
            pd.DataFrame(index=range(len(labels))),
            pd.Series(0.0, range(len(labels))),
            np.array(labels, dtype=np.uint64),
        )
        for labels in (test_units, train_units)
    )
    training_keys = evaluator.training_keys(train)
    assert training_keys.dtype == np.uint64
    assert training_keys.tolist() == sorted(set(train_units))
    rows = evaluator.rows_not_trained_on(test, training_keys)
    assert rows.tolist() == [row for row, unit in enumerate(test_units) if unit not in train_units]
    assert len(test.take(rows).frame) == len(rows)


# --- several classes -----------------------------------------------------------------------------------------------


def test_model_of_other_classes_is_right_only_where_it_names_the_class() -> None:
    """A champion from before the contract had all its labels is compared by the labels' names."""
    case = CASES["multiclass"]
    columns = class_columns(CLASSES)
    renamed = case.first.rename(columns={columns[1]: "probability of parcel"})[[*columns[::-1]][:3]]
    value = case.evaluator.primary_interval(case.dataset, renamed).value
    expected = case.evaluator.primary_interval(
        case.dataset, case.first.assign(**dict.fromkeys(columns[:2], 0.0))
    )
    assert value == expected.value


def test_confusions_and_classes_of_the_report_add_up() -> None:
    case = multiclass_case(400)
    curves = case.evaluator.curves(case.dataset, case.first)
    accuracy = case.evaluator.primary_interval(case.dataset, case.first).value
    assert sum(pair["rows"] for pair in curves["confusions"]) == round(400 * (1 - accuracy))
    assert sum(row["rows"] for row in curves["classes"]) == 400
    assert [row["label"] for row in curves["classes"]] == [
        row["label"] for row in sorted(curves["classes"], key=lambda row: row["f1"])
    ]
    for label, shares in zip(
        curves["confusion_matrix"]["labels"], curves["confusion_matrix"]["shares"], strict=True
    ):
        assert sum(shares) == pytest.approx(float(label != "never"))


# --- binary --------------------------------------------------------------------------------------------------------


def test_binary_metrics_agree_with_scikit_learn() -> None:
    case = CASES["binary"]
    truth, probability = case.dataset.truth.to_numpy(), case.first["probability"].to_numpy()
    decision = probability >= 0.6
    assert (probability == 0.6).any()  # the threshold itself is a positive decision
    computed = case.evaluator.metrics(case.dataset, case.first, {"threshold": 0.6})
    # scikit-learn has no bins of equal mass, and no measures of credit scoring.
    for name in ("calibration_error", "calibration_intercept", "calibration_slope", "ks", "lift"):
        del computed[name]
    assert computed == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, decision),
            "gini": 2 * metrics.roc_auc_score(truth, probability) - 1,
            "recall": metrics.recall_score(truth, decision),
            "precision": metrics.precision_score(truth, decision),
            "f1": metrics.f1_score(truth, decision),
            "roc_auc": metrics.roc_auc_score(truth, probability),
            "average_precision": metrics.average_precision_score(truth, probability),
            "log_loss": metrics.log_loss(truth, probability),
            "brier": metrics.brier_score_loss(truth, probability),
        }
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=25))
def test_no_other_threshold_has_a_higher_f1(rows: list[tuple[bool, int]]) -> None:
    truth = np.array([1.0, 0.0, *(float(positive) for positive, _ in rows)])
    prediction = pd.DataFrame({"probability": [0.5, 0.5, *(p / 20 for _, p in rows)]})
    evaluator, dataset = BinaryEvaluator(), tabular_dataset(truth)

    def f1(threshold: float) -> float:
        positive = prediction["probability"].to_numpy() >= threshold
        return float(2 * truth[positive].sum() / (positive.sum() + truth.sum()))

    decision = evaluator.decision(dataset, prediction)
    best = evaluator.metrics(dataset, prediction, decision)["f1"]
    assert best == pytest.approx(f1(decision["threshold"]))
    assert best >= max(map(f1, np.arange(0, 1.01, 0.025))) - 1e-12


def test_area_under_the_roc_curve_is_the_auc() -> None:
    case = binary_case(3000)
    curves = case.evaluator.curves(case.dataset, case.first)
    x, y = (np.array(curves["roc"][axis]) for axis in "xy")
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(
        case.evaluator.primary_interval(case.dataset, case.first).value, abs=2e-3
    )
    recall, precision = (np.array(curves["precision_recall"][axis]) for axis in "xy")
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert precision[-1] == pytest.approx(case.dataset.truth.mean(), abs=0.01)
    assert sum(curves["reliability"]["count"]) == 3000


def test_an_undefined_calibration_slope_is_none() -> None:
    case = CASES["binary"]
    assert case.evaluator.curves(case.dataset, case.first)["calibration_slope"] > 0
    assert case.evaluator.curves(case.dataset, case.uninformative)["calibration_slope"] is None
    perfect = pd.DataFrame({"probability": case.dataset.truth})
    assert case.evaluator.curves(case.dataset, perfect)["calibration_slope"] is None


# --- numeric -------------------------------------------------------------------------------------------------------


def test_numeric_metrics_agree_with_scikit_learn() -> None:
    case = CASES["numeric"]
    truth, value = case.dataset.truth, case.first["prediction"]
    assert case.evaluator.metrics(case.dataset, case.first, {"half_width": 0.5}) == pytest.approx(
        {
            "rmse": metrics.root_mean_squared_error(truth, value),
            "mae": metrics.mean_absolute_error(truth, value),
            "median_error": metrics.median_absolute_error(truth, value),
            "r2": metrics.r2_score(truth, value),
            "interval_coverage": (np.abs(truth - value) <= 0.5).mean(),
            "interval_width": 1.0,
        }
    )


def test_predictions_of_earlier_models_are_compared_too() -> None:
    case = CASES["numeric"]
    earlier = case.second.rename(columns={"prediction": "value"})
    assert case.evaluator.paired_difference(case.dataset, case.first, earlier) == first_minus_second(case)


def test_difference_of_numbers_is_that_of_squared_errors_paired() -> None:
    case = CASES["numeric"]
    truth, worse, better = (
        column.to_numpy()
        for column in (case.dataset.truth, case.second["prediction"], case.first["prediction"])
    )
    paired = ttest_rel((truth - worse) ** 2, (truth - better) ** 2)
    difference = first_minus_second(case)
    assert difference.p_value == pytest.approx(paired.pvalue)
    roots = np.sqrt(((truth - worse) ** 2).mean()) + np.sqrt(((truth - better) ** 2).mean())
    limits = paired.confidence_interval(0.95)
    assert (difference.low * roots, difference.high * roots) == pytest.approx((limits.low, limits.high))


def test_rmse_intervals_and_comparisons_are_right_as_often_as_they_say() -> None:
    """500 tables of 80 rows in units of 2: the interval has the true RMSE of 1, and a model no better is one in 20."""
    rng = np.random.default_rng(0)
    evaluator, inside, differing = NumericEvaluator(), 0, 0
    units = np.repeat(np.arange(40, dtype=np.uint64), 2)
    for _ in range(500):
        # The errors of a unit are alike.
        first, second = (np.repeat(rng.normal(size=40), 2) for _ in range(2))
        dataset = replace(tabular_dataset(np.zeros(80)), units=units)
        predictions = [pd.DataFrame({"prediction": errors}) for errors in (first, second)]
        interval = evaluator.primary_interval(dataset, predictions[0])
        inside += interval.low <= 1.0 <= interval.high
        differing += evaluator.paired_difference(dataset, *predictions).p_value < 0.05
    assert 0.88 < inside / 500 < 0.98
    assert 0.02 < differing / 500 < 0.08


@pytest.mark.parametrize(("rows", "bins"), [(7, 1), (35, 3), (200, 10)])
def test_groups_by_prediction_have_equal_size_and_ten_rows(rows: int, bins: int) -> None:
    case = numeric_case(rows)
    order = np.argsort(case.first["prediction"].to_numpy())
    truth, value = case.dataset.truth.to_numpy()[order], case.first["prediction"].to_numpy()[order]
    parts = [
        np.arange(rows)[np.ceil(np.arange(1, rows + 1) * bins / rows).astype(int) == part]
        for part in range(1, bins + 1)
    ]
    curve = case.evaluator.curves(case.dataset, case.first)["deciles"]
    assert curve["predicted"] == pytest.approx([value[part].mean() for part in parts])
    assert curve["observed"] == pytest.approx([truth[part].mean() for part in parts])
    assert curve["error"] == pytest.approx([(truth - value)[part].mean() for part in parts])
    assert curve["absolute_error"] == pytest.approx([np.abs(truth - value)[part].mean() for part in parts])


# --- ranking -------------------------------------------------------------------------------------------------------

item_lists = st.lists(st.sampled_from("abcdefgh"), max_size=5)
rankings = st.permutations("abcdefgh").flatmap(lambda p: st.integers(0, 8).map(lambda n: p[:n]))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(item_lists, item_lists.filter(len), rankings), min_size=1, max_size=6),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_ranking_metrics_agree_with_loops(
    users: list[tuple[list[str], list[str], list[str]]], k: int, shuffle: Any
) -> None:
    histories, targets, lists = (
        {f"u{n}": list(dict.fromkeys(user[side]) if side else user[side]) for n, user in enumerate(users)}
        for side in range(3)
    )
    if not any(lists.values()):
        lists["u0"] = ["h"]
    order = list(lists)
    shuffle.shuffle(order)
    prediction = to_prediction({user: lists[user] for user in order})
    metrics_at_k = RankingEvaluator(k).metrics(ranking_dataset(histories, targets), prediction, {})
    computed = {name.removesuffix(f"_at_{k}"): value for name, value in metrics_at_k.items()}

    ndcg, hits, reciprocal_ranks, recall, self_information = [], [], [], [], []
    for user, user_targets in targets.items():
        gains = [float(item in user_targets) for item in lists[user][:k]]
        ideal_gains = [1.0] * min(len(user_targets), k)
        dcg, ideal_dcg = (
            sum(gain / np.log2(position + 2) for position, gain in enumerate(each))
            for each in (gains, ideal_gains)
        )
        ndcg.append(dcg / ideal_dcg)
        hits.append(float(any(gains)))
        reciprocal_ranks.append(1 / (gains.index(1.0) + 1) if any(gains) else 0.0)
        recall.append(sum(gains) / len(user_targets))
        for item in lists[user][:k]:
            users_with_item = sum(item in history for history in histories.values())
            self_information.append(-np.log2(max(users_with_item, 1) / len(users)))
    recommended = {item for items in lists.values() for item in items[:k]}
    catalogue = {item for each in (histories, targets, lists) for items in each.values() for item in items}
    expected = {
        "ndcg": np.mean(ndcg),
        "hit_rate": np.mean(hits),
        "mrr": np.mean(reciprocal_ranks),
        "recall": np.mean(recall),
        "coverage": len(recommended) / len(catalogue),
        "novelty": np.mean(self_information),
    }
    # The other metrics are tested in test_beyond_accuracy.py.
    others = {"gini", "diversity", "serendipity", "popularity", "target_popularity"}
    assert set(computed) - others == set(expected)
    assert {name: computed[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_primary_metric_by_history_length() -> None:
    case = CASES["ranking"]
    lengths = case.dataset.frame["items"].map(len)
    rows = case.evaluator.curves(case.dataset, case.first)["history_length"]
    bounds = {"none": (0, 0), "1 to 4": (2, 2), "5 to 19": (7, 7), "20 and more": (25, 25)}
    assert [row["history"] for row in rows] == list(bounds)
    for row, (low, high) in zip(rows, bounds.values(), strict=True):
        subset = case.take(np.flatnonzero((lengths >= low) & (lengths <= high)))
        expected = case.evaluator.primary_interval(subset.dataset, subset.first)
        assert row["users"] == len(subset.dataset.frame)
        limits = (row["value"], row["low"], row["high"])
        assert limits == pytest.approx((expected.value, expected.low, expected.high))
    # A slice of a single user is left out: it would show that user's own value.
    single = case.take(np.append(np.flatnonzero(lengths == 0), np.flatnonzero(lengths == 7)[0]))
    rows = single.evaluator.curves(single.dataset, single.first)["history_length"]
    assert [row["history"] for row in rows] == ["none"]


def test_metrics_beyond_accuracy_have_their_depth_in_the_name() -> None:
    case = CASES["ranking"]
    computed = case.evaluator.metrics(case.dataset, case.first, {})
    names = ["gini_at_5", "diversity_at_5", "serendipity_at_5", "popularity_at_5", "target_popularity"]
    assert list(computed)[-5:] == names
    assert all(0 < computed[name] < 1 for name in names)
    # Serendipity is undefined without a hit, diversity without two items.
    undefined = set(names) - set(case.evaluator.metrics(case.dataset, case.uninformative, {}))
    assert undefined == {"serendipity_at_5", "diversity_at_5"}


def test_curves_contain_slices_and_popularity() -> None:
    case = CASES["ranking"]
    curves = case.evaluator.curves(case.dataset, case.first)
    names = [(row["by"], row["slice"]) for row in curves["slices"]]
    assert names == [
        ("popularity", "head"),
        ("popularity", "middle"),
        ("popularity", "tail"),
        ("user", "no history"),
        ("user", "some history"),
        ("item", "known"),
    ]
    for share in ("recommended_share", "target_share"):
        assert sum(row[share] for row in curves["popularity"]) == pytest.approx(1.0)


def test_personal_rows_are_not_shown_as_examples() -> None:
    for target in ("binary", "numeric"):
        case = CASES[target]
        model: Any = None
        assert case.evaluator.user_examples(case.dataset, case.first, model) == []
        assert case.evaluator.data_diagnostics(case.dataset) == {}


def test_order_diagnostics_need_events() -> None:
    case = CASES["ranking"]
    frame = case.dataset.frame.assign(times=case.dataset.frame["items"].map(lambda items: [0.0] * len(items)))
    diagnostics = case.evaluator.data_diagnostics(replace(case.dataset, frame=frame))["order"]
    assert diagnostics["simultaneous"] == 1.0
    assert not diagnostics["suspicious"]  # the order of items is random
    without_events = case.take(np.flatnonzero(frame["items"].map(len) == 0))
    assert without_events.evaluator.data_diagnostics(without_events.dataset) == {}


def purchases_dataset(logs: list[str], start: int, stop: int, simultaneous: int) -> Dataset:
    """Divide each log, one item per letter, at `stop` into history (from `start` on) and targets.

    So many events in a row have equal times; with 0, times are unknown.
    """
    histories, targets, times, truth_times = [], [], [], []
    for log in logs:
        seconds = [float(n // simultaneous) if simultaneous else np.nan for n in range(len(log))]
        first = {item: n for n, item in reversed(list(enumerate(log))) if n >= stop}
        histories.append(list(log[start:stop]))
        times.append(seconds[start:stop])
        targets.append(sorted(first, key=lambda item, first=first: first[item]))
        truth_times.append([seconds[first[item]] for item in targets[-1]])
    frame = pd.DataFrame({"user": [f"u{n}" for n in range(len(logs))]})
    frame["items"], frame["times"] = pd.Series(histories, dtype=object), pd.Series(times, dtype=object)
    units, truth = np.arange(len(logs), dtype=np.uint64), pd.Series(targets, dtype=object)
    return Dataset(frame, truth, units, truth_times=pd.Series(truth_times, dtype=object))


logs = st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=5)


@settings(max_examples=80, deadline=None)
@given(logs, st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.sampled_from([0, 1, 3]))
def test_only_users_with_a_target_event_in_training_are_left_out(
    logs: list[str], trained: int, start: int, stop: int, simultaneous: int
) -> None:
    """Not those who buy an item again, nor those with another user's item; `trained` events of all but one count."""
    evaluator = RankingEvaluator()
    # Where time tells events apart, the log may have lost its first events since.
    test = purchases_dataset(logs, start if simultaneous == 1 else 0, stop, simultaneous)
    training = purchases_dataset(logs, 0, trained, simultaneous).take(np.arange(1, len(logs)))
    training_keys = evaluator.training_keys(training)
    assert training_keys.dtype == np.uint64
    assert len(training_keys) == sum(min(trained, len(log)) for log in logs[1:])
    assert (np.diff(training_keys.astype(object)) > 0).all()
    # The first event of a target is the first one after the history.
    left_out = [n for n, log in enumerate(logs) if n > 0 and stop < min(trained, len(log))]
    rows = evaluator.rows_not_trained_on(test, training_keys)
    assert rows.tolist() == [n for n in range(len(logs)) if n not in left_out]


def test_training_keys_survive_a_round_trip_through_parquet() -> None:
    original = CASES["ranking"].dataset
    file = BytesIO()
    original.to_table().to_parquet(file)
    restored = Dataset.from_table(pd.read_parquet(file))
    evaluator = RankingEvaluator()
    np.testing.assert_array_equal(evaluator.training_keys(restored), evaluator.training_keys(original))
    # A model trained on the targets of one copy may be evaluated on no row of the other.
    for test, train in ((original, restored), (restored, original)):
        with_targets = train.frame.assign(items=train.truth, times=train.truth_times)
        training_keys = evaluator.training_keys(Dataset(with_targets, train.truth, train.units))
        assert evaluator.rows_not_trained_on(test, training_keys).tolist() == []
        no_keys = np.empty(0, dtype=np.uint64)
        assert len(evaluator.rows_not_trained_on(test, no_keys)) == len(original.frame)
