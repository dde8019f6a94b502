"""What every judge owes: one number for one question, the same for all orders of rows, and nobody's row in a curve."""

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
from sklearn import metrics

from ml.data.dataset import Dataset
from ml.evaluation.confidence_intervals import Difference
from ml.evaluation.evaluator import BinaryEvaluator, Decision, Evaluator, NumericEvaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator


@dataclass(frozen=True, eq=False)
class Exam:
    """A judge, a part, two models' answers and those of one that knows nothing."""

    judge: Evaluator
    part: Dataset
    one: pd.DataFrame
    other: pd.DataFrame
    ignorant: pd.DataFrame
    decision: Decision

    def taken(self, rows: np.ndarray) -> "Exam":
        """The same exam on these rows, answers and all."""
        part = self.part.take(rows)

        def answers(of: pd.DataFrame) -> pd.DataFrame:
            if "user" not in of.columns:
                return of.iloc[rows]
            lists = dict(list(of.groupby("user")))
            return pd.concat([lists[user] for user in part.frame["user"]])

        answered = (answers(of) for of in (self.one, self.other, self.ignorant))
        return Exam(self.judge, part, *answered, self.decision)


def rows_of(truth: np.ndarray) -> Dataset:
    frame = pd.DataFrame({"x": np.zeros(len(truth))})
    return Dataset(frame, pd.Series(truth), np.arange(len(truth), dtype=np.uint64) + 2**63)


def binary(rows: int) -> Exam:
    rng = np.random.default_rng(0)
    truth = (rng.random(rows) < 0.4).astype(float)

    def answers(skill: float) -> pd.DataFrame:
        probability = 1 / (1 + np.exp(rng.normal(size=rows) - skill * truth))
        # Few rows are rounded, so that many of them are tied.
        return pd.DataFrame({"probability": probability.round(2 if rows <= 200 else 9)})

    ignorant = pd.DataFrame({"probability": np.full(rows, 0.4)})
    return Exam(BinaryEvaluator(), rows_of(truth), answers(1.0), answers(0.7), ignorant, {"threshold": 0.6})


def numeric(rows: int) -> Exam:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=rows)
    one, other = (pd.DataFrame({"value": truth + rng.normal(size=rows) * noise}) for noise in (0.5, 0.8))
    ignorant = pd.DataFrame({"value": np.full(rows, truth.mean())})
    return Exam(NumericEvaluator(), rows_of(truth), one, other, ignorant, {})


CATALOGUE = [f"item-{n:02}" for n in range(30)]


def listed(lists: dict[str, list[str]]) -> pd.DataFrame:
    """Lists of items, best first, no two of one score."""
    rows = [(user, rank, item, -float(rank)) for user, of in lists.items() for rank, item in enumerate(of, 1)]
    return pd.DataFrame(rows, columns=["user", "rank", "item", "score"]).astype({"score": np.float64})


def log_of(histories: dict[str, list[str]], following: dict[str, list[str]]) -> Dataset:
    frame = pd.DataFrame({"user": pd.Series(list(histories), dtype="str")})
    frame["items"] = pd.Series(list(histories.values()), dtype=object)
    truth = pd.Series([following[user] for user in histories], dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64))


def ranking(users: int) -> Exam:
    rng = np.random.default_rng(0)
    names = [f"user-{n:02}" for n in range(users)]
    histories = {u: rng.choice(CATALOGUE, rng.choice([0, 2, 7, 25])).tolist() for u in names}
    following = {u: rng.choice(CATALOGUE, rng.integers(1, 5), replace=False).tolist() for u in names}

    def answers(skill: float) -> pd.DataFrame:
        """What comes next, moved up among all items by so much."""

        def place(user: str, item: str) -> float:
            return float(rng.random() - skill * (item in following[user]))

        return listed({u: sorted(CATALOGUE, key=lambda i, u=u: place(u, i)) for u in names})

    ignorant = listed({u: ["nothing"] for u in names})
    return Exam(RankingEvaluator(k=5), log_of(histories, following), answers(0.5), answers(0.3), ignorant, {})


@cache
def difference(exam: Exam, first: str, second: str) -> Difference:
    one, other = getattr(exam, first), getattr(exam, second)
    return exam.judge.paired_difference(exam.part, one, other)


