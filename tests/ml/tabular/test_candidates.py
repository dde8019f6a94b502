"""Behaviour of every tabular candidate, on synthetic tables."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from ml.boosting import MAX_SINGLE_THREAD_PREDICTION_ROWS
from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import PREDICTION_COLUMN, Target
from ml.ensemble.bagging import CrossValidatedBag
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.estimator import Candidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.tabular.additive import Additive
from ml.tabular.constant import Constant
from ml.tabular.extra_trees import ExtraTrees
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel
from ml.tabular.linear import Linear, LinearModel
from ml.tabular.tabm import TabM

TARGETS: list[Target] = ["binary", "numeric"]
CandidateFactory = Callable[..., Candidate]


def target_encoded(target: Target = "binary", **changes: Any) -> GradientBoosting:
    return GradientBoosting(target, extra_trees=True, target_encode_from=3, max_crosses=2, **changes)


def additive(target: Target = "binary", **changes: Any) -> Additive:
    return Additive(target, learning_rate=0.1, patience=20, **changes)


def stopped_on_auc(target: Target = "binary", **changes: Any) -> GradientBoosting:
    return GradientBoosting(target, stop_on="ranking", **changes)


def extra_trees(target: Target = "binary") -> ExtraTrees:
    return ExtraTrees(target, trees=50)


def tabm(target: Target = "binary", **changes: Any) -> TabM:
    return TabM(target, members=4, width=32, **changes)


def bagged(target: Target = "binary", **changes: Any) -> CrossValidatedBag:
    return CrossValidatedBag(GradientBoosting(target, **changes), folds=3, target=target)


def ensemble(target: Target = "binary") -> Ensemble:
    members = {
        "linear": Linear(inverse_penalties=(0.1, 1.0)),
        "additive": Additive(max_rounds=50),
        "trees": target_encoded(max_rounds=300),
    }
    return Ensemble(target, (Preset(max_rows=np.inf, folds=3, repeats=1, members=members),))


LEARNERS: list[CandidateFactory] = [
    Linear,
    additive,
    GradientBoosting,
    target_encoded,
    stopped_on_auc,
    extra_trees,
    tabm,
    bagged,
    ensemble,
]
CANDIDATES: list[CandidateFactory] = [Constant, *LEARNERS]

every_target = pytest.mark.parametrize("target", TARGETS)
every_learner = pytest.mark.parametrize("make_candidate", LEARNERS)
every_candidate = pytest.mark.parametrize("make_candidate", CANDIDATES)


def make_dataset(frame: pd.DataFrame, truth: Any) -> Dataset:
    return Dataset(
        frame, pd.Series(truth, index=frame.index, dtype="float64"), np.arange(len(frame), dtype=np.uint64)
    )


def draw_truth(signal: np.ndarray, target: Target, rng: np.random.Generator) -> np.ndarray:
    """Draw a truth with `signal` as its log odds or, with unit noise, as its mean."""
    if target == "binary":
        return (rng.random(len(signal)) < 1 / (1 + np.exp(-signal))).astype(float)
    return signal + rng.normal(size=len(signal))


def make_rows(rows: int, target: Target, seed: int) -> Dataset:
    """Make rows with linear, stepped, joint, categorical and missingness effects, and a constant column."""
    rng = np.random.default_rng(seed)
    income, age = rng.normal(size=rows), rng.uniform(20, 80, rows)
    town, grade = rng.choice(["N", "S", "E"], rows), rng.choice(["1", "2", "03"], rows)
    unknown = rng.random(rows) < 0.2
    signal = 2.0 * income * (town == "N") - 1.5 * (grade == "03") + 2.0 * (age > 50) - 2.0 * unknown
    frame = pd.DataFrame(
        {
            "income": income,
            "age": np.where(unknown, np.nan, age),
            "town": pd.Series(town, dtype="str").mask(rng.random(rows) < 0.1),
            "grade": pd.Series(grade, dtype="str"),
            "constant": 1.0,
        },
        index=pd.RangeIndex(1000, 1000 + rows),
    )
    return make_dataset(frame, draw_truth(signal, target, rng))


@cache
def fitted(make_candidate: CandidateFactory, target: Target) -> Any:
    return make_candidate(target).fit(make_rows(1500, target, 1), make_rows(600, target, 2), FitResources())


def predicted(model: Any, frame: pd.DataFrame, target: Target) -> np.ndarray:
    predictions = model.predict(frame)
    assert list(predictions.columns) == [PREDICTION_COLUMN[target]]
    pd.testing.assert_index_equal(predictions.index, frame.index)
    values = predictions[PREDICTION_COLUMN[target]].to_numpy()
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    if target == "binary":
        assert ((values >= 0) & (values <= 1)).all()
    return values


def loss(model: Any, held_out: Dataset, target: Target) -> float:
    """Compute the log loss or mean squared error."""
    values, truth = predicted(model, held_out.frame, target), held_out.truth.to_numpy()
    if target == "binary":
        return float(-np.log(np.where(truth == 1, values, 1 - values)).mean())
    return float(((values - truth) ** 2).mean())


@every_target
@every_candidate
class TestEveryCandidate:
    def test_model_restored_from_files_is_bit_identical(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        model = fitted(make_candidate, target)
        frame = make_rows(MAX_SINGLE_THREAD_PREDICTION_ROWS + 1, target, 3).frame
        files = model.files()
        restored = type(model).from_files(files)
        np.testing.assert_array_equal(predicted(restored, frame, target), predicted(model, frame, target))
        pd.testing.assert_series_equal(restored.importance(), model.importance())
        assert restored.files() == files
        assert all(isinstance(content, bytes) for content in files.values())

    def test_order_of_rows_and_columns_does_not_change_predictions(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        model, frame = fitted(make_candidate, target), make_rows(300, target, 3).frame
        values = predicted(model, frame, target)
        rows = np.random.default_rng(0).permutation(len(frame))
        np.testing.assert_array_equal(predicted(model, frame.iloc[rows], target), values[rows])
        with_further_column = frame[frame.columns[::-1]].assign(further="x")
        np.testing.assert_array_equal(predicted(model, with_further_column, target), values)

    def test_prediction_of_a_row_is_independent_of_other_rows(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        model, frame = (
            fitted(make_candidate, target),
            make_rows(MAX_SINGLE_THREAD_PREDICTION_ROWS + 1, target, 3).frame,
        )
        together = predicted(model, frame, target)
        single_rows = np.concatenate([predicted(model, frame.iloc[[row]], target) for row in range(5)])
        np.testing.assert_array_equal(single_rows, together[:5])
        assert not len(predicted(model, frame.iloc[:0], target))

    def test_predict_row_agrees_with_predict(self, make_candidate: CandidateFactory, target: Target) -> None:
        model, frame = fitted(make_candidate, target), make_rows(30, target, 3).frame
        frame = pd.concat([frame, frame.assign(town="never seen", age=np.inf, income=np.nan).iloc[:1]])
        single_rows = [model.predict_row(row) for row in frame.to_dict(orient="records")]
        np.testing.assert_allclose(single_rows, predicted(model, frame, target), rtol=1e-12)
        row = frame.iloc[0].to_dict()
        assert model.predict_row({**row, "town": None, "further": 1}) == model.predict_row(
            {**row, "town": np.nan}
        )
        for invalid, message in (
            ({"town": 1.0}, "expected a string in 'town', got a number"),
            ({"age": "1"}, "expected a number in 'age', got a string"),
        ):
            with pytest.raises(ValueError, match=message):
                model.predict_row({**row, **invalid})
        with pytest.raises(ValueError, match=r"got a row without \['town'\]; give every column"):
            model.predict_row({name: value for name, value in row.items() if name != "town"})

    def test_same_seed_gives_same_files_for_any_number_of_threads(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        train, valid = make_rows(600, target, 1), make_rows(300, target, 2)
        first, second = (
            make_candidate(target).fit(train, valid, FitResources(5, threads)).files() for threads in (1, 2)
        )
        assert first == second
        reversed_columns = replace(train, frame=train.frame[train.frame.columns[::-1]])
        assert make_candidate(target).fit(reversed_columns, valid, FitResources(5)).files() == first

    def test_missing_column_is_rejected(self, make_candidate: CandidateFactory, target: Target) -> None:
        frame = make_rows(5, target, 3).frame.drop(columns="town")
        with pytest.raises(ValueError, match=r"got a frame without \['town'\]; give every column"):
            fitted(make_candidate, target).predict(frame)

    def test_new_categories_missing_values_and_infinities_are_predicted(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        model, frame = fitted(make_candidate, target), make_rows(50, target, 3).frame
        for changes in (
            {"town": "never seen"},
            {"town": np.nan, "age": np.nan},
            {"town": None, "age": None},
            {"age": np.inf, "income": -np.inf},
        ):
            assert len(predicted(model, frame.assign(**changes), target)) == len(frame)

    def test_columns_without_information_are_ignored(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        def without_information(rows: Dataset) -> Dataset:
            missing = pd.Series(np.nan, index=rows.frame.index)
            return replace(
                rows, frame=rows.frame[["constant"]].assign(number=missing, name=missing.astype("str"))
            )

        train, valid = (
            without_information(make_rows(200, target, 1)),
            without_information(make_rows(100, target, 2)),
        )
        model = make_candidate(target).fit(train, valid, FitResources())
        values = predicted(model, valid.frame.assign(number=3.0, name="not missing", constant=7.0), target)
        # Boosting starts from the mean of the rows that it does not stop on.
        assert abs(values - train.truth.mean()).max() < 0.15 * train.truth.std()
        assert np.ptp(values) < 1e-12
        assert model.importance().max() == 0

    def test_ten_thousand_categories_can_be_fitted(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        def with_names(rows: Dataset, names: np.ndarray) -> Dataset:
            column = pd.Series(names, rows.frame.index, dtype="str")
            return replace(rows, frame=rows.frame.assign(name=column))

        names = np.char.add("person ", np.arange(10_000).astype(str))
        train = with_names(make_rows(10_000, target, 1), names)
        valid = with_names(make_rows(500, target, 2), names[:500])
        quick = (
            {"max_rounds": 20}
            if make_candidate in (additive, GradientBoosting, target_encoded, bagged)
            else {}
        )
        quick |= {"max_epochs": 3} if make_candidate is tabm else {}
        model = make_candidate(target, **quick).fit(train, valid, FitResources())
        predicted(model, valid.frame, target)
        # A category of one row may be a person: it is pooled, and no file contains its name.
        assert not any(b"person" in content for content in model.files().values())

    def test_importance_is_a_share_by_column(self, make_candidate: CandidateFactory, target: Target) -> None:
        importance = fitted(make_candidate, target).importance()
        assert set(importance.index) == {"income", "age", "town", "grade", "constant"}
        assert (importance >= 0).all()
        assert importance["constant"] == 0
        assert importance.sum() == pytest.approx(0.0 if make_candidate is Constant else 1.0)

    def test_missing_truth_is_rejected(self, make_candidate: CandidateFactory, target: Target) -> None:
        valid, invalid = make_rows(100, target, 1), make_dataset(make_rows(100, target, 1).frame, np.nan)
        with pytest.raises(ValueError, match="expected finite truth, got 100 missing"):
            make_candidate(target).fit(invalid, valid, FitResources())


@every_target
class TestEveryLearner:
    @every_learner
    def test_beats_the_constant(self, make_candidate: CandidateFactory, target: Target) -> None:
        held_out = make_rows(2000, target, 4)
        assert loss(fitted(make_candidate, target), held_out, target) < 0.9 * loss(
            fitted(Constant, target), held_out, target
        )

    @every_learner
    def test_finds_a_threshold(self, make_candidate: CandidateFactory, target: Target) -> None:
        x = np.random.default_rng(0).uniform(size=3000)
        frame = pd.DataFrame({"x": x, "noise": x[::-1]})
        whole = make_dataset(frame, x > 0.5)
        model = make_candidate(target).fit(whole, whole, FitResources())
        low, high = predicted(model, pd.DataFrame({"x": [0.25, 0.75], "noise": 0.5}), target)
        assert low < 0.05
        assert high > 0.95
        assert model.importance()["x"] > 0.9

    @every_learner
    def test_learns_effects_of_missing_values_and_rare_categories(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        rng = np.random.default_rng(0)
        names = np.where(rng.random(3000) < 0.8, "common", rng.integers(0, 2000, 3000).astype(str))
        number = np.where(rng.random(3000) < 0.3, np.nan, rng.normal(size=3000))
        frame = pd.DataFrame({"name": pd.Series(names, dtype="str"), "number": number})
        whole = make_dataset(
            frame, draw_truth(4.0 * (names != "common") * np.isnan(number) - 2.0, target, rng)
        )
        model = make_candidate(target).fit(whole, whole, FitResources())
        common, unseen = (
            pd.DataFrame({"name": ["common"], "number": [0.0]}),
            pd.DataFrame({"name": ["?"], "number": [np.nan]}),
        )
        assert predicted(model, unseen, target)[0] > predicted(model, common, target)[0] + 0.3

    @pytest.mark.parametrize("make_candidate", [Linear, additive, GradientBoosting, target_encoded, tabm])
    def test_sentinel_value_within_the_range_has_its_own_effect(
        self, make_candidate: CandidateFactory, target: Target
    ) -> None:
        rng = np.random.default_rng(0)
        x = np.where(rng.random(3000) < 0.2, 50.0, rng.uniform(0, 100, 3000))
        whole = make_dataset(pd.DataFrame({"x": x}), draw_truth(np.where(x == 50, 2.0, -2.0), target, rng))
        model = make_candidate(target).fit(
            replace(whole, sentinel_values={"x": (50.0,)}), whole, FitResources()
        )
        code, others = (
            predicted(model, pd.DataFrame({"x": [50.0]}), target),
            pd.DataFrame({"x": [48.0, 52.0]}),
        )
        assert code[0] > predicted(model, others, target).max() + 0.3

    def test_boosting_beats_linear_on_exclusive_or(self, target: Target) -> None:
        def exclusive(rows: int, seed: int) -> Dataset:
            rng = np.random.default_rng(seed)
            x, y = rng.normal(size=(2, rows))
            return make_dataset(
                pd.DataFrame({"x": x, "y": y}),
                draw_truth(np.where((x > 0) ^ (y > 0), 2.0, -2.0), target, rng),
            )

        train, valid, held_out = exclusive(2000, 1), exclusive(800, 2), exclusive(1000, 3)
        trees, linear = (
            loss(make_candidate(target).fit(train, valid, FitResources()), held_out, target)
            for make_candidate in (GradientBoosting, Linear)
        )
        assert trees < 0.75 * linear

    @every_learner
    def test_no_time_still_gives_a_model(self, make_candidate: CandidateFactory, target: Target) -> None:
        model = make_candidate(target).fit(
            make_rows(600, target, 1), make_rows(300, target, 2), FitResources(seconds=0.0)
        )
        assert model.stopped_by == "budget"
        predicted(model, make_rows(10, target, 3).frame, target)


@every_target
def test_constant_is_the_mean(target: Target) -> None:
    whole = make_dataset(pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]}), [0.0, 1.0, 0.0, 0.0])
    model = Constant(target).fit(whole, whole, FitResources())
    np.testing.assert_array_equal(predicted(model, whole.frame, target), 0.25)


@every_learner
def test_one_class_is_rejected_except_by_constant(make_candidate: CandidateFactory) -> None:
    whole = make_dataset(pd.DataFrame({"x": np.arange(100.0)}), 1.0)
    with pytest.raises(
        ValueError, match="expected both classes in the training set, got 100 rows that are all 1"
    ):
        make_candidate().fit(whole, whole, FitResources())
    model = Constant().fit(whole, whole, FitResources())
    np.testing.assert_array_equal(predicted(model, whole.frame, "binary"), 1.0)


def test_logistic_regression_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    train, valid = make_rows(1500, "binary", 1), make_rows(600, "binary", 2)
    model = Linear(inverse_penalties=(0.5,)).fit(train, valid, FitResources())
    reference = LogisticRegression(C=0.5, max_iter=5000).fit(model.encoding.encode(train.frame), train.truth)
    expected = reference.predict_proba(model.encoding.encode(valid.frame))[:, 1]
    np.testing.assert_allclose(predicted(model, valid.frame, "binary"), expected, rtol=1e-12)


def test_ridge_solves_the_normal_equations() -> None:
    train = make_rows(1500, "numeric", 1)
    model = Linear("numeric", inverse_penalties=(0.5,)).fit(train, train, FitResources())
    X = model.encoding.encode(train.frame).toarray()
    centred = X - X.mean(axis=0)
    weights = np.linalg.solve(
        centred.T @ centred + np.eye(X.shape[1]) / 0.5, centred.T @ train.truth.to_numpy()
    )
    np.testing.assert_allclose(
        predicted(model, train.frame, "numeric"), centred @ weights + train.truth.mean(), atol=1e-4
    )


@every_target
def test_best_penalty_on_rows_set_aside_is_selected_and_fitted_to_all_rows(target: Target) -> None:
    train = make_rows(300, target, 1)
    fit_rows, choice_rows = map(train.take, stopping_split(train, target, 0))
    encoding = Linear(target).fit(train, train, FitResources()).encoding
    X, truth = encoding.encode(train.frame), train.truth.to_numpy()
    part = np.isin(train.units, fit_rows.units)
    penalties = (0.001, 0.1, 1000.0)
    losses = {
        solution.C: solution.loss(X[~part], truth[~part], target)
        for solution in Linear(target)._path(X[part], truth[part], penalties)
    }
    assert len(choice_rows.frame) == (~part).sum()
    grid: LinearModel = Linear(target, inverse_penalties=penalties).fit(train, train, FitResources())
    best = min(losses, key=lambda C: losses[C])
    assert (grid.C, grid.stopped_by) == (best, "grid")
    only: LinearModel = Linear(target, inverse_penalties=(best,)).fit(train, train, FitResources())
    assert only.intercept == pytest.approx(grid.intercept, abs=1e-6)


def rounds(model: GradientBoostingModel) -> int:
    return model.files()["model.txt"].count(b"\nTree=")


@pytest.mark.parametrize(
    ("change", "seconds", "reason"),
    [({}, np.inf, "valid"), ({"max_rounds": 5}, np.inf, "rounds"), ({}, 0.0, "budget")],
)
def test_boosting_reports_what_stopped_it(change: dict[str, int], seconds: float, reason: str) -> None:
    train, valid = make_rows(600, "binary", 1), make_rows(300, "binary", 2)
    model = GradientBoosting(**change).fit(train, valid, FitResources(seconds=seconds))
    assert model.stopped_by == reason
    assert {"valid": 5 < rounds(model) < 900, "rounds": rounds(model) == 5, "budget": rounds(model) == 1}[
        reason
    ]


@pytest.mark.parametrize("seed", range(6))
def test_boosting_that_stops_on_ranking_continues_to_the_best_auc(seed: int) -> None:
    """The model has the later of the best rounds by loss and by AUC, among all trained rounds."""
    train = make_rows(1500, "binary", seed)
    stopping = train.take(stopping_split(train, "binary", 0)[1])
    stopped_on_auc = GradientBoosting(stop_on="ranking", patience=80, max_rounds=80)
    model = stopped_on_auc.fit(train, train, FitResources())
    stopped_on_loss = GradientBoosting(patience=80, max_rounds=80)
    X, truth = model.encoding.encode(stopping.frame), stopping.truth.to_numpy()
    trees = rounds(model)
    by_round = [model._booster.predict(X, num_iteration=n) for n in range(1, trees + 1)]
    by_loss = rounds(stopped_on_loss.fit(train, train, FitResources()))
    by_auc = int(np.argmax([roc_auc(truth, p) for p in by_round])) + 1
    assert trees == max(by_loss, by_auc)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [({}, np.inf), ({"learning_rate": 1.0, "patience": 100_000, "max_rounds": 100_000}, 0.2)],
)
def test_boosting_keeps_the_rounds_up_to_the_best_on_rows_set_aside(
    changes: dict[str, Any], seconds: float
) -> None:
    train = make_rows(1500, "numeric", 1)
    stopping = train.take(stopping_split(train, "numeric", 0)[1])
    model = GradientBoosting("numeric", **changes).fit(train, train, FitResources(seconds=seconds))
    booster, X = lightgbm.Booster(model_str=model.trees), model.encoding.encode(stopping.frame)
    losses = [
        np.mean((booster.predict(X, num_iteration=count) - stopping.truth) ** 2)
        for count in range(1, rounds(model) + 1)
    ]
    assert np.argmin(losses) == len(losses) - 1


def test_one_split_separates_any_set_of_categories() -> None:
    levels = np.tile(np.arange(20), 200)
    truth = np.isin(levels, [1, 2, 4, 7, 8, 11, 13, 14, 16, 19])
    whole = make_dataset(pd.DataFrame({"level": pd.Series(levels.astype(str), dtype="str")}), truth)
    stump = GradientBoosting("numeric", num_leaves=2, max_rounds=1, learning_rate=1.0)
    values = predicted(stump.fit(whole, whole, FitResources()), whole.frame, "numeric")
    np.testing.assert_allclose(values, truth, atol=0.05)


def test_seed_changes_boosting() -> None:
    train, valid = make_rows(600, "binary", 1), make_rows(300, "binary", 2)
    first, second = (GradientBoosting().fit(train, valid, FitResources(seed)).trees for seed in (0, 1))
    assert first != second


def test_training_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train, valid = make_rows(60, "binary", 1), make_rows(60, "binary", 2)
    for make_candidate in CANDIDATES:
        model = make_candidate().fit(train, valid, FitResources())
        type(model).from_files(model.files()).predict(valid.frame)
    assert capfd.readouterr() == ("", "")


@every_target
def test_stripped_model_text_has_no_cell_values_and_predicts_the_same(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightGBM stores the extremes of each column, which may be one person's income, in the model text."""
    original_texts: list[str] = []
    model_to_string = lightgbm.Booster.model_to_string

    def record_text(self: lightgbm.Booster, *arguments: Any, **options: Any) -> str:
        original_texts.append(model_to_string(self, *arguments, **options))
        return original_texts[-1]

    monkeypatch.setattr(lightgbm.Booster, "model_to_string", record_text)
    train, valid = make_rows(1500, target, 1), make_rows(600, target, 2)
    model = GradientBoosting(target).fit(train, valid, FitResources())
    text, extremes = model.files()["model.txt"].decode(), train.frame["income"].agg(["min", "max"])
    for extreme in extremes:
        assert f"{extreme:.10g}"[:8] in original_texts[0]
        assert f"{extreme:.10g}"[:8] not in text
    X = model.encoding.encode(valid.frame)
    before, after = (lightgbm.Booster(model_str=trees).predict(X) for trees in (original_texts[0], text))
    np.testing.assert_array_equal(before, after)
