"""The choice among candidates: the simplest model that nothing beats wins, however many are tried; and the exam."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources
from ml.evaluation.evaluator import BinaryEvaluator, Evaluator
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.recommenders.item_knn import ItemKNN
from ml.serialization import class_name
from ml.tabular.linear import Linear
from tasks.evaluate import evaluate_on_test, select_leader
from tasks.reporting.report import render
from tasks.storage.content_store import StageResult, Store

JUDGE = BinaryEvaluator()
ROWS = 400


def held(columns: Mapping[str, np.ndarray], truth: np.ndarray) -> tuple[str, dict[str, dict[str, Any]]]:
    """The contest of models that answer with these columns, in their order."""
    part = Dataset(pd.DataFrame(index=range(ROWS)), pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    return select_leader({n: pd.DataFrame({"probability": p}) for n, p in columns.items()}, part, JUDGE)


def drawn(rng: np.random.Generator) -> np.ndarray:
    return (rng.random(ROWS) < 0.4).astype(float)


def scores(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probabilities that tell something of the truth."""
    return 1.0 / (1.0 + np.exp(-(truth + rng.normal(size=ROWS))))


def test_the_simplest_that_nothing_beats_leads() -> None:
    rng = np.random.default_rng(0)
    truth = drawn(rng)
    good = scores(truth, rng)
    leader, others = held({"flat": np.full(ROWS, 0.5), "good": good, "same": good, "bad": 1 - good}, truth)
    assert leader == "good"
    assert {name: line["candidate"] for name, line in others.items()} == {
        "good": "flat",
        "same": "good",
        "bad": "good",
    }
    assert [line["level"] for line in others.values()] == pytest.approx([1.0 - 0.1 / 3] * 3)


def test_one_candidate_leads_unopposed() -> None:
    truth = drawn(np.random.default_rng(0))
    assert held({"only": np.full(ROWS, 0.5)}, truth) == ("only", {})


def test_an_advantage_within_the_chance_of_all_comparisons_does_not_lead() -> None:
    """The same two candidates, alone and among others: what one comparison would believe, four do not."""
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        truth = drawn(rng)
        plain = scores(truth, rng)
        lucky = scores(truth, rng)
        leader, others = held({"plain": plain, "lucky": lucky}, truth)
        if leader == "lucky" and others["lucky"]["p_value"] > 0.1 / 4:
            break
    else:
        pytest.fail("no seed gave an advantage of that size")
    rest = {name: np.full(ROWS, 0.5) for name in ("first", "second", "third")}
    among, more = held({"plain": plain, **rest, "lucky": lucky}, truth)
    assert among == "plain"
    assert more["lucky"]["p_value"] == pytest.approx(others["lucky"]["p_value"])
    assert more["lucky"]["low"] < 0 < others["lucky"]["low"]


def test_chance_leads_in_no_more_runs_than_promised() -> None:
    """Five models that are worth the same: the first stays in front in at least 95 of 100 runs."""
    runs, wrong = 400, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = drawn(rng)
        wrong += held({f"m{n}": scores(truth, rng) for n in range(5)}, truth)[0] != "m0"
    # 20 are promised; a rate of 5 % gives more than 32 with a chance of .003 (binomial), one without the
    # correction far more: about one of eight.
    assert 0 < wrong <= 32


# --- the exam ------------------------------------------------------------------------------------------------------


def judged(
    candidate: Candidate, judge: Evaluator, part: Dataset, folder: Path, **facts: Any
) -> dict[str, Any]:
    """What the exam finds of a model that learned from the very rows that it is asked about."""
    store, model = Store(folder), candidate.fit(part, part, FitResources())
    about = {"model": class_name(model), "importance": {}}
    fitted = store.get_or_compute("model", lambda: StageResult({}, about, model.files()))
    parts = store.get_or_compute("parts", lambda: StageResult({"test": part.to_table()}, facts))
    decision = judge.decision(part, model.predict(part.frame))
    return evaluate_on_test.fn(fitted, fitted, parts, parts, judge, decision, (), 0)


def shoppers(users: int = 60) -> Dataset:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": pd.Series([f"person-{n:03}" for n in range(users)], dtype="str")})
    lists = [[f"{'ab'[n % 2]}{i:02}" for i in rng.choice(30, rng.integers(1, 15))] for n in range(users)]
    frame["items"] = pd.Series(lists, dtype=object)
    frame["times"] = pd.Series([[float(t) for t in range(len(of))] for of in lists], dtype=object)
    truth = pd.Series([[f"{'ab'[n % 2]}{rng.integers(30):02}"] for n in range(users)], dtype=object)
    return Dataset(frame, truth, rng.integers(2**60, 2**63, users).astype(np.uint64))


def test_shoppers_and_their_reasons_name_no_user(tmp_path: Path) -> None:
    part = shoppers()
    found = judged(ItemKNN(), RankingEvaluator(), part, tmp_path)
    assert [one["shopper"] for one in found["shoppers"]] == ["A", "B", "C"]
    assert all(line["because"] for one in found["shoppers"] for line in one["recommended"])
    assert found["about_data"]["order"]["meaning"]
    told = json.dumps(found)
    facts = {
        "case": "shop",
        "question": "?",
        "data": "d",
        "contract": "c",
        "stages": [],
        "gates": [],
        "test": found,
    }
    for text in (told, render(facts)):
        assert "person" not in text
        assert not any(str(unit) in text for unit in part.units)


def test_items_that_may_repeat_count_as_popular(tmp_path: Path) -> None:
    """The split says whether a shopper's own items are in the list that a hit is held against."""
    part = shoppers()
    part.truth.iloc[:] = [items[:1] for items in part.frame["items"]]
    taught = Dataset(part.frame, part.truth, part.units, allow_repeats=True)
    yes, no = (
        judged(ItemKNN(), RankingEvaluator(k=20), taught, tmp_path / str(repeat), repeat=repeat)["metrics"]
        for repeat in (True, False)
    )
    assert yes["serendipity_at_20"] > no["serendipity_at_20"]
    assert yes["ndcg_at_20"] == no["ndcg_at_20"]


def test_rows_of_persons_are_no_examples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = drawn(rng)
    frame = pd.DataFrame({"x": truth + rng.normal(size=ROWS)})
    part = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    found = judged(Linear(), JUDGE, part, tmp_path)
    assert found["value"] > 0.6
    assert not {"shoppers", "about_data"} & set(found)
