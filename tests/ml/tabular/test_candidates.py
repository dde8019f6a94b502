"""What every tabular candidate does, on tables made for the purpose."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from ml.boosting import SMALL_FRAME
from ml.data.dataset import Dataset
from ml.data.target import PREDICTION, Target
from ml.ensemble.bagging import Bagged
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.estimator import Candidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.tabular.additive import Additive
from ml.tabular.constant import Prior
from ml.tabular.extra_trees import Forest
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel
from ml.tabular.linear import Linear, LinearModel
from ml.tabular.tabm import Network

TARGETS: list[Target] = ["binary", "numeric"]
Kind = Callable[..., Candidate]


def statistics(target: Target = "binary", **changes: Any) -> GradientBoosting:
    return GradientBoosting(target, extra_trees=True, statistics_from=3, crosses=2, **changes)


def additive(target: Target = "binary", **changes: Any) -> Additive:
    return Additive(target, learning_rate=0.1, patience=20, **changes)


def ranked(target: Target = "binary", **changes: Any) -> GradientBoosting:
    return GradientBoosting(target, stop_on="ranking", **changes)


def forest(target: Target = "binary") -> Forest:
    return Forest(target, trees=50)


def network(target: Target = "binary", **changes: Any) -> Network:
    return Network(target, members=4, width=32, **changes)


def bagged(target: Target = "binary", **changes: Any) -> Bagged:
    return Bagged(GradientBoosting(target, **changes), folds=3, target=target)


def ensemble(target: Target = "binary") -> Ensemble:
    members = {
        "linear": Linear(strengths=(0.1, 1.0)),
        "additive": Additive(max_rounds=50),
        "trees": statistics(max_rounds=300),
    }
    return Ensemble(target, (Preset(rows=np.inf, folds=3, repeats=1, members=members),))


LEARNERS: list[Kind] = [
    Linear,
    additive,
    GradientBoosting,
    statistics,
    ranked,
    forest,
    network,
    bagged,
    ensemble,
]
CANDIDATES: list[Kind] = [Prior, *LEARNERS]

every_target = pytest.mark.parametrize("target", TARGETS)
every_learner = pytest.mark.parametrize("kind", LEARNERS)
every_candidate = pytest.mark.parametrize("kind", CANDIDATES)


def part(frame: pd.DataFrame, truth: Any) -> Dataset:
    return Dataset(
        frame, pd.Series(truth, index=frame.index, dtype="float64"), np.arange(len(frame), dtype=np.uint64)
    )


def answer(signal: np.ndarray, target: Target, rng: np.random.Generator) -> np.ndarray:
    """A truth with `signal` as its log odds or, with unit noise, as its mean."""
    if target == "binary":
        return (rng.random(len(signal)) < 1 / (1 + np.exp(-signal))).astype(float)
    return signal + rng.normal(size=len(signal))


def cases(rows: int, target: Target, seed: int) -> Dataset:
    """Effects that are linear, stepped, joint, of categories and of being missing; one column is constant."""
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
    return part(frame, answer(signal, target, rng))


@cache
def fitted(kind: Kind, target: Target) -> Any:
    return kind(target).fit(cases(1500, target, 1), cases(600, target, 2), FitResources())


def predicted(model: Any, frame: pd.DataFrame, target: Target) -> np.ndarray:
    predictions = model.predict(frame)
    assert list(predictions.columns) == [PREDICTION[target]]
    pd.testing.assert_index_equal(predictions.index, frame.index)
    values = predictions[PREDICTION[target]].to_numpy()
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    if target == "binary":
        assert ((values >= 0) & (values <= 1)).all()
    return values


def loss(model: Any, held_out: Dataset, target: Target) -> float:
    """Log loss or mean squared error."""
    values, truth = predicted(model, held_out.frame, target), held_out.truth.to_numpy()
    if target == "binary":
        return float(-np.log(np.where(truth == 1, values, 1 - values)).mean())
    return float(((values - truth) ** 2).mean())


@every_target
@every_candidate
class TestEveryCandidate:
    def test_files_give_the_model_back_to_the_bit(self, kind: Kind, target: Target) -> None:
        model = fitted(kind, target)
        frame = cases(SMALL_FRAME + 1, target, 3).frame
        files = model.files()
        again = type(model).from_files(files)
        np.testing.assert_array_equal(predicted(again, frame, target), predicted(model, frame, target))
        pd.testing.assert_series_equal(again.importance(), model.importance())
        assert again.files() == files
        assert all(isinstance(content, bytes) for content in files.values())

    def test_the_order_of_rows_and_columns_is_nothing(self, kind: Kind, target: Target) -> None:
        model, frame = fitted(kind, target), cases(300, target, 3).frame
        values = predicted(model, frame, target)
        rows = np.random.default_rng(0).permutation(len(frame))
        np.testing.assert_array_equal(predicted(model, frame.iloc[rows], target), values[rows])
        wider = frame[frame.columns[::-1]].assign(further="x")
        np.testing.assert_array_equal(predicted(model, wider, target), values)

    def test_rows_are_predicted_alone_as_together(self, kind: Kind, target: Target) -> None:
        model, frame = fitted(kind, target), cases(SMALL_FRAME + 1, target, 3).frame
        together = predicted(model, frame, target)
        alone = np.concatenate([predicted(model, frame.iloc[[row]], target) for row in range(5)])
        np.testing.assert_array_equal(alone, together[:5])
        assert not len(predicted(model, frame.iloc[:0], target))

    def test_one_row_without_a_frame_is_predicted_as_in_one(self, kind: Kind, target: Target) -> None:
        model, frame = fitted(kind, target), cases(30, target, 3).frame
        frame = pd.concat([frame, frame.assign(town="never seen", age=np.inf, income=np.nan).iloc[:1]])
        alone = [model.predict_row(row) for row in frame.to_dict(orient="records")]
        np.testing.assert_allclose(alone, predicted(model, frame, target), rtol=1e-12)
        row = frame.iloc[0].to_dict()
        assert model.predict_row({**row, "town": None, "further": 1}) == model.predict_row(
            {**row, "town": np.nan}
        )
        for wrong, message in (
            ({"town": 1.0}, "expected a string in 'town', got a number"),
            ({"age": "1"}, "expected a number in 'age', got a string"),
        ):
            with pytest.raises(ValueError, match=message):
                model.predict_row({**row, **wrong})
        with pytest.raises(ValueError, match=r"got a row without \['town'\]; give every column"):
            model.predict_row({name: value for name, value in row.items() if name != "town"})

    def test_the_same_seed_gives_the_same_files_on_any_threads(self, kind: Kind, target: Target) -> None:
        train, valid = cases(600, target, 1), cases(300, target, 2)
        one, two = (kind(target).fit(train, valid, FitResources(5, threads)).files() for threads in (1, 2))
        assert one == two
        turned = replace(train, frame=train.frame[train.frame.columns[::-1]])
        assert kind(target).fit(turned, valid, FitResources(5)).files() == one

    def test_a_missing_column_is_refused(self, kind: Kind, target: Target) -> None:
        frame = cases(5, target, 3).frame.drop(columns="town")
        with pytest.raises(ValueError, match=r"got a frame without \['town'\]; give every column"):
            fitted(kind, target).predict(frame)

    def test_new_categories_missing_columns_and_infinities_survive(self, kind: Kind, target: Target) -> None:
        model, frame = fitted(kind, target), cases(50, target, 3).frame
        for changes in (
            {"town": "never seen"},
            {"town": np.nan, "age": np.nan},
            {"town": None, "age": None},
            {"age": np.inf, "income": -np.inf},
        ):
            assert len(predicted(model, frame.assign(**changes), target)) == len(frame)

    def test_columns_without_information_survive(self, kind: Kind, target: Target) -> None:
        def empty(of: Dataset) -> Dataset:
            nothing = pd.Series(np.nan, index=of.frame.index)
            return replace(
                of, frame=of.frame[["constant"]].assign(number=nothing, name=nothing.astype("str"))
            )

        train, valid = empty(cases(200, target, 1)), empty(cases(100, target, 2))
        model = kind(target).fit(train, valid, FitResources())
        values = predicted(model, valid.frame.assign(number=3.0, name="seen at last", constant=7.0), target)
        np.testing.assert_allclose(values, train.truth.mean(), rtol=1e-3)
        assert model.importance().max() == 0

    def test_ten_thousand_categories_survive(self, kind: Kind, target: Target) -> None:
        def named(of: Dataset, names: np.ndarray) -> Dataset:
            return replace(of, frame=of.frame.assign(name=pd.Series(names, of.frame.index, dtype="str")))

        names = np.char.add("person ", np.arange(10_000).astype(str))
        train, valid = named(cases(10_000, target, 1), names), named(cases(500, target, 2), names[:500])
        quick = {"max_rounds": 20} if kind in (additive, GradientBoosting, statistics, bagged) else {}
        quick |= {"max_epochs": 3} if kind is network else {}
        model = kind(target, **quick).fit(train, valid, FitResources())
        predicted(model, valid.frame, target)
        # A category of one row is a person: it is pooled, and no file names it.
        assert not any(b"person" in content for content in model.files().values())

    def test_importance_is_a_share_by_column(self, kind: Kind, target: Target) -> None:
        importance = fitted(kind, target).importance()
        assert set(importance.index) == {"income", "age", "town", "grade", "constant"}
        assert (importance >= 0).all()
        assert importance["constant"] == 0
        assert importance.sum() == pytest.approx(0.0 if kind is Prior else 1.0)

    def test_an_unusable_truth_is_refused(self, kind: Kind, target: Target) -> None:
        good, bad = cases(100, target, 1), part(cases(100, target, 1).frame, np.nan)
        with pytest.raises(ValueError, match="expected finite truth, got 100 missing"):
            kind(target).fit(bad, good, FitResources())


@every_target
class TestEveryLearner:
    @every_learner
    def test_beats_the_prior(self, kind: Kind, target: Target) -> None:
        held_out = cases(2000, target, 4)
        assert loss(fitted(kind, target), held_out, target) < 0.9 * loss(
            fitted(Prior, target), held_out, target
        )

    @every_learner
    def test_finds_a_threshold(self, kind: Kind, target: Target) -> None:
        x = np.random.default_rng(0).uniform(size=3000)
        frame = pd.DataFrame({"x": x, "noise": x[::-1]})
        whole = part(frame, x > 0.5)
        model = kind(target).fit(whole, whole, FitResources())
        low, high = predicted(model, pd.DataFrame({"x": [0.25, 0.75], "noise": 0.5}), target)
        assert low < 0.05
        assert high > 0.95
        assert model.importance()["x"] > 0.9

    @every_learner
    def test_learns_that_missing_and_rare_mean_something(self, kind: Kind, target: Target) -> None:
        rng = np.random.default_rng(0)
        names = np.where(rng.random(3000) < 0.8, "common", rng.integers(0, 2000, 3000).astype(str))
        number = np.where(rng.random(3000) < 0.3, np.nan, rng.normal(size=3000))
        frame = pd.DataFrame({"name": pd.Series(names, dtype="str"), "number": number})
        whole = part(frame, answer(4.0 * (names != "common") * np.isnan(number) - 2.0, target, rng))
        model = kind(target).fit(whole, whole, FitResources())
        usual, unseen = (
            pd.DataFrame({"name": ["common"], "number": [0.0]}),
            pd.DataFrame({"name": ["?"], "number": [np.nan]}),
        )
        assert predicted(model, unseen, target)[0] > predicted(model, usual, target)[0] + 0.3

    @pytest.mark.parametrize("kind", [Linear, additive, GradientBoosting, statistics, network])
    def test_a_special_code_amid_the_numbers_has_its_own_effect(self, kind: Kind, target: Target) -> None:
        rng = np.random.default_rng(0)
        x = np.where(rng.random(3000) < 0.2, 50.0, rng.uniform(0, 100, 3000))
        whole = part(pd.DataFrame({"x": x}), answer(np.where(x == 50, 2.0, -2.0), target, rng))
        model = kind(target).fit(replace(whole, sentinel_values={"x": (50.0,)}), whole, FitResources())
        code, others = (
            predicted(model, pd.DataFrame({"x": [50.0]}), target),
            pd.DataFrame({"x": [48.0, 52.0]}),
        )
        assert code[0] > predicted(model, others, target).max() + 0.3

    def test_boosting_beats_linear_on_exclusive_or(self, target: Target) -> None:
        def exclusive(rows: int, seed: int) -> Dataset:
            rng = np.random.default_rng(seed)
            x, y = rng.normal(size=(2, rows))
            return part(
                pd.DataFrame({"x": x, "y": y}), answer(np.where((x > 0) ^ (y > 0), 2.0, -2.0), target, rng)
            )

        train, valid, held_out = exclusive(2000, 1), exclusive(800, 2), exclusive(1000, 3)
        trees, linear = (
            loss(kind(target).fit(train, valid, FitResources()), held_out, target)
            for kind in (GradientBoosting, Linear)
        )
        assert trees < 0.75 * linear

    @every_learner
    def test_no_time_gives_a_model_all_the_same(self, kind: Kind, target: Target) -> None:
        model = kind(target).fit(cases(600, target, 1), cases(300, target, 2), FitResources(seconds=0.0))
        assert model.stopped_by == "budget"
        predicted(model, cases(10, target, 3).frame, target)


@every_target
def test_prior_is_the_mean(target: Target) -> None:
    whole = part(pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]}), [0.0, 1.0, 0.0, 0.0])
    model = Prior(target).fit(whole, whole, FitResources())
    np.testing.assert_array_equal(predicted(model, whole.frame, target), 0.25)


@every_learner
def test_learners_need_both_classes(kind: Kind) -> None:
    whole = part(pd.DataFrame({"x": np.arange(100.0)}), 1.0)
    with pytest.raises(
        ValueError, match="expected both classes in the training part, got 100 rows that are all 1"
    ):
        kind().fit(whole, whole, FitResources())
    model = Prior().fit(whole, whole, FitResources())
    np.testing.assert_array_equal(predicted(model, whole.frame, "binary"), 1.0)


def test_logistic_regression_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    train, valid = cases(1500, "binary", 1), cases(600, "binary", 2)
    model = Linear(strengths=(0.5,)).fit(train, valid, FitResources())
    reference = LogisticRegression(C=0.5, max_iter=5000).fit(model.encoding.encode(train.frame), train.truth)
    expected = reference.predict_proba(model.encoding.encode(valid.frame))[:, 1]
    np.testing.assert_allclose(predicted(model, valid.frame, "binary"), expected, rtol=1e-12)


def test_ridge_solves_the_normal_equations() -> None:
    train = cases(1500, "numeric", 1)
    model = Linear("numeric", strengths=(0.5,)).fit(train, train, FitResources())
    X = model.encoding.encode(train.frame).toarray()
    centred = X - X.mean(axis=0)
    weights = np.linalg.solve(
        centred.T @ centred + np.eye(X.shape[1]) / 0.5, centred.T @ train.truth.to_numpy()
    )
    np.testing.assert_allclose(
        predicted(model, train.frame, "numeric"), centred @ weights + train.truth.mean(), atol=1e-4
    )


@every_target
def test_the_penalty_that_is_best_on_valid_is_kept(target: Target) -> None:
    train, valid = cases(300, target, 1), cases(600, target, 2)
    alone = {
        C: Linear(target, strengths=(C,)).fit(train, valid, FitResources()) for C in (0.001, 0.1, 1000.0)
    }
    best = min(alone, key=lambda C: loss(alone[C], valid, target))
    both: LinearModel = Linear(target, strengths=tuple(alone)).fit(train, valid, FitResources())
    assert (both.C, both.stopped_by) == (best, "grid")


def rounds(model: GradientBoostingModel) -> int:
    return model.files()["model.txt"].count(b"\nTree=")


@pytest.mark.parametrize(
    ("change", "seconds", "reason"),
    [({}, np.inf, "valid"), ({"max_rounds": 5}, np.inf, "rounds"), ({}, 0.0, "budget")],
)
def test_boosting_says_what_stopped_it(change: dict[str, int], seconds: float, reason: str) -> None:
    train, valid = cases(600, "binary", 1), cases(300, "binary", 2)
    model = GradientBoosting(**change).fit(train, valid, FitResources(seconds=seconds))
    assert model.stopped_by == reason
    assert {"valid": 5 < rounds(model) < 900, "rounds": rounds(model) == 5, "budget": rounds(model) == 1}[
        reason
    ]


@pytest.mark.parametrize("seed", range(6))
def test_boosting_that_stops_on_ranking_goes_on_to_the_best_auc(seed: int) -> None:
    """The later of the best rounds by loss and by AUC, of those that were grown."""
    train, valid = cases(600, "binary", seed), cases(300, "binary", 100 + seed)
    ranked = GradientBoosting(stop_on="ranking", patience=80, max_rounds=80)
    model = ranked.fit(train, valid, FitResources())
    every = GradientBoosting(patience=80, max_rounds=80)
    X, truth = model.encoding.encode(valid.frame), valid.truth.to_numpy()
    kept = rounds(model)
    by_round = [model._booster.predict(X, num_iteration=n) for n in range(1, kept + 1)]
    by_loss = rounds(every.fit(train, valid, FitResources()))
    by_auc = int(np.argmax([roc_auc(truth, p) for p in by_round])) + 1
    assert kept == max(by_loss, by_auc)


@pytest.mark.parametrize(
    ("hasty", "seconds"),
    [({}, np.inf), ({"learning_rate": 1.0, "patience": 100_000, "max_rounds": 100_000}, 0.2)],
)
def test_boosting_keeps_the_rounds_up_to_the_best_on_valid(hasty: dict[str, Any], seconds: float) -> None:
    train, valid = cases(600, "numeric", 1), cases(300, "numeric", 2)
    model = GradientBoosting("numeric", **hasty).fit(train, valid, FitResources(seconds=seconds))
    booster, X = lightgbm.Booster(model_str=model.trees), model.encoding.encode(valid.frame)
    losses = [
        np.mean((booster.predict(X, num_iteration=count) - valid.truth) ** 2)
        for count in range(1, rounds(model) + 1)
    ]
    assert np.argmin(losses) == len(losses) - 1


def test_one_split_parts_scattered_categories() -> None:
    levels = np.tile(np.arange(20), 200)
    truth = np.isin(levels, [1, 2, 4, 7, 8, 11, 13, 14, 16, 19])
    whole = part(pd.DataFrame({"level": pd.Series(levels.astype(str), dtype="str")}), truth)
    stump = GradientBoosting("numeric", num_leaves=2, max_rounds=1, learning_rate=1.0)
    values = predicted(stump.fit(whole, whole, FitResources()), whole.frame, "numeric")
    np.testing.assert_allclose(values, truth, atol=0.05)


def test_boosting_draws_from_the_seed() -> None:
    train, valid = cases(600, "binary", 1), cases(300, "binary", 2)
    first, second = (GradientBoosting().fit(train, valid, FitResources(seed)).trees for seed in (0, 1))
    assert first != second


def test_training_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train, valid = cases(60, "binary", 1), cases(60, "binary", 2)
    for kind in CANDIDATES:
        model = kind().fit(train, valid, FitResources())
        type(model).from_files(model.files()).predict(valid.frame)
    assert capfd.readouterr() == ("", "")


@every_target
def test_the_trees_keep_no_cell_and_predict_as_lightgbm_wrote_them(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightGBM notes the extremes of each column: one person's income, in a file that many may read."""
    written: list[str] = []
    as_written = lightgbm.Booster.model_to_string

    def note(self: lightgbm.Booster, *arguments: Any, **options: Any) -> str:
        written.append(as_written(self, *arguments, **options))
        return written[-1]

    monkeypatch.setattr(lightgbm.Booster, "model_to_string", note)
    train, valid = cases(1500, target, 1), cases(600, target, 2)
    model = GradientBoosting(target).fit(train, valid, FitResources())
    text, extremes = model.files()["model.txt"].decode(), train.frame["income"].agg(["min", "max"])
    for extreme in extremes:
        assert f"{extreme:.10g}"[:8] in written[0]
        assert f"{extreme:.10g}"[:8] not in text
    X = model.encoding.encode(valid.frame)
    before, after = (lightgbm.Booster(model_str=trees).predict(X) for trees in (written[0], text))
    np.testing.assert_array_equal(before, after)
