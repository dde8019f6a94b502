"""Selection of the leader: the simplest model that nothing beats, however many are tried; and test evaluation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources
from ml.evaluation.evaluator import BinaryEvaluator, Decision, Evaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.recommenders.item_knn import ItemKNN
from ml.serialization import class_name
from ml.tabular.constant import Constant
from ml.tabular.linear import Linear
from tasks.evaluate import (
    EvaluationSettings,
    FinalFit,
    build_leaderboard,
    evaluate_on_test,
    evaluation_facts,
    leaderboard_entries,
)
from tasks.facts import Comparison
from tasks.facts import EvaluationFacts as Evaluation
from tasks.reporting.report import render
from tasks.selection import select_leader
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.stored_datasets import load_dataset

EVALUATOR = BinaryEvaluator()
SETTINGS = EvaluationSettings(EVALUATOR)
ROWS = 400


def leader_of(
    probabilities: Mapping[str, np.ndarray], truth: np.ndarray
) -> tuple[str, dict[str, Comparison]]:
    """Select the leader of models with these predictions, in their order."""
    valid = Dataset(pd.DataFrame(index=range(ROWS)), pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    predictions = {name: pd.DataFrame({"probability": p}) for name, p in probabilities.items()}
    return select_leader(predictions, valid, EVALUATOR)


def random_truth(rng: np.random.Generator) -> np.ndarray:
    return (rng.random(ROWS) < 0.4).astype(float)


def noisy_scores(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities that are informative about the truth."""
    return 1.0 / (1.0 + np.exp(-(truth + rng.normal(size=ROWS))))


def test_the_simplest_model_that_nothing_beats_leads() -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    good = noisy_scores(truth, rng)
    leader, comparisons = leader_of(
        {"flat": np.full(ROWS, 0.5), "good": good, "same": good, "bad": 1 - good}, truth
    )
    assert leader == "good"
    assert {name: comparison["candidate"] for name, comparison in comparisons.items()} == {
        "good": "flat",
        "same": "good",
        "bad": "good",
    }
    assert [comparison["level"] for comparison in comparisons.values()] == pytest.approx([1.0 - 0.1 / 3] * 3)


def test_a_single_candidate_leads() -> None:
    truth = random_truth(np.random.default_rng(0))
    assert leader_of({"only": np.full(ROWS, 0.5)}, truth) == ("only", {})


def test_the_level_accounts_for_the_number_of_comparisons() -> None:
    """An advantage that is significant in one comparison is not significant among four."""
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        truth = random_truth(rng)
        plain = noisy_scores(truth, rng)
        lucky = noisy_scores(truth, rng)
        leader, alone = leader_of({"plain": plain, "lucky": lucky}, truth)
        if leader == "lucky" and alone["lucky"]["p_value"] > 0.1 / 4:
            break
    else:
        pytest.fail("no seed gave an advantage of that size")
    weak = {name: np.full(ROWS, 0.5) for name in ("first", "second", "third")}
    leader, among_others = leader_of({"plain": plain, **weak, "lucky": lucky}, truth)
    assert leader == "plain"
    assert among_others["lucky"]["p_value"] == pytest.approx(alone["lucky"]["p_value"])
    assert among_others["lucky"]["low"] < 0 < alone["lucky"]["low"]


def test_the_family_error_rate_is_kept() -> None:
    """Of five equally good models, the first leads in at least 95 of 100 runs."""
    runs, wrong = 400, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = random_truth(rng)
        wrong += leader_of({f"m{n}": noisy_scores(truth, rng) for n in range(5)}, truth)[0] != "m0"
    # 20 are expected at most; a rate of 5 % exceeds 32 with a probability of .003 (binomial). Without the correction
    # about one of eight runs is wrong.
    assert 0 < wrong <= 32


# --- evaluation on test ------------------------------------------------------------------------------------------


