"""The features stage: every dataset has the columns that were fitted on train, and a key of all that they depend on."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from pandas.testing import assert_frame_equal

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.estimator import FitResources
from ml.package import Package, write
from ml.tabular.linear import Linear
from tasks.features import compute_features, fitted_features, replaced_texts
from tasks.packaging import save_mlflow_model, synthetic_input_example
from tasks.score import model_inputs
from tasks.split import split, split_rows
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.stored_datasets import load_dataset

DATASETS = ("train", "valid", "test", "out_of_scope_valid", "out_of_scope_test")


def contract(kind: str = "ratio", **meta: Any) -> Contract:
    given = {
        "schema_version": 2,
        "read": {
            "files": ["x.csv"],
            "columns": {
                "id": "category",
                "label": "category",
                "a": "number",
                "b": "number",
                "at": "epoch",
                "note": "category",
            },
        },
        "roles": {
            "id": "id",
            "target": {"column": "label", "labels": ["x", "y"], "out_of_scope": ["z"]},
            "text": ["note"],
            "ignored": ["b"],
        },
        "split": {"by": "stratified"},
        "features": {
            "r": {"kind": kind, "columns": ["a", "b"]},
            "h": {"kind": "hour", "columns": ["at"]},
        },
        **meta,
    }
    return parse({"name": "fintech-risk.toy", "expectations": [], "meta": given})


def rows(count: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    words = ["loan", "house", "car", "job"]
    return pd.DataFrame(
        {
            "id": pd.Series([str(n) for n in range(count)], dtype="str"),
            "label": pd.Series(rng.choice(["x", "y", "z"], count), dtype="str"),
            "a": rng.normal(size=count),
            "b": rng.integers(0, 3, count).astype(float),
            "at": pd.Series(
                pd.to_datetime(rng.integers(10**9, 2 * 10**9, count), unit="s").astype("datetime64[us]")
            ),
            "note": pd.Series(
                [f"{rng.choice(words)} {rng.choice(words)} {rng.integers(10**12)}" for _ in range(count)],
                dtype="str",
            ),
        }
    )


def stored_split(store: Store, given: Contract) -> StoredResult:
    clean = store.get_or_compute("clean", lambda: StageResult({"clean": rows()}, {}))
    return split.fn(clean, given, split_rows, datetime(2050, 1, 1, tzinfo=UTC), store)


def test_every_dataset_has_the_columns_that_were_fitted_on_train(tmp_path: Path) -> None:
    store, given = Store(tmp_path), contract()
    splits = stored_split(store, given)
    datasets = compute_features.fn(splits, given, ("note",), store)
    fitted = fitted_features(datasets)
    assert fitted is not None
    assert set(datasets.table_names) == set(splits.table_names) == set(DATASETS)
    for name in DATASETS:
        before, after = load_dataset(splits, name), load_dataset(datasets, name)
        assert list(before.frame) == ["a", "b", "at", "note"]
        assert tuple(after.frame) == fitted.names
        assert not {"b", "at", "note"} & set(after.frame)
        assert_frame_equal(after.frame, fitted.transform(before.frame), check_exact=True)
        assert after.truth.equals(before.truth)
        assert (after.units == before.units).all()
        assert after.metadata.equals(before.metadata)
        assert (before.text_columns, after.text_columns) == (("note",), ())
        assert after.classes == ("x", "y")
    facts = datasets.facts
    assert [entry["description"] for entry in facts["declared"]] == ["a / b", "hour of at (UTC)"]
    assert 0.2 < facts["declared"][0]["missing"] < 0.45
    assert facts["texts"][0]["ngrams"] == 4
    # Numbers that one person wrote are in no file of the package.
    numbers = [note.split()[-1] for note in rows()["note"]]
    assert not [number for number in numbers if number in datasets.file("features.json").decode()]


def test_results_are_reused_until_something_that_they_depend_on_changes(tmp_path: Path) -> None:
    store, given = Store(tmp_path), contract()
    splits = stored_split(store, given)
    first = compute_features.fn(splits, given, ("note",), store)
    assert compute_features.fn(splits, given, ("note",), store).reused
    for other, texts in (
        (contract("difference"), ("note",)),
        (contract(), ()),
        (contract(sentinel_values={"a": {"0": "not asked"}}), ("note",)),
    ):
        changed = stored_split(store, other)
        # The content of the split is the same, its settings may differ.
        assert changed.digest == splits.digest
        assert not compute_features.fn(changed, other, texts, store).reused
    again = compute_features.fn(splits, given, ("note",), Store(tmp_path, fresh=True))
    assert again.digest == first.digest


def test_datasets_of_a_split_have_no_fitted_features(tmp_path: Path) -> None:
    assert (
        fitted_features(stored_split(Store(tmp_path), contract(features={}, roles=_without_time()))) is None
    )


def _without_time() -> dict[str, Any]:
    return {"target": {"column": "label", "positive": ["x"]}, "time": "at"}


def test_only_texts_that_candidates_do_not_read_are_replaced() -> None:
    assert replaced_texts(contract(), reads_texts=False) == ("note",)
    assert replaced_texts(contract(), reads_texts=True) == ()
    no_feature = {
        "target": {"column": "label", "positive": ["x"]},
        "text": ["note"],
        "ignored": ["note", "at"],
    }
    assert replaced_texts(contract(features={}, roles=no_feature), reads_texts=False) == ()


def test_signature_and_scoring_have_the_input_columns() -> None:
    given = contract()
    example = synthetic_input_example(json.loads(json.dumps(given.source)))
    assert list(example) == ["a", "b", "at", "note"] == list(model_inputs(rows(), given))
    assert example["at"].dtype.kind == "M"


def test_a_served_model_takes_times_as_text(tmp_path: Path) -> None:
    """MLflow's server reads JSON by the signature; the answers are those for a table."""
    store, given = (
        Store(tmp_path / "store"),
        contract(roles=_without_time() | {"text": ["note"], "time": None}),
    )
    datasets = compute_features.fn(stored_split(store, given), given, ("note",), store)
    train = load_dataset(datasets, "train")
    model = Linear().fit(train, train, FitResources(seed=0, threads=1))
    package = Package(model, given.source, {}, train.units, features=fitted_features(datasets))
    (tmp_path / "package").mkdir()
    write(package, tmp_path / "package")
    save_mlflow_model(package, tmp_path / "package", tmp_path / "model")
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    raw = model_inputs(rows(20), given)
    raw.loc[0, ["a", "at"]] = None
    text = raw.astype({"at": "str"}).astype(object)
    request = json.loads(json.dumps({"dataframe_records": text.where(text.notna(), None).to_dict("records")}))
    got = served.predict(infer_and_parse_data(request, served.metadata.get_input_schema()))
    assert_frame_equal(got, package.predict(raw))