MAKERS: dict[str, Callable[[int], Exam]] = {"binary": binary, "numeric": numeric, "ranking": ranking}
EXAMS = {name: make(200) for name, make in MAKERS.items()}
every_kind = pytest.mark.parametrize("kind", list(EXAMS))
every_judge = pytest.mark.parametrize("exam", list(EXAMS.values()), ids=list(EXAMS))
every_row_judge = pytest.mark.parametrize(
    "exam", [EXAMS["binary"], EXAMS["numeric"]], ids=["binary", "numeric"]
)


# --- every judge ---------------------------------------------------------------------------------------------------


@every_judge
def test_every_way_of_asking_gives_the_same_number(exam: Exam) -> None:
    measured = exam.judge.metrics(exam.part, exam.one, exam.decision)
    alone = exam.judge.primary_interval(exam.part, exam.one)
    within = exam.judge.metric_intervals(exam.part, exam.one, exam.decision, seed=0)
    assert exam.judge.primary in within
    assert alone.value == pytest.approx(measured[exam.judge.primary], abs=1e-12)
    for name, interval in within.items():
        assert interval.value == pytest.approx(measured[name], abs=1e-12), name
        assert interval.low < interval.value < interval.high, name
    other = exam.judge.metrics(exam.part, exam.other, exam.decision)
    advantage = difference(exam, "one", "other").value
    assert advantage > 0
    assert advantage == pytest.approx(measured[exam.judge.primary] - other[exam.judge.primary], abs=1e-12)


@every_judge
def test_who_knows_nothing_is_worth_chance(exam: Exam) -> None:
    measured = exam.judge.metrics(exam.part, exam.ignorant, exam.decision)
    assert measured[exam.judge.primary] == pytest.approx(exam.judge.chance, abs=1e-12)
    assert exam.judge.primary_interval(exam.part, exam.one).low > exam.judge.chance


@every_judge
def test_the_difference_the_other_way_round_is_the_opposite(exam: Exam) -> None:
    there, back = difference(exam, "one", "other"), difference(exam, "other", "one")
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.p_value == pytest.approx(back.p_value)


@every_judge
def test_a_model_never_beats_itself(exam: Exam) -> None:
    assert exam.judge.paired_difference(exam.part, exam.one, exam.one.copy()) == Difference(
        0.0, 0.0, 0.0, 1.0
    )


@every_judge
def test_the_order_of_rows_is_nothing(exam: Exam) -> None:
    turned = exam.taken(np.random.default_rng(1).permutation(len(exam.part.frame)))
    for of in ("one", "other"):
        before, after = (e.judge.metrics(e.part, getattr(e, of), e.decision) for e in (exam, turned))
        assert after == pytest.approx(before, abs=1e-12)
    assert turned.judge.decision(turned.part, turned.one) == exam.judge.decision(exam.part, exam.one)