def evaluate(
    candidate: Candidate, evaluator: Evaluator, test: Dataset, folder: Path, **facts: Any
) -> Evaluation:
    """Evaluate a model on the dataset that it is fitted to."""
    store, model = Store(folder), candidate.fit(test, test, FitResources())
    importance = model.importance().to_dict() if hasattr(model, "importance") else {}
    fit_facts = {"model": class_name(model), "importance": importance}
    fitted = store.get_or_compute("model", lambda: StageResult({}, fit_facts, model.files()))
    splits = store.get_or_compute("split", lambda: StageResult({"test": test.to_table()}, facts))
    decision = evaluator.decision(test, model.predict(test.frame))
    final = FinalFit("candidate", fitted, fitted, decision)
    return evaluation_facts(evaluate_on_test.fn(final, splits, splits, EvaluationSettings(evaluator), store))


def histories(users: int = 60) -> Dataset:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": pd.Series([f"person-{n:03}" for n in range(users)], dtype="str")})
    items = [[f"{'ab'[n % 2]}{i:02}" for i in rng.choice(30, rng.integers(1, 15))] for n in range(users)]
    frame["items"] = pd.Series(items, dtype=object)
    frame["times"] = pd.Series([[float(t) for t in range(len(history))] for history in items], dtype=object)
    truth = pd.Series([[f"{'ab'[n % 2]}{rng.integers(30):02}"] for n in range(users)], dtype=object)
    return Dataset(frame, truth, rng.integers(2**60, 2**63, users).astype(np.uint64))


def test_user_examples_name_no_user(tmp_path: Path) -> None:
    test = histories()
    evaluation = evaluate(ItemKNN(), RankingEvaluator(), test, tmp_path)
    examples = evaluation["user_examples"]
    assert [example["user"] for example in examples] == ["A", "B", "C"]
    assert all(item["explanation"] for example in examples for item in example["recommended"])
    assert evaluation["data_diagnostics"]["order"]["interpretation"]
    facts = {
        "case": "shop",
        "question": "?",
        "data": "d",
        "contract": "c",
        "stages": [],
        "gates": [],
        "evaluation": evaluation,
    }
    for text in (json.dumps(evaluation), render(facts)):
        assert "person-" not in text
        assert not any(str(unit) in text for unit in test.units)


def test_serendipity_depends_on_whether_items_may_repeat(tmp_path: Path) -> None:
    """Where items may repeat, those of the history may be among the popular items that a hit is compared with."""
    first = histories()
    first.truth.iloc[:] = [items[:1] for items in first.frame["items"]]
    test = Dataset(first.frame, first.truth, first.units, allow_repeats=True)
    allowed, not_allowed = (
        evaluate(ItemKNN(), RankingEvaluator(k=20), test, tmp_path / str(repeats), allow_repeats=repeats)[
            "metrics"
        ]
        for repeats in (True, False)
    )
    assert allowed["serendipity_at_20"] > not_allowed["serendipity_at_20"]
    assert allowed["ndcg_at_20"] == not_allowed["ndcg_at_20"]


def test_a_tabular_evaluation_has_confusion_and_directions_and_no_user_examples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    frame = pd.DataFrame({"x": truth + rng.normal(size=ROWS)})
    test = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    evaluation = evaluate(Linear(), EVALUATOR, test, tmp_path)
    assert evaluation["value"] > 0.6
    confusion = evaluation["confusion"]
    found, positives = confusion["true_positives"], confusion["true_positives"] + confusion["false_negatives"]
    assert (sum(confusion.values()), positives) == (ROWS, truth.sum())
    assert evaluation["metrics"]["recall"] == pytest.approx(found / positives)
    assert evaluation["rank_correlations"]["x"] > 0.8
    assert not {"user_examples", "data_diagnostics"} & set(evaluation)


# --- stored results ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluated:
    """What both stages of the evaluation need, in one content store."""

    folder: Path
    fitted: Mapping[str, StoredResult]
    splits: StoredResult

    def leaderboard(
        self,
        evaluator: Evaluator = EVALUATOR,
        fitted: Mapping[str, StoredResult] | None = None,
        fresh: bool = False,
    ) -> StoredResult:
        store = Store(self.folder, fresh)
        return build_leaderboard.fn(fitted or self.fitted, {}, self.splits, evaluator, store)

    def on_test(
        self, decision: Decision, settings: EvaluationSettings = SETTINGS, raw: StoredResult | None = None
    ) -> StoredResult:
        baseline, model = self.fitted.values()
        final = FinalFit("second", model, baseline, decision)
        return evaluate_on_test.fn(final, self.splits, raw or self.splits, settings, Store(self.folder))


