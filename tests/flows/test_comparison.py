"""The second decision about a model: real models of each kind of target, the champion read back from its package."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.comparison import Circumstances, Comparison, Contender, compare, one_by_one
from ml import package
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.data.target import Target
from ml.errors import PackagingError
from ml.estimator import Candidate, FitResources
from ml.evaluation.evaluator import BinaryEvaluator, Evaluator
from ml.evaluation.looks import CLEAR, MIN_RECIPES, UNKNOWN, EarlierLook, look_level, sketch_rows
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.recommenders.markov import Markov
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import RepeatConsumption
from ml.tabular.class_prior import ClassPrior
from ml.tabular.constant import Constant
from ml.tabular.linear import Linear
from ml.tabular.multiclass_linear import MulticlassLinear
from tasks.decisions import earlier_looks
from tasks.ledger import INCONCLUSIVE, KEEP_CHAMPION, PROMOTE
from tasks.promote import lead_on_validation
from tasks.split import split_histories

pytestmark = pytest.mark.usefixtures("prefect_api")
LABELS = ("a", "b", "c")
TARGETS: dict[Target, Any] = {
    "binary": {"column": "y", "positive": ["yes"]},
    "multiclass": {"column": "y", "labels": list(LABELS)},
    "numeric": {"column": "y", "number": True},
}
SIMPLE: dict[Target, Candidate] = {
    "binary": Constant(),
    "multiclass": ClassPrior(),
    "numeric": Constant("numeric"),
}
BETTER: dict[Target, Candidate] = {
    "binary": Linear(),
    "multiclass": MulticlassLinear(inverse_penalties=(1.0,)),
    "numeric": Linear("numeric"),
}
EVALUATORS: dict[Target, Evaluator] = {
    "binary": BinaryEvaluator(),
    "multiclass": MulticlassEvaluator(),
    "numeric": NumericEvaluator(),
}
KINDS = tuple(TARGETS)


def table(kind: Target, first: int, last: int) -> Dataset:
    """Draw the rows of the units from `first` to `last`, whose target depends on one of two columns."""
    units = np.arange(last)
    draws = np.random.default_rng(0).normal(size=(3, 10_000))[:, :last]
    score = draws[0] + draws[2]
    truth = {
        "binary": (score > 0).astype(np.float64),
        "multiclass": np.digitize(score, [-0.7, 0.7]).astype(np.float64),
        "numeric": score,
    }[kind]
    frame = pd.DataFrame({"x": draws[0], "other": draws[1]})
    classes = LABELS if kind == "multiclass" else ()
    rows = Dataset(frame, pd.Series(truth), units.astype(np.uint64), classes=classes)
    return rows.take(np.arange(first, last))


def packed(kind: Target, model: Any, training: Dataset, folder: Path) -> package.Package:
    """Write a package and read it back, as a champion is read."""
    meta = {
        "schema_version": 2,
        "read": {
            "files": ["x.csv"],
            "columns": {"x": "number", "other": "number", "y": "number" if kind == "numeric" else "category"},
        },
        "roles": {"target": TARGETS[kind]},
    }
    contract = parse({"name": f"toy.{kind}", "expectations": [], "meta": meta})
    entities = EVALUATORS[kind].training_keys(training)
    folder.mkdir()
    digest = package.write(package.Package(model, contract.source, {}, entities), folder)
    return package.read(folder, digest)


class Decisions:
    """Train, valid and test of one kind of target, and decisions about models that are fitted to them."""

    def __init__(self, kind: Target, folder: Path) -> None:
        self.kind, self.folder, self.evaluator = kind, folder, EVALUATORS[kind]
        self.train, self.valid, self.test = (
            table(kind, *each) for each in ((0, 400), (400, 700), (700, 1100))
        )
        self.selected_by = sketch_rows(self.valid)

    def fit(self, candidate: Candidate, rows: int = 400) -> package.Package:
        """Fit to the first rows of train; train and valid are listed as known."""
        training = self.train.take(np.arange(rows))
        model = candidate.fit(training, self.valid, FitResources())
        known = table(self.kind, 0, 700)
        return packed(self.kind, model, known, self.folder / f"{type(candidate).__name__}-{rows}")

    def decide(
        self,
        challenger: package.Package,
        champion: package.Package,
        predict: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        **changes: Any,
    ) -> Comparison:
        """Compare; `changes` replace the champion's `entities`, what `ours` and `theirs` were selected by, and
        circumstances.
        """
        ours = Contender(one_by_one(challenger.predict), changes.get("ours", self.selected_by))
        theirs = Contender(one_by_one(predict or champion.predict), changes.get("theirs", self.selected_by))
        entities = changes.get("entities", champion.training_entities)
        names = {field.name for field in fields(Circumstances)}
        circumstances = Circumstances("recipe", **{k: v for k, v in changes.items() if k in names})
        return compare(self.evaluator, (self.test, self.valid), ours, theirs, entities, circumstances)


@pytest.fixture(params=KINDS)
def decisions(request: pytest.FixtureRequest, tmp_path: Path) -> Decisions:
    return Decisions(request.param, tmp_path)


def test_a_better_challenger_is_promoted_and_a_worse_one_is_not_compared_on_test(
    decisions: Decisions,
) -> None:
    simple, better = (decisions.fit(each[decisions.kind]) for each in (SIMPLE, BETTER))
    promoted, kept = decisions.decide(better, simple).verdict, decisions.decide(simple, better).verdict
    assert (promoted.verdict, kept.verdict) == (PROMOTE, KEEP_CHAMPION)
    assert promoted.look
    assert promoted.look["lead"] == CLEAR
    assert promoted.validation
    assert kept.validation
    assert (promoted.validation["units"], promoted.units) == (300, 400)
    assert (kept.difference, kept.look) == (None, None)
    assert kept.validation["value"] == pytest.approx(-promoted.validation["value"])
    # A model of another fit that is about as good uses no look, or its look does not suffice.
    alike = decisions.fit(BETTER[decisions.kind], 300)
    assert decisions.decide(alike, better).verdict.verdict == KEEP_CHAMPION


def test_predictions_stay_with_their_rows_where_rows_are_left_out(decisions: Decisions) -> None:
    """The champion has seen some test rows and was selected by all validation rows."""
    simple, better = (decisions.fit(each[decisions.kind]) for each in (SIMPLE, BETTER))
    seen = np.random.default_rng(1).choice(decisions.test.units, 60, replace=False)
    known = np.union1d(simple.training_entities, seen)
    compared = decisions.decide(better, simple, entities=known)
    unseen = decisions.test.take(np.flatnonzero(~np.isin(decisions.test.units, seen)))
    models = (model.predict(unseen.frame) for model in (better, simple))
    expected = decisions.evaluator.paired_difference(unseen, *models)
    assert compared.verdict.verdict == PROMOTE
    assert compared.verdict.difference
    assert compared.verdict.difference["value"] == pytest.approx(expected.value)
    assert (compared.verdict.units, len(compared.shared.frame)) == (340, 340)
    assert compared.champion is not None
    assert compared.rows == sketch_rows(unseen)
    lead = lead_on_validation(
        decisions.evaluator,
        decisions.valid,
        *(model.predict(decisions.valid.frame) for model in (better, simple)),
    )
    assert compared.verdict.validation == lead


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"ours": ""}, "this run's model was fitted to them"),
        ({"theirs": ""}, "the champion was trained on 300 of 300 validation rows"),
        # The present validation rows are among those that it was fitted to, and its own were others.
        ({"theirs": "other"}, "the champion was trained on 300 of 300 validation rows"),
    ],
)
def test_a_lead_on_rows_that_a_model_was_fitted_to_is_unknown(
    tmp_path: Path, changes: dict[str, str], note: str
) -> None:
    decisions = Decisions("binary", tmp_path)
    simple, better = (decisions.fit(each["binary"]) for each in (SIMPLE, BETTER))
    if changes.get("theirs") == "other":
        changes = {"theirs": sketch_rows(table("binary", 2000, 2300))}
    verdict = decisions.decide(better, simple, **changes).verdict
    assert verdict.validation
    assert verdict.validation["note"].startswith(note)
    assert verdict.look
    assert (verdict.verdict, verdict.look["lead"]) == (PROMOTE, UNKNOWN)
    assert decisions.decide(simple, better, **changes).verdict.verdict == KEEP_CHAMPION


def test_a_champion_that_knows_all_rows_is_not_asked(tmp_path: Path) -> None:
    """Some models cannot predict a table without rows, which says nothing about the champion."""
    decisions = Decisions("binary", tmp_path)
    better = decisions.fit(BETTER["binary"])

    def refuse(frame: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError(f"asked for {len(frame)} predictions")

    entities = table("binary", 0, 1100).units
    compared = decisions.decide(better, better, refuse, entities=entities)
    assert (compared.verdict.verdict, compared.champion) == (INCONCLUSIVE, None)
    assert "trained on 400 of 400 test rows (100.0%)" in compared.verdict.reason


@pytest.mark.parametrize(
    "damage", ["missing", "twice", "unknown", "text", "outside", "another kind of target"]
)
def test_a_champion_whose_predictions_are_not_those_of_the_rows_is_unusable(
    decisions: Decisions, damage: str
) -> None:
    """Otherwise it would look worse than it is, or stop the run with an error of arithmetic."""
    other: Target = "numeric" if decisions.kind == "binary" else "binary"
    better = decisions.fit(BETTER[decisions.kind])

    def predict(frame: pd.DataFrame) -> pd.DataFrame:
        right = better.predict(frame)
        return {
            "missing": lambda: right.iloc[:-1],
            "twice": lambda: pd.concat([right, right.iloc[:1]]),
            "unknown": lambda: right.mask(pd.Series(np.arange(len(right)) == 3, right.index)),
            "text": lambda: right.astype(object).mask(
                pd.Series(np.arange(len(right)) == 3, right.index), "x"
            ),
            # Log odds in place of probabilities; numbers whose squares overflow.
            "outside": lambda: right * 1e200 - 1.0,
            "another kind of target": lambda: (
                Constant(other).fit(table(other, 0, 400), decisions.valid, FitResources()).predict(frame)
            ),
        }[damage]()

    got = {
        "missing": "got 399 predictions",
        "twice": "got 401 predictions",
        "unknown": "got 1 rows without one",
        "text": "got values that are no numbers",
        "outside": f"got 400 rows with one outside {'-1e.150 to 1e.150' if decisions.kind == 'numeric' else '0 to 1'}",
        "another kind of target": f"got the columns {'prediction' if other == 'numeric' else 'probability'}",
    }[damage]
    with pytest.raises(PackagingError, match=rf"for rows, 400 of them; {got}"):
        decisions.decide(better, better, predict)


def test_a_lead_is_compared_with_those_of_many_other_recipes(tmp_path: Path) -> None:
    """All were as far behind the champion: one that is about as good stands out, and one that is not is no look."""
    decisions = Decisions("binary", tmp_path)
    better, alike = decisions.fit(BETTER["binary"]), decisions.fit(BETTER["binary"], 300)
    rows = sketch_rows(decisions.test)
    models = (alike, better), (better, alike)
    ahead = next(pair for pair in models if decisions.decide(*pair).verdict.validation["value"] > 0)  # type: ignore[index]
    alone = decisions.decide(*ahead).verdict.validation
    assert alone
    assert "among" not in alone
    for center, lead in ((alone["value"] - 0.1, CLEAR), (alone["value"], None)):
        leads = center + 0.01 * np.random.default_rng(0).normal(size=MIN_RECIPES)
        earlier = [
            EarlierLook(rows, f"{n}", is_look=False, lead_value=value) for n, value in enumerate(leads)
        ]
        verdict = decisions.decide(*ahead, earlier=earlier).verdict
        assert verdict.validation
        assert verdict.validation["recipes"] == MIN_RECIPES
        assert (verdict.validation["among"] < 0.001) == (lead == CLEAR)
        assert (verdict.look or {"lead": None})["lead"] == lead
    assert f"among the leads of {MIN_RECIPES} other recipes; not compared on the test rows" in verdict.reason


def test_a_test_part_that_shrinks_overnight_is_a_further_look_and_too_few_rows_decide_nothing(
    tmp_path: Path,
) -> None:
    decisions = Decisions("binary", tmp_path)
    simple, better = (decisions.fit(each["binary"]) for each in (SIMPLE, BETTER))
    first = decisions.decide(better, simple)
    assert first.verdict.look
    assert first.verdict.look["number"] == 1
    earlier = EarlierLook(first.rows, "recipe", True, True, first.verdict.look["lead"])
    whole = decisions.test
    for left, verdict in ((90, PROMOTE), (49, INCONCLUSIVE)):
        decisions.test = whole.take(np.arange(left))
        shrunk = decisions.decide(better, simple, earlier=[earlier]).verdict
        assert (shrunk.verdict, shrunk.units) == (verdict, left)
        assert (shrunk.look or {"number": 2})["number"] == 2
    assert "49 units to compare on, fewer than 50" in shrunk.reason


def test_champions_of_overlapping_rows_are_compared_on_those_that_each_has_not_seen(tmp_path: Path) -> None:
    """Both know a tenth of the test rows, half of it in common: looks at the same rows, each without its own."""
    decisions = Decisions("binary", tmp_path)
    simple, better = (decisions.fit(each["binary"]) for each in (SIMPLE, BETTER))
    looks: list[EarlierLook] = []
    for first in (700, 720):
        entities = np.union1d(simple.training_entities, np.arange(first, first + 40).astype(np.uint64))
        compared = decisions.decide(better, simple, entities=entities, earlier=looks)
        assert compared.verdict.look
        assert (compared.verdict.units, compared.verdict.look["number"]) == (360, len(looks) + 1)
        assert not np.isin(compared.shared.units, entities).any()
        looks.append(EarlierLook(compared.rows, "recipe", True, True, compared.verdict.look["lead"]))


def test_comparisons_of_a_ledger_from_before_looks_were_counted_are_one_look_each(tmp_path: Path) -> None:
    decisions = Decisions("binary", tmp_path)
    simple, better = (decisions.fit(each["binary"]) for each in (SIMPLE, BETTER))
    difference = {"value": 0.1, "low": -0.1, "high": 0.3, "p_value": 0.5}
    old = [
        {"verdict": PROMOTE, "version": 1, "champion": 1, "difference": None},
        *({"verdict": KEEP_CHAMPION, "version": n, "champion": 1, "difference": difference} for n in (2, 3)),
    ]
    verdict = decisions.decide(better, simple, earlier=earlier_looks(old, 1)).verdict
    assert verdict.look
    assert (verdict.look["number"], verdict.look["unrecorded"]) == (3, 2)
    assert verdict.look["level"] == look_level(True, CLEAR, {UNKNOWN: 2})
    assert "; look 3 on these rows, level 0.013, a new recipe" in verdict.reason
    assert verdict.reason.endswith("; 2 looks before they were counted")


def test_a_group_that_only_the_test_rows_have_is_compared_like_any_other(tmp_path: Path) -> None:
    decisions = Decisions("binary", tmp_path)
    simple, better = (decisions.fit(each["binary"]) for each in (SIMPLE, BETTER))
    # Nobody lives abroad in train and valid; one person of each further place makes no group of its own.
    places = np.array(["home"] * 200 + ["abroad"] * 150 + [f"place {n}" for n in range(50)])
    decisions.test = replace(
        decisions.test, metadata=pd.DataFrame({"place": places}, decisions.test.frame.index)
    )
    decisions.valid = replace(
        decisions.valid, metadata=pd.DataFrame({"place": "home"}, decisions.valid.frame.index)
    )
    verdict = decisions.decide(better, simple, sensitive=("place",), max_group_harm=0.03).verdict
    assert verdict.verdict == PROMOTE
    assert verdict.groups
    assert {check["group"] for check in verdict.groups["checks"]} == {"home", "abroad"}
    assert "place=other (fewer than 10 each) (fewer than 100 units)" in verdict.groups["note"]


def test_a_champion_of_other_classes_only_is_unusable(tmp_path: Path) -> None:
    """One that knows some of the classes is compared on all rows; of one that knows none, nothing can be."""
    decisions = Decisions("multiclass", tmp_path)
    better = decisions.fit(BETTER["multiclass"])

    def renamed(*labels: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
        names = {f"probability of {label}": f"probability of {label.upper()}" for label in labels}
        return lambda frame: better.predict(frame).rename(columns=names)

    assert decisions.decide(better, better, renamed("c")).verdict.verdict in (PROMOTE, KEEP_CHAMPION)
    with pytest.raises(PackagingError, match=r"400 of them; got the columns probability of A, "):
        decisions.decide(better, better, renamed(*LABELS))


def test_several_classes_are_no_probability_of_one() -> None:
    """Their `probability` is that of the predicted class, which a comparison of two classes would take for another."""
    test = table("binary", 700, 1100)
    predicted = pd.DataFrame({"label": "a", "probability": 0.9, "probability of a": 0.9}, test.frame.index)
    contender = Contender(one_by_one(lambda frame: predicted.loc[frame.index]), "")
    with pytest.raises(PackagingError, match="got the columns label, probability, probability of a"):
        compare(
            BinaryEvaluator(), (test, test), contender, contender, np.array([], np.uint64), Circumstances("")
        )


SHOP = {
    "schema_version": 2,
    "read": {"files": ["x.csv"], "columns": {"user": "category", "item": "category", "at": "time"}},
    "roles": {"user": "user", "item": "item", "time": "at", "allow_repeat_recommendations": True},
    "split": {"by": "time"},
}


def purchases(weeks: int) -> pd.DataFrame:
    """Draw a purchase a week of each of 150 users, each from its own 3 of 90 items, in no order."""
    draws = np.random.default_rng(0)
    users, week = np.tile(np.arange(150), weeks), np.repeat(np.arange(weeks), 150)
    items = (users * 7 + draws.integers(0, 3, len(users)) * 31) % 90
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(week, "W") + pd.to_timedelta(users, "min")
    rows = {"user": [f"U{each}" for each in users], "item": [f"I{each}" for each in items]}
    return pd.DataFrame({**rows, "at": at}).astype({"user": "str", "item": "str"})


def test_a_recommender_that_was_fitted_again_to_the_validation_events_shows_no_lead_there(
    tmp_path: Path,
) -> None:
    """The champion is older than these events, and the challenger knows them: it would lead wherever it stands."""
    contract = parse({"name": "toy.shop", "expectations": [], "meta": SHOP})
    evaluator = RankingEvaluator()
    before, now = (
        {
            name: replace(dataset, allow_repeats=True)
            for name, dataset in split_histories(purchases(weeks), contract)[0].items()
        }
        for weeks in (6, 14)
    )

    def packed_fit(candidate: Candidate, datasets: dict[str, Dataset]) -> package.Package:
        known = datasets["train_valid"]
        model = candidate.fit(known, datasets["valid"], FitResources())
        folder = tmp_path / f"{type(candidate).__name__}-{len(known.frame['items'].explode())}"
        folder.mkdir()
        keys = evaluator.training_keys(known)
        return package.read(folder, package.write(package.Package(model, contract.source, {}, keys), folder))

    old, popular = packed_fit(Markov(), before), packed_fit(Popularity(), now)
    new, own = packed_fit(Markov(), now), packed_fit(RepeatConsumption(), now)
    parts = now["test"], now["valid"]
    # The champion has seen no validation target.
    assert len(evaluator.rows_not_trained_on(now["valid"], old.training_entities)) == 150

    def decide(challenger: package.Package, champion: package.Package, selected_by: str = "") -> Any:
        contenders = (
            Contender(one_by_one(challenger.predict), selected_by),
            Contender(one_by_one(champion.predict), ""),
        )
        entities = champion.training_entities
        return compare(evaluator, parts, *contenders, entities, Circumstances("recipe")).verdict

    verdict = decide(new, old)
    assert verdict.validation == {"note": "this run's model was fitted to them"}
    assert verdict.look["lead"] == UNKNOWN
    # If this counted, its lead would be clear, and use up the error rate of clear leads night after night.
    assert decide(new, old, sketch_rows(now["valid"])).look["lead"] == CLEAR
    assert decide(own, popular).verdict == PROMOTE
    assert decide(popular, own).verdict == KEEP_CHAMPION
    # All lists of the champion are compared.
    estimate = evaluator.primary_interval(now["test"], old.predict(now["test"].frame)).value
    challenger = evaluator.primary_interval(now["test"], new.predict(now["test"].frame)).value
    assert verdict.difference["value"] == pytest.approx(challenger - estimate)


@pytest.mark.parametrize(
    ("lists", "got"),
    [
        (lambda lists: lists.assign(user=lists["user"] + "x"), "150 items for other users"),
        (lambda lists: pd.concat([lists, lists.iloc[:2]]), "2 items twice"),
        (lambda lists: lists.drop(columns=["rank", "score"]), "no rank and no score"),
        (lambda lists: lists.assign(rank=2), "ranks that are not 1, 2, ..."),
        (lambda lists: lists.assign(score=np.nan), "ranks that are not 1, 2, ..."),
        (lambda lists: lists.assign(rank="first"), "ranks that are not 1, 2, ..."),
        (lambda lists: lists.iloc[:0], "none"),
    ],
)
def test_lists_of_a_champion_are_for_the_users_of_the_rows(
    lists: Callable[[pd.DataFrame], pd.DataFrame], got: str
) -> None:
    contract = parse({"name": "toy.shop", "expectations": [], "meta": SHOP})
    test = split_histories(purchases(6), contract)[0]["test"]
    right = pd.DataFrame({"user": test.frame["user"], "rank": 1, "item": "I1", "score": 1.0})
    ours = Contender(one_by_one(lambda frame: right), "")
    theirs = Contender(one_by_one(lambda frame: lists(right)), "")
    nothing = np.array([], np.uint64)
    with pytest.raises(PackagingError, match=f"expected lists of different items for users, 150.*got {got}"):
        compare(RankingEvaluator(), (test, test), ours, theirs, nothing, Circumstances("recipe"))


def test_a_user_without_a_list_counts_as_the_worst_for_both_models() -> None:
    """Who had all items of a catalogue is recommended nothing; the reason says how often the champion had no list."""
    contract = parse({"name": "toy.shop", "expectations": [], "meta": SHOP})
    test = split_histories(purchases(6), contract)[0]["test"]
    best = pd.DataFrame({"user": test.frame["user"], "rank": 1, "item": test.truth.str[0], "score": 1.0})

    def decide(challenger: pd.DataFrame, champion: pd.DataFrame) -> Any:
        contenders = [Contender(one_by_one(lambda _, p=p: p), "") for p in (challenger, champion)]
        parts, nothing = (test, test), np.array([], np.uint64)
        return compare(RankingEvaluator(), parts, *contenders, nothing, Circumstances("recipe")).verdict

    served, unserved = decide(best, best.iloc[:60]), decide(best.iloc[:60], best)
    assert (served.verdict, unserved.verdict) == (PROMOTE, KEEP_CHAMPION)
    assert served.difference["value"] == pytest.approx(0.6) == -unserved.difference["value"]
    note = "; the champion has no list for 90 of 150 users, which counts as 0"
    assert served.reason.endswith(note)
    assert note not in unserved.reason