def lengths(value: Any) -> list[int]:
    """Of all lists inside."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [len(value)] if isinstance(value, list) else []
    return own + [length for each in inside for length in lengths(each)]


@every_kind
def test_curves_are_aggregates_that_json_can_tell(kind: str) -> None:
    """However many rows: no long list, no name of a person, item or unit, and no NaN, which JSON has not."""
    exam = MAKERS[kind](3000)
    curves = exam.judge.curves(exam.part, exam.one)
    told = json.dumps(curves, allow_nan=False)
    assert json.loads(told) == curves
    assert max(lengths(curves)) <= 200
    assert not any(name in told for name in ("user-", "item-"))
    assert kind == "ranking" or not any(str(unit) in told for unit in exam.part.units)


# --- judges of rows ------------------------------------------------------------------------------------------------


@every_row_judge
def test_rows_of_one_unit_are_one_witness(exam: Exam) -> None:
    """Copies of a row say nothing new where they are one unit, and pass for more where they are not."""
    rows = len(exam.part.frame)
    copied = exam.taken(np.repeat(np.arange(rows), 3))
    strangers = replace(copied, part=replace(copied.part, units=np.arange(3 * rows, dtype=np.uint64)))

    def found(of: Exam) -> dict[str, Any]:
        within = of.judge.metric_intervals(of.part, of.one, of.decision, seed=3)
        return {
            **within,
            "alone": of.judge.primary_interval(of.part, of.one),
            "two": difference(of, "one", "other"),
        }

    once, together, by_row = found(exam), found(copied), found(strangers)
    for name, it in once.items():
        assert (together[name].low, together[name].high) == pytest.approx((it.low, it.high), abs=1e-9), name
        assert by_row[name].high - by_row[name].low < 0.75 * (it.high - it.low), name


@every_row_judge
def test_intervals_hang_on_the_seed_alone(exam: Exam) -> None:
    first, again, other = (
        exam.judge.metric_intervals(exam.part, exam.one, exam.decision, seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


units = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=15)


@given(units, units)
def test_only_rows_of_learned_entities_are_left_out(asked: list[int], taught: list[int]) -> None:
    judge = BinaryEvaluator()
    exam, lesson = (
        Dataset(
            pd.DataFrame(index=range(len(of))), pd.Series(0.0, range(len(of))), np.array(of, dtype=np.uint64)
        )
        for of in (asked, taught)
    )
    learned = judge.training_keys(lesson)
    assert learned.dtype == np.uint64
    assert learned.tolist() == sorted(set(taught))
    left = judge.rows_not_trained_on(exam, learned)
    assert left.tolist() == [row for row, unit in enumerate(asked) if unit not in taught]
    assert len(exam.take(left).frame) == len(left)


# --- binary --------------------------------------------------------------------------------------------------------


def test_binary_measures_agree_with_scikit_learn() -> None:
    exam = EXAMS["binary"]
    truth, probability = exam.part.truth.to_numpy(), exam.one["probability"].to_numpy()
    decided = probability >= 0.6
    assert (probability == 0.6).any()  # the threshold itself says yes
    found = exam.judge.metrics(exam.part, exam.one, {"threshold": 0.6})
    del found["calibration_error"]  # of bins of equal mass, which scikit-learn lacks
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, decided),
            "recall": metrics.recall_score(truth, decided),
            "precision": metrics.precision_score(truth, decided),
            "f1": metrics.f1_score(truth, decided),
            "roc_auc": metrics.roc_auc_score(truth, probability),
            "average_precision": metrics.average_precision_score(truth, probability),
            "log_loss": metrics.log_loss(truth, probability),
            "brier": metrics.brier_score_loss(truth, probability),
        }
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=25))
def test_no_other_decision_has_a_higher_f1(answers: list[tuple[bool, int]]) -> None:
    truth = np.array([1.0, 0.0, *(float(yes) for yes, _ in answers)])
    prediction = pd.DataFrame({"probability": [0.5, 0.5, *(p / 20 for _, p in answers)]})
    judge, part = BinaryEvaluator(), rows_of(truth)

    def f1(threshold: float) -> float:
        decided = prediction["probability"].to_numpy() >= threshold
        return float(2 * truth[decided].sum() / (decided.sum() + truth.sum()))

    decision = judge.decision(part, prediction)
    chosen = judge.metrics(part, prediction, decision)["f1"]
    assert chosen == pytest.approx(f1(decision["threshold"]))
    assert chosen >= max(map(f1, np.arange(0, 1.01, 0.025))) - 1e-12


def test_the_roc_curve_encloses_the_auc() -> None:
    exam = binary(3000)
    curves = exam.judge.curves(exam.part, exam.one)
    x, y = (np.array(curves["roc"][axis]) for axis in "xy")
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(
        exam.judge.primary_interval(exam.part, exam.one).value, abs=2e-3
    )
    recall, precision = (np.array(curves["precision_recall"][axis]) for axis in "xy")
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert precision[-1] == pytest.approx(exam.part.truth.mean(), abs=0.01)
    assert sum(curves["reliability"]["count"]) == 3000


def test_a_slope_that_does_not_exist_stops_no_report() -> None:
    exam = EXAMS["binary"]
    assert exam.judge.curves(exam.part, exam.one)["calibration_slope"] > 0
    assert exam.judge.curves(exam.part, exam.ignorant)["calibration_slope"] is None
    perfect = pd.DataFrame({"probability": exam.part.truth})
    assert exam.judge.curves(exam.part, perfect)["calibration_slope"] is None


# --- numbers -------------------------------------------------------------------------------------------------------


def test_numeric_measures_agree_with_scikit_learn() -> None:
    exam = EXAMS["numeric"]
    truth, value = exam.part.truth, exam.one["value"]
    assert exam.judge.metrics(exam.part, exam.one, {}) == pytest.approx(
        {
            "mse": metrics.mean_squared_error(truth, value),
            "mae": metrics.mean_absolute_error(truth, value),
            "r2": metrics.r2_score(truth, value),
        }
    )


@pytest.mark.parametrize("rows", [1, 7, 30, 200])
def test_tenths_of_the_prediction_are_of_equal_size(rows: int) -> None:
    exam = numeric(rows)
    order = np.argsort(exam.one["value"].to_numpy())
    truth, value = exam.part.truth.to_numpy()[order], exam.one["value"].to_numpy()[order]
    tenths = [
        np.arange(rows)[np.ceil(np.arange(1, rows + 1) * 10 / rows).astype(int) == tenth]
        for tenth in range(1, 11)
    ]
    found = exam.judge.curves(exam.part, exam.one)["tenths"]
    assert found["predicted"] == pytest.approx([value[rows].mean() for rows in tenths if len(rows)])
    assert found["observed"] == pytest.approx([truth[rows].mean() for rows in tenths if len(rows)])


# --- lists ---------------------------------------------------------------------------------------------------------

some_items = st.lists(st.sampled_from("abcdefgh"), max_size=5)
an_order = st.permutations("abcdefgh").flatmap(lambda p: st.integers(0, 8).map(lambda n: p[:n]))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(some_items, some_items.filter(len), an_order), min_size=1, max_size=6),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_ranking_measures_agree_with_loops(
    users: list[tuple[list[str], list[str], list[str]]], k: int, shuffle: Any
) -> None:
    histories, following, lists = (
        {f"u{n}": list(dict.fromkeys(user[side]) if side else user[side]) for n, user in enumerate(users)}
        for side in range(3)
    )
    if not any(lists.values()):
        lists["u0"] = ["h"]
    part = log_of(histories, following)
    order = list(lists)
    shuffle.shuffle(order)
    found = RankingEvaluator(k).metrics(part, listed({user: lists[user] for user in order}), {})

    ndcg, hits, first, recall, surprise = [], [], [], [], []
    for user, wanted in following.items():
        gains = [float(item in wanted) for item in lists[user][:k]]
        ideal = [1.0] * min(len(wanted), k)
        dcg, best = (sum(g / np.log2(place + 2) for place, g in enumerate(of)) for of in (gains, ideal))
        ndcg.append(dcg / best)
        hits.append(float(any(gains)))
        first.append(1 / (gains.index(1.0) + 1) if any(gains) else 0.0)
        recall.append(sum(gains) / len(wanted))
        for item in lists[user][:k]:
            had = sum(item in history for history in histories.values())
            surprise.append(-np.log2(max(had, 1) / len(users)))
    shown = {item for of in lists.values() for item in of[:k]}
    catalogue = {item for side in (histories, following, lists) for of in side.values() for item in of}
    expected = dict(
        zip(("ndcg", "hit_rate", "mrr", "recall"), map(np.mean, (ndcg, hits, first, recall)), strict=True)
    )
    expected |= {"coverage": len(shown) / len(catalogue), "novelty": np.mean(surprise)}
    measured = {name.removesuffix(f"_at_{k}"): value for name, value in found.items()}
    # The others have a test of their own in test_exposure.py.
    beside = {"gini", "diversity", "serendipity", "popularity", "popularity_taken"}
    assert set(measured) - beside == set(expected)
    assert {n: measured[n] for n in expected} == pytest.approx(expected, abs=1e-12)


def test_the_measure_by_length_of_history() -> None:
    exam = EXAMS["ranking"]
    lengths = exam.part.frame["items"].map(len)
    found = exam.judge.curves(exam.part, exam.one)["history_length"]
    edges = {"none": (0, 0), "1 to 4": (2, 2), "5 to 19": (7, 7), "20 and more": (25, 25)}
    assert [line["history"] for line in found] == list(edges)
    for line, (low, high) in zip(found, edges.values(), strict=True):
        mine = exam.taken(np.flatnonzero((lengths >= low) & (lengths <= high)))
        expected = exam.judge.primary_interval(mine.part, mine.one)
        assert line["users"] == len(mine.part.frame)
        assert (line["value"], line["low"], line["high"]) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
    # Of one user alone there is no curve: it would be a row.
    lonely = exam.taken(np.append(np.flatnonzero(lengths == 0), np.flatnonzero(lengths == 7)[0]))
    assert [x["history"] for x in lonely.judge.curves(lonely.part, lonely.one)["history_length"]] == ["none"]


def test_measures_beside_accuracy_stand_with_their_depth() -> None:
    exam = EXAMS["ranking"]
    found = exam.judge.metrics(exam.part, exam.one, {})
    beside = ["gini_at_5", "diversity_at_5", "serendipity_at_5", "popularity_at_5", "popularity_taken"]
    assert list(found)[-5:] == beside
    assert all(0 < found[name] < 1 for name in beside)
    # Without a hit nothing was surprising or not; without two items nothing varies.
    assert set(beside) - set(exam.judge.metrics(exam.part, exam.ignorant, {})) == {
        "serendipity_at_5",
        "diversity_at_5",
    }


def test_slices_and_popularity_are_in_the_curves() -> None:
    exam = EXAMS["ranking"]
    curves = exam.judge.curves(exam.part, exam.one)
    named = [(line["by"], line["slice"]) for line in curves["slices"]]
    assert named == [
        ("popularity", "head"),
        ("popularity", "middle"),
        ("popularity", "tail"),
        ("user", "no history"),
        ("user", "some history"),
        ("item", "known"),
    ]
    for side in ("shown", "taken"):
        assert sum(line[side] for line in curves["popularity"]) == pytest.approx(1.0)


def test_rows_of_persons_are_no_examples() -> None:
    for kind in ("binary", "numeric"):
        exam = EXAMS[kind]
        model: Any = None
        assert exam.judge.user_examples(exam.part, exam.one, model) == []
        assert exam.judge.data_diagnostics(exam.part) == {}


def test_what_histories_say_of_their_order_needs_events() -> None:
    exam = EXAMS["ranking"]
    frame = exam.part.frame.assign(times=exam.part.frame["items"].map(lambda items: [0.0] * len(items)))
    found = exam.judge.data_diagnostics(replace(exam.part, frame=frame))["order"]
    assert found["simultaneous"] == 1.0
    assert not found["suspicious"]  # items were drawn
    nobody = exam.taken(np.flatnonzero(frame["items"].map(len) == 0))
    assert nobody.judge.data_diagnostics(nobody.part) == {}


logs = st.lists(st.tuples(st.integers(0, 4), some_items, some_items.filter(len)), max_size=6)


@settings(max_examples=80, deadline=None)
@given(logs, logs)
def test_only_users_whose_next_item_was_learned_are_left_out(
    asked: list[tuple[int, list[str], list[str]]], taught: list[tuple[int, list[str], list[str]]]
) -> None:
    """The pair counts: what another user had, or what this user had besides, is no reason."""

    def part(users: list[tuple[int, list[str], list[str]]]) -> Dataset:
        frame = pd.DataFrame({"user": pd.Series([f"u{unit}" for unit, _, _ in users], dtype="str")})
        frame["items"] = pd.Series([items for _, items, _ in users], dtype=object)
        truth = pd.Series([following for _, _, following in users], dtype=object)
        return Dataset(frame, truth, np.array([unit for unit, _, _ in users], dtype=np.uint64))

    judge = RankingEvaluator()
    learned = judge.training_keys(part(taught))
    known = {(unit, item) for unit, items, _ in taught for item in items}
    assert learned.dtype == np.uint64
    assert len(learned) == len(known)
    assert (np.diff(learned.astype(object)) > 0).all()
    expected = [
        row for row, (unit, _, following) in enumerate(asked) if not known & {(unit, i) for i in following}
    ]
    assert judge.rows_not_trained_on(part(asked), learned).tolist() == expected


def test_what_was_learned_is_recognised_after_a_trip_through_parquet() -> None:
    part = EXAMS["ranking"].part
    file = BytesIO()
    part.to_table().to_parquet(file)
    stored = Dataset.from_table(pd.read_parquet(file))
    judge = RankingEvaluator()
    np.testing.assert_array_equal(judge.training_keys(stored), judge.training_keys(part))
    # Who has learned a part's answers can be asked none of them, whichever copy is asked or was learned.
    for asked, taught in ((part, stored), (stored, part)):
        answers = taught.frame.assign(items=taught.truth)
        learned = judge.training_keys(Dataset(answers, taught.truth, taught.units))
        assert judge.rows_not_trained_on(asked, learned).tolist() == []
        assert len(judge.rows_not_trained_on(asked, np.empty(0, dtype=np.uint64))) == len(part.frame)
