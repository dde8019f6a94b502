"""Fits: what is learned from, what is reused, and what is written down about them."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import fintech_risk
from ml.data.dataset import Dataset
from ml.ensemble.bagging import Bagged
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.estimator import Candidate, FitResources
from ml.recommenders.popularity import Popularity
from ml.serialization import load_model
from ml.tabular.constant import Prior
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.train import described, keep, rebuilt, refit, train

FAST = GradientBoosting(max_rounds=5)


def rows(count: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(size=count), "town": pd.Series(rng.choice(["N", "S"], count), dtype="str")}
    )
    truth = pd.Series((frame["x"] + rng.normal(size=count) > 0).astype(float))
    return Dataset(frame, truth, np.arange(count, dtype=np.uint64) + np.uint64(1000 * seed))


def histories(*items: list[str]) -> Dataset:
    users = [f"U{n}" for n in range(len(items))]
    frame = pd.DataFrame(
        {
            "user": pd.Series(users, dtype="str"),
            "items": items,
            "times": [[float(n) for n in range(len(i))] for i in items],
        }
    )
    return Dataset(frame, pd.Series([[]] * len(items), dtype=object), np.arange(len(items), dtype=np.uint64))


def stored(store: Store, key: str, **parts: Dataset) -> StoredResult:
    return store.get_or_compute(
        key, lambda: StageResult({name: part.to_table() for name, part in parts.items()}, {})
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def parts(store: Store) -> StoredResult:
    return stored(store, "parts", train=rows(300, 1), valid=rows(100, 2), test=rows(100, 3))


def fit(
    candidate: Candidate, parts: StoredResult, store: Store, seed: int = 0, budget: float = 60.0
) -> StoredResult:
    return train.fn("it", candidate, parts, FitResources(seed, 1, budget), budget, store)


@pytest.mark.parametrize("candidate", [Prior(), Linear(), FAST])
def test_the_stored_model_is_the_fitted_one(candidate: Candidate, parts: StoredResult, store: Store) -> None:
    fitted = fit(candidate, parts, store)
    files = {p.name: p.read_bytes() for p in fitted.folder.iterdir() if p.name != "manifest.json"}
    model = candidate.fit(rows(300, 1), rows(100, 2), FitResources())
    assert files == model.files()
    loaded = load_model(fitted.facts["model"], files)
    frame = rows(50, 4).frame
    pd.testing.assert_frame_equal(loaded.predict(frame), model.predict(frame), check_exact=True)


def test_special_codes_of_the_split_reach_the_fit_and_its_key(store: Store) -> None:
    def split(codes: dict[str, list[float]]) -> StoredResult:
        tables = {"train": rows(300, 1).to_table(), "valid": rows(100, 2).to_table()}
        return store.get_or_compute(f"parts {codes}", lambda: StageResult(tables, {"special": codes}))

    plain, coded = fit(Linear(), split({}), store), fit(Linear(), split({"x": [0.0, 9.0]}), store)
    assert plain.digest != coded.digest
    encodings = [json.loads((one.folder / "model.json").read_bytes())["encoding"] for one in (plain, coded)]
    assert [one["bins"][0]["special"] for one in encodings] == [[], [0.0, 9.0]]


def test_an_ensemble_tells_of_its_members(parts: StoredResult, store: Store) -> None:
    few = Ensemble(presets=(Preset(math.inf, 2, 1, {"linear": Linear(), "boosting": FAST}),))
    described = fit(few, parts, store).facts["made_of"]
    assert [member["name"] for member in described["members"]] == ["linear", "boosting"]
    assert fit(FAST, parts, store).facts["made_of"] == {}


def test_facts_say_what_was_fitted(parts: StoredResult, store: Store) -> None:
    facts = fit(FAST, parts, store).facts
    assert facts["candidate"] == "it"
    assert facts["model"] == "ml.tabular.gradient_boosting:GradientBoostingModel"
    assert facts["parameters"]["candidate"] == "ml.tabular.gradient_boosting:GradientBoosting"
    assert facts["parameters"]["max_rounds"] == 5
    assert facts["stopped_by"] == "rounds"
    assert facts["seconds"] > 0
    assert set(facts["importance"]) == {"x", "town"}
    assert sum(facts["importance"].values()) == pytest.approx(1)
    assert fit(Prior(), parts, store).facts["stopped_by"] is None


def test_a_fit_is_reused_until_something_it_is_made_from_changes(parts: StoredResult, store: Store) -> None:
    first = fit(FAST, parts, store)
    again = fit(FAST, parts, store)
    assert (first.reused, again.reused) == (False, True)
    # A repeated run counts the seconds that the fit once took.
    assert again.facts["seconds"] == first.facts["seconds"]
    other = stored(store, "other", train=rows(300, 5), valid=rows(100, 2))
    assert not fit(FAST, other, store).reused
    assert not fit(GradientBoosting(max_rounds=6), parts, store).reused
    assert not fit(Prior(), parts, store).reused
    assert not fit(FAST, parts, store, seed=1).reused
    assert not fit(FAST, parts, store, budget=59.0).reused


def test_a_fit_that_was_killed_goes_on_with_the_steps_it_took(parts: StoredResult, store: Store) -> None:
    """Trials of a mixture are steps: what was tried before a kill is not tried again."""
    few = Ensemble(presets=(Preset(math.inf, 2, 1, {"boosting": FAST}),))
    told: list[str] = []

    def killed_after_three(said: str) -> None:
        told.append(said)
        if len(told) == 3:
            raise KeyboardInterrupt

    def run(memory: Store) -> StoredResult:
        return train.fn("it", few, parts, FitResources(0, 1, 60.0, trials=4), 60.0, memory)

    log = logging.getLogger("steward")
    handler = logging.Handler()
    handler.emit = lambda record: killed_after_three(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    level, log.level = log.level, logging.INFO
    try:
        with pytest.raises(KeyboardInterrupt):
            run(store)
        steps = {one.name for one, _ in store.objects()}
        fitted = run(store)
    finally:
        log.removeHandler(handler)
        log.level = level
    assert told[-1] == "    it: trial 4: " + told[-1].rpartition(": ")[2]
    taken = {
        one.name: manifest
        for one, manifest in store.objects()
        if set(manifest["facts"]) == {"loss", "seconds"}
    }
    assert len(steps & set(taken)) >= 3
    # What the killed run had spent on steps is part of the price.
    assert fitted.facts["seconds"] >= sum(m["facts"]["seconds"] for m in taken.values())
    trials = fitted.facts["made_of"]["trials"]
    losses = [loss for trial in trials for loss in trial["losses"]]
    # One object for each fold that was learned, in both runs together: seconds would tell two of the same apart.
    assert sorted(m["facts"]["loss"] for m in taken.values()) == sorted(losses)


def test_what_is_left_of_the_budget_is_no_part_of_the_key(parts: StoredResult, store: Store) -> None:
    train.fn("it", FAST, parts, FitResources(0, 1, 60.0), 60.0, store)
    assert train.fn("it", FAST, parts, FitResources(0, 2, 41.5), 60.0, store).reused


def test_a_fit_that_fails_is_not_remembered(store: Store) -> None:
    one_class = rows(100, 1)
    one_class = Dataset(one_class.frame, one_class.truth * 0, one_class.units)
    parts = stored(store, "one class", train=one_class, valid=rows(100, 2))
    for _ in range(2):
        with pytest.raises(ValueError, match="class"):
            fit(Linear(), parts, store)


def test_keep_gives_back_what_was_fitted(parts: StoredResult, store: Store) -> None:
    fitted = fit(Prior(), parts, store)
    assert keep("it", Prior(), fitted, parts, FitResources(), store) is fitted


def test_refit_learns_from_all_before_the_test(store: Store) -> None:
    past = [["a"], ["a", "b"]]
    more = [["a", "c"], ["a", "b", "c"], ["c"]]
    parts = stored(
        store,
        "log",
        train=histories(*past),
        valid=histories(["a"]),
        test=histories(["a"]),
        refit=histories(*more),
    )
    fitted = fit(Popularity(), parts, store)
    final = refit.fn("it", Popularity(), fitted, parts, FitResources(), store)
    asked = histories([]).frame

    def scores(of: StoredResult) -> Mapping[str, float]:
        files = {p.name: p.read_bytes() for p in of.folder.iterdir() if p.name != "manifest.json"}
        prediction = load_model(of.facts["model"], files).predict(asked)
        return dict(zip(prediction["item"], prediction["score"], strict=True))

    assert scores(fitted) == {"a": 2, "b": 1}
    assert scores(final) == {"c": 3, "a": 2, "b": 1}
    assert final.facts["importance"] == {}
    assert refit.fn("it", Popularity(), fitted, parts, FitResources(), store).reused


def test_a_candidate_gets_the_seconds_that_are_left(parts: StoredResult, store: Store) -> None:
    seconds: list[float] = []

    @dataclass(frozen=True)
    class Timed:
        def fit(self, train: Dataset, valid: Dataset, resources: FitResources):  # type: ignore[no-untyped-def]
            seconds.append(resources.seconds)
            return Prior().fit(train, valid, resources)

    train.fn("it", Timed(), parts, FitResources(0, 1, 7.5), 60.0, store)
    refit.fn(
        "it", Timed(), parts, stored(store, "r", refit=rows(50, 1), valid=rows(50, 2)), FitResources(), store
    )
    assert seconds == [7.5, math.inf]


@pytest.mark.parametrize(
    "candidate", [*fintech_risk.CASE.candidates.values(), Bagged(Linear(bins=7), folds=3)]
)
def test_hyperparameters_are_read_back_however_deep(candidate: Any) -> None:
    told = json.loads(json.dumps(described(candidate)))
    assert rebuilt(told) == candidate
    assert told["candidate"] == f"{type(candidate).__module__}:{type(candidate).__name__}"


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"candidate": "os:system"}, ImportError),
        ({"candidate": "ml.gone:Gone"}, ImportError),
        ({"candidate": "ml.tabular.linear:Gone"}, AttributeError),
        ({"candidate": "ml.tabular.linear:Linear", "gone": 1}, TypeError),
        (
            {"candidate": "ml.ensemble.bagging:Bagged", "member": {"candidate": "subprocess:Popen"}},
            ImportError,
        ),
    ],
)
def test_what_the_code_does_not_know_is_not_made(told: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        rebuilt(told)