def fit_with_facts(candidate: Candidate, rows: Dataset, folder: Path, seconds: float = 1.0) -> StoredResult:
    """Store a fit as the stage `train` does, under a key of its seconds."""
    model = candidate.fit(rows, rows, FitResources())
    facts = {"seconds": seconds, "stopped_by": None, "composition": {}, "importance": {}}
    stage = StageResult({}, {**facts, "model": class_name(model)}, model.files())
    return Store(folder).get_or_compute(f"{candidate} {seconds}", lambda: stage)


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    frame = pd.DataFrame({"x": truth + rng.normal(size=ROWS)})
    metadata = pd.DataFrame({"age": rng.integers(20, 60, ROWS)})
    rows = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64), metadata)
    tables = {"valid": rows.to_table(), "test": rows.to_table()}
    splits = Store(tmp_path).get_or_compute("split", lambda: StageResult(tables, {}))
    fitted = {
        "first": fit_with_facts(Constant(), rows, tmp_path),
        "second": fit_with_facts(Linear(), rows, tmp_path),
    }
    return Evaluated(tmp_path, fitted, splits)


def test_the_same_models_and_rows_are_evaluated_once(evaluated: Evaluated) -> None:
    first, again = evaluated.leaderboard(), evaluated.leaderboard()
    assert (first.reused, again.reused, again.folder) == (False, True, first.folder)
    entries = leaderboard_entries(again, evaluated.fitted)
    assert entries == leaderboard_entries(first, evaluated.fitted)
    assert [(entry["candidate"], entry["leads"]) for entry in entries] == [("first", False), ("second", True)]
    decision = entries[1]["decision"]
    test, repeated = evaluated.on_test(decision), evaluated.on_test(decision)
    assert (test.reused, repeated.reused) == (False, True)
    assert evaluation_facts(repeated) == evaluation_facts(test)


def test_out_of_fold_predictions_are_compared_on_train_and_valid(evaluated: Evaluated) -> None:
    """Those of `first` are the truth, so it leads with an AUC of 1, whatever its model predicts."""
    store = Store(evaluated.folder)
    valid = evaluated.splits.table("valid")
    tables = {"train": valid.iloc[:50], "valid": valid.iloc[50:]}
    splits = store.get_or_compute("small split", lambda: StageResult(tables, {}))
    truth = valid["truth"].to_numpy()
    predicted = {
        name: store.get_or_compute(
            f"cross-fit {name}",
            lambda values=values: StageResult(  # type: ignore[misc]
                {"predictions": pd.DataFrame({"probability": values})}, {"is_constant": False}
            ),
        )
        for name, values in (("first", 0.2 + 0.6 * truth), ("second", np.full(ROWS, 0.5)))
    }
    stored = build_leaderboard.fn(evaluated.fitted, predicted, splits, EVALUATOR, store)
    entries = leaderboard_entries(stored, evaluated.fitted)
    assert [(entry["value"], entry["leads"], entry["out_of_fold"]) for entry in entries] == [
        (1.0, True, True),
        (0.5, False, True),
    ]
    alone = build_leaderboard.fn(evaluated.fitted, {}, splits, EVALUATOR, store)
    assert not alone.reused
    assert not any(entry["out_of_fold"] for entry in leaderboard_entries(alone, evaluated.fitted))


def test_a_candidate_that_predicts_a_constant_is_left_out_by_name(evaluated: Evaluated) -> None:
    """The baseline may be a constant. The others are compared as if the constant one were not there."""
    flat = fit_with_facts(Constant(), load_dataset(evaluated.splits, "valid"), evaluated.folder, seconds=3.0)
    baseline, linear = evaluated.fitted.values()
    stored = evaluated.leaderboard(fitted={"baseline": baseline, "flat": flat, "linear": linear})
    assert list(stored.facts["left_out"]) == ["flat"]
    assert f"got the same one for all {ROWS}, as it cannot tell" in stored.facts["left_out"]["flat"]
    assert list(stored.facts["milliseconds_per_1000"]) == ["baseline", "flat", "linear"]
    without = evaluated.leaderboard(fitted={"baseline": baseline, "linear": linear})
    compared = [
        [(entry["candidate"], entry["leads"], entry.get("compared_with")) for entry in entries]
        for entries in (
            leaderboard_entries(stored, {"baseline": baseline, "linear": linear}),
            leaderboard_entries(without, {"baseline": baseline, "linear": linear}),
        )
    ]
    assert compared[0] == compared[1]
    assert [name for name, *_ in compared[0]] == ["baseline", "linear"]
    assert without.facts["left_out"] == {}


