"""Fits: the data they use, when they are reused, and the facts they record."""

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
from ml.ensemble.bagging import CrossValidatedBag
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.errors import UnexpectedError
from ml.estimator import Candidate, FitResources
from ml.recommenders.popularity import Popularity
from ml.serialization import load_model
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.stored_datasets import load_dataset
from tasks.train import cross_fit, refit, restore_candidate, serialize_candidate, train

FAST = GradientBoosting(max_rounds=5)


def rows(count: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(size=count), "town": pd.Series(rng.choice(["N", "S"], count), dtype="str")}
    )
    truth = pd.Series((frame["x"] + rng.normal(size=count) > 0).astype(float))
    return Dataset(frame, truth, np.arange(count, dtype=np.uint64) + np.uint64(1000 * seed))


def make_histories(*items: list[str]) -> Dataset:
    users = [f"U{n}" for n in range(len(items))]
    frame = pd.DataFrame(
        {
            "user": pd.Series(users, dtype="str"),
            "items": items,
            "times": [[float(n) for n in range(len(history))] for history in items],
        }
    )
    return Dataset(frame, pd.Series([[]] * len(items), dtype=object), np.arange(len(items), dtype=np.uint64))


def store_split(store: Store, key: str, **datasets: Dataset) -> StoredResult:
    return store.get_or_compute(
        key, lambda: StageResult({name: dataset.to_table() for name, dataset in datasets.items()}, {})
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def splits(store: Store) -> StoredResult:
    return store_split(store, "split", train=rows(300, 1), valid=rows(100, 2), test=rows(100, 3))


def fit(
    candidate: Candidate, splits: StoredResult, store: Store, seed: int = 0, seconds: float = 60.0
) -> StoredResult:
    return train.fn("name", candidate, splits, FitResources(seed, 1, seconds), store)


@pytest.mark.parametrize("candidate", [Constant(), Linear(), FAST])
def test_the_stored_model_equals_the_fitted_one(
    candidate: Candidate, splits: StoredResult, store: Store
) -> None:
    fitted = fit(candidate, splits, store)
    files = {p.name: p.read_bytes() for p in fitted.folder.iterdir() if p.name != "manifest.json"}
    model = candidate.fit(rows(300, 1), rows(100, 2), FitResources())
    assert files == model.files()
    loaded = load_model(fitted.facts["model"], files)
    frame = rows(50, 4).frame
    pd.testing.assert_frame_equal(loaded.predict(frame), model.predict(frame), check_exact=True)


def test_the_fit_uses_the_sentinel_values_of_the_split_and_has_them_in_its_key(store: Store) -> None:
    def split(codes: dict[str, list[float]]) -> StoredResult:
        tables = {"train": rows(300, 1).to_table(), "valid": rows(100, 2).to_table()}
        return store.get_or_compute(f"split {codes}", lambda: StageResult(tables, {"sentinel_values": codes}))

    without, with_codes = fit(Linear(), split({}), store), fit(Linear(), split({"x": [0.0, 9.0]}), store)
    assert without.digest != with_codes.digest
    encodings = [
        json.loads((fitted.folder / "model.json").read_bytes())["encoding"]
        for fitted in (without, with_codes)
    ]
    assert [encoding["bins"][0]["sentinel_values"] for encoding in encodings] == [[], [0.0, 9.0]]


def test_the_facts_of_an_ensemble_have_its_members(splits: StoredResult, store: Store) -> None:
    ensemble = Ensemble(presets=(Preset(math.inf, 2, 1, {"linear": Linear(), "boosting": FAST}),))
    composition = fit(ensemble, splits, store).facts["composition"]
    assert [member["name"] for member in composition["members"]] == ["linear", "boosting"]
    assert fit(FAST, splits, store).facts["composition"] == {}


def test_facts_describe_the_fit(splits: StoredResult, store: Store) -> None:
    facts = fit(FAST, splits, store).facts
    assert facts["candidate"] == "name"
    assert facts["model"] == "ml.tabular.gradient_boosting:GradientBoostingModel"
    assert facts["parameters"]["candidate"] == "ml.tabular.gradient_boosting:GradientBoosting"
    assert facts["parameters"]["max_rounds"] == 5
    assert facts["stopped_by"] == "rounds"
    assert facts["seconds"] > 0
    assert set(facts["importance"]) == {"x", "town"}
    assert sum(facts["importance"].values()) == pytest.approx(1)
    assert fit(Constant(), splits, store).facts["stopped_by"] is None


def test_a_fit_is_reused_until_an_input_changes(splits: StoredResult, store: Store) -> None:
    first = fit(FAST, splits, store)
    again = fit(FAST, splits, store)
    assert (first.reused, again.reused) == (False, True)
    assert again.facts["seconds"] == first.facts["seconds"]
    other = store_split(store, "other", train=rows(300, 5), valid=rows(100, 2))
    assert not fit(FAST, other, store).reused
    assert not fit(GradientBoosting(max_rounds=6), splits, store).reused
    assert not fit(Constant(), splits, store).reused
    assert not fit(FAST, splits, store, seed=1).reused
    assert not fit(FAST, splits, store, seconds=59.0).reused


def test_a_repeated_fit_after_a_kill_reuses_completed_steps(splits: StoredResult, store: Store) -> None:
    """The trials of an ensemble are steps: completed ones are not run again."""
    ensemble = Ensemble(presets=(Preset(math.inf, 2, 1, {"boosting": FAST}),))
    messages: list[str] = []

    def interrupt_at_the_third(message: str) -> None:
        messages.append(message)
        if len(messages) == 3:
            raise KeyboardInterrupt

    def run() -> StoredResult:
        return train.fn("name", ensemble, splits, FitResources(0, 1, 60.0, trials=4), store)

    log = logging.getLogger("steward")
    handler = logging.Handler()
    handler.emit = lambda record: interrupt_at_the_third(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    level, log.level = log.level, logging.INFO
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
        before = {folder.name for folder, _ in store.objects()}
        fitted = run()
    finally:
        log.removeHandler(handler)
        log.level = level
    assert messages[-1] == "    name: trial 4: " + messages[-1].rpartition(": ")[2]
    steps = {
        folder.name: manifest
        for folder, manifest in store.objects()
        if set(manifest["facts"]) == {"loss", "seconds"}
    }
    assert len(before & set(steps)) >= 3
    # The seconds of the steps of the killed run are included.
    assert fitted.facts["seconds"] >= sum(m["facts"]["seconds"] for m in steps.values())
    trials = fitted.facts["composition"]["trials"]
    losses = [loss for trial in trials for loss in trial["losses"]]
    # Both runs together fitted each fold once: a second fit would be another object, as its seconds differ.
    assert sorted(m["facts"]["loss"] for m in steps.values()) == sorted(losses)


def test_the_number_of_threads_is_not_part_of_the_key(splits: StoredResult, store: Store) -> None:
    train.fn("name", FAST, splits, FitResources(0, 1, 60.0), store)
    assert train.fn("name", FAST, splits, FitResources(0, 2, 60.0), store).reused


def test_a_failed_fit_is_not_stored(store: Store) -> None:
    one_class = rows(100, 1)
    one_class = Dataset(one_class.frame, one_class.truth * 0, one_class.units)
    splits = store_split(store, "one class", train=one_class, valid=rows(100, 2))
    for _ in range(2):
        with pytest.raises(UnexpectedError, match="ValueError at"):
            fit(Linear(), splits, store)


def test_refit_uses_the_dataset_train_valid(store: Store) -> None:
    train_items = [["a"], ["a", "b"]]
    train_valid_items = [["a", "c"], ["a", "b", "c"], ["c"]]
    splits = store_split(
        store,
        "log",
        train=make_histories(*train_items),
        valid=make_histories(["a"]),
        test=make_histories(["a"]),
        train_valid=make_histories(*train_valid_items),
    )
    fitted = fit(Popularity(), splits, store)
    final = refit.fn("name", Popularity(), splits, FitResources(), store)
    users = make_histories([]).frame

    def scores(result: StoredResult) -> Mapping[str, float]:
        files = {p.name: p.read_bytes() for p in result.folder.iterdir() if p.name != "manifest.json"}
        prediction = load_model(result.facts["model"], files).predict(users)
        return dict(zip(prediction["item"], prediction["score"], strict=True))

    assert scores(fitted) == {"a": 2, "b": 1}
    assert scores(final) == {"c": 3, "a": 2, "b": 1}
    assert final.facts["importance"] == {}
    assert refit.fn("name", Popularity(), splits, FitResources(), store).reused


def test_a_candidate_gets_the_remaining_seconds(splits: StoredResult, store: Store) -> None:
    seconds: list[float] = []

    @dataclass(frozen=True)
    class Timed:
        def fit(self, train: Dataset, valid: Dataset, resources: FitResources):  # type: ignore[no-untyped-def]
            seconds.append(resources.seconds)
            return Constant().fit(train, valid, resources)

    train.fn("name", Timed(), splits, FitResources(0, 1, 7.5), store)
    refit_splits = store_split(store, "refit", train_valid=rows(50, 1), valid=rows(50, 2))
    refit.fn("name", Timed(), refit_splits, FitResources(), store)
    assert seconds == [7.5, math.inf]


@pytest.mark.parametrize(
    "candidate", [*fintech_risk.CASE.candidates.values(), CrossValidatedBag(Linear(max_bins=7), folds=3)]
)
def test_nested_hyperparameters_are_restored(candidate: Any) -> None:
    serialized = json.loads(json.dumps(serialize_candidate(candidate)))
    assert restore_candidate(serialized) == candidate
    assert serialized["candidate"] == f"{type(candidate).__module__}:{type(candidate).__name__}"


@pytest.mark.parametrize(
    ("serialized", "error"),
    [
        ({"candidate": "os:system"}, ImportError),
        ({"candidate": "ml.gone:Gone"}, ImportError),
        ({"candidate": "ml.tabular.linear:Gone"}, AttributeError),
        ({"candidate": "ml.tabular.linear:Linear", "gone": 1}, TypeError),
        (
            {
                "candidate": "ml.ensemble.bagging:CrossValidatedBag",
                "base_candidate": {"candidate": "subprocess:Popen"},
            },
            ImportError,
        ),
    ],
)
def test_only_known_classes_of_ml_are_restored(serialized: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        restore_candidate(serialized)


def test_cross_fitting_predicts_the_rows_of_train_and_valid_and_fits_to_all_of_them(
    splits: StoredResult, store: Store
) -> None:
    resources = FitResources(0, 1, 60.0)
    predicted = cross_fit.fn("name", Linear(), splits, resources, store)
    rows = load_dataset(splits, "train_valid")
    assert len(predicted.table("predictions")) == len(rows.frame) == 400
    fitted = train.fn("name", Linear(), splits, resources, store, "train_valid")
    expected = Linear().fit(rows, rows, resources)
    assert fitted.files() == expected.files()
    assert fitted.digest != fit(Linear(), splits, store).digest
    assert cross_fit.fn("name", Linear(), splits, resources, store).reused
    assert not cross_fit.fn("name", Linear(), splits, FitResources(1, 1, 60.0), store).reused