def test_a_candidate_that_predicts_a_constant_in_each_fold_is_left_out(evaluated: Evaluated) -> None:
    store = Store(evaluated.folder)
    valid = evaluated.splits.table("valid")
    tables = {"train": valid.iloc[:50], "valid": valid.iloc[50:]}
    splits = store.get_or_compute("small split", lambda: StageResult(tables, {}))
    table = pd.DataFrame({"probability": np.linspace(0.1, 0.9, ROWS)})
    predicted = {
        name: store.get_or_compute(
            f"cross-fit {name}",
            lambda: StageResult({"predictions": table}, {"is_constant": True}),
        )
        for name in evaluated.fitted
    }
    stored = build_leaderboard.fn(evaluated.fitted, predicted, splits, EVALUATOR, store)
    assert list(stored.facts["left_out"]) == ["second"]
    assert f"the same one for all {ROWS} within each fold" in stored.facts["left_out"]["second"]


def test_a_fresh_run_evaluates_again_with_the_same_result(evaluated: Evaluated) -> None:
    first, fresh = evaluated.leaderboard(), evaluated.leaderboard(fresh=True)
    assert not fresh.reused
    assert fresh.digest == first.digest


def test_a_reused_leaderboard_has_the_costs_of_the_fits_of_this_run(evaluated: Evaluated) -> None:
    stored = evaluated.leaderboard()
    # The same model, which a --fresh run has fitted again in another time.
    refitted = {**evaluated.fitted, "first": replace(evaluated.fitted["first"], reused=True)}
    refitted["first"] = replace(refitted["first"], facts={**refitted["first"].facts, "seconds": 9.0})
    again = evaluated.leaderboard(fitted=refitted)
    assert again.reused
    before, after = (leaderboard_entries(stored, fits) for fits in (evaluated.fitted, refitted))
    assert [(entry["seconds"], entry["reused"]) for entry in before] == [(1.0, False), (1.0, False)]
    assert [(entry["seconds"], entry["reused"]) for entry in after] == [(9.0, True), (1.0, False)]
    measured = stored.facts["milliseconds_per_1000"]
    assert {entry["candidate"]: entry["milliseconds_per_1000"] for entry in after} == measured


def test_other_models_rows_or_settings_are_evaluated_again(evaluated: Evaluated) -> None:
    evaluated.leaderboard()
    assert not evaluated.leaderboard(fitted=dict(reversed(evaluated.fitted.items()))).reused
    assert not evaluated.leaderboard(fitted={"second": evaluated.fitted["second"]}).reused
    assert not evaluated.leaderboard(BinaryEvaluator(chance_level=0.4)).reused
    other_rows = replace(evaluated, splits=other_split(evaluated))
    assert not other_rows.leaderboard().reused
    other_settings = replace(evaluated, splits=replace(evaluated.splits, facts={"decay": 0.5}))
    assert not other_settings.leaderboard().reused

    decision = {"threshold": 0.5}
    evaluated.on_test(decision)
    assert not evaluated.on_test({"threshold": 0.4}).reused
    assert not evaluated.on_test(decision, EvaluationSettings(EVALUATOR, seed=1)).reused
    assert not evaluated.on_test(decision, EvaluationSettings(EVALUATOR, sensitive=("age",))).reused
    assert not evaluated.on_test(decision, raw=evaluated.fitted["first"]).reused
    assert not other_rows.on_test(decision).reused
    assert evaluated.on_test(decision).reused


def other_split(evaluated: Evaluated) -> StoredResult:
    """Store a split without its last row."""
    tables = {name: evaluated.splits.table(name).head(ROWS - 1) for name in ("valid", "test")}
    return Store(evaluated.folder).get_or_compute("other split", lambda: StageResult(tables, {}))
