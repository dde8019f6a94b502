"""Fitted features: what models see in training and serving is the same; no word of few people is kept."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.decomposition import TruncatedSVD

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.errors import FeatureError, PackagingError
from ml.estimator import FitResources
from ml.features.fitted_features import ARRAYS_FILE, STATE_FILE, FittedFeatures
from ml.features.text_topics import TOPICS, TextTopics
from ml.package import Package, read, to_files, write
from ml.serialization import from_safetensors, to_safetensors
from ml.tabular.linear import Linear

WORDS = [
    "loan",
    "house",
    "car",
    "job",
    "rent",
    "bank",
    "child",
    "doctor",
    "school",
    "holiday",
    "kitchen",
    "garden",
    "tax",
    "wage",
    "debt",
]
COLUMNS = {
    "y": "category",
    "debt": "number",
    "income": "integer",
    "at": "time",
    "town": "category",
    "note": "category",
}
FEATURES: dict[str, Any] = {
    "share": {"kind": "ratio", "columns": ["debt", "income"]},
    "hour": {"kind": "hour", "columns": ["at"]},
    "no_income": {"kind": "missing", "columns": ["income"]},
}


def contract(features: dict[str, Any] | None = None, **roles: Any) -> Contract:
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": COLUMNS},
        "roles": {"target": {"column": "y", "positive": ["1"]}, "text": ["note"], **roles},
        "features": FEATURES if features is None else features,
        "sentinel_values": {"income": {"-1": "not asked"}},
    }
    return parse({"name": "toy.loans", "expectations": [], "meta": meta})


def train(count: int = 200, per_person: int = 1) -> Dataset:
    rng = np.random.default_rng(0)
    notes = [
        " ".join(rng.choice(WORDS, rng.integers(2, 9))) + f" person{n // per_person}" for n in range(count)
    ]
    frame = pd.DataFrame(
        {
            "debt": rng.uniform(0, 9, count),
            "income": rng.choice([-1.0, 0.0, 1.0, 2.0, np.nan], count),
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9999, count), "h"),
            "town": pd.Series(rng.choice(["a", "b"], count), dtype="str"),
            "note": pd.Series(notes, dtype="str").mask(rng.random(count) < 0.1),
        }
    )
    frame["at"] = frame["at"].astype("datetime64[us]").mask(rng.random(count) < 0.1)
    truth = pd.Series((frame["debt"] + rng.normal(size=count) > 4.5).astype("float64"))
    return Dataset(frame, truth, (np.arange(count) // per_person).astype(np.uint64))


def fitted(**options: Any) -> FittedFeatures:
    return FittedFeatures.fit(train(), contract(**options), ("note",))


def test_models_see_kept_declared_and_text_columns_only() -> None:
    features = FittedFeatures.fit(train(), contract(ignored=["income"]), ("note",))
    frame = features.transform(train().frame)
    assert tuple(frame.columns) == features.names
    topics = [f"note: topic {n}" for n in range(1, len(WORDS) + 1)]
    assert list(frame) == ["debt", "town", *FEATURES, *topics, "note: characters", "note: words"]


def test_texts_that_candidates_read_stay_as_they_are() -> None:
    features = FittedFeatures.fit(train(), contract(), ())
    assert "note" in features.transform(train().frame)
    assert ARRAYS_FILE not in features.files()
    assert features.requirements == ()


def test_single_rows_and_shuffled_batches_have_the_values_of_the_batch() -> None:
    features, frame = fitted(), train().frame
    batch = features.transform(frame)
    single = pd.concat([features.transform(frame.iloc[[n]]) for n in range(len(frame))])
    assert_frame_equal(batch, single, check_exact=True)
    order = np.random.default_rng(1).permutation(len(frame))
    assert_frame_equal(features.transform(frame.iloc[order]), batch.iloc[order], check_exact=True)


def test_saved_and_loaded_features_are_identical() -> None:
    features, frame = fitted(), train().frame
    loaded = FittedFeatures.from_files(features.files())
    assert_frame_equal(loaded.transform(frame), features.transform(frame), check_exact=True)
    assert loaded.files() == features.files() == fitted().files()


def test_topics_agree_with_truncated_svd_up_to_the_sign() -> None:
    data = train()
    topics = TextTopics.fit(data.frame["note"], data.units)
    known = data.frame["note"].dropna()
    weighted = topics.weights.encode(known.tolist()).astype(np.float64)
    reference = TruncatedSVD(5, algorithm="arpack", random_state=0).fit_transform(weighted)
    got = topics.transform(known).to_numpy()[:, :5]
    assert np.abs(got) == pytest.approx(np.abs(reference), abs=1e-9)
    largest = np.abs(topics.directions).argmax(axis=0)
    assert (topics.directions[largest, np.arange(topics.directions.shape[1])] > 0).all()
    assert topics.directions.shape[1] <= TOPICS


def test_words_of_few_people_are_left_out_however_often_they_write_them() -> None:
    rare = train(200, per_person=20)
    notes = rare.frame["note"].fillna("")
    # Each of ten people signs 20 notes; "fee" is in the notes of all of them.
    topics = TextTopics.fit((notes + " fee").rename("note"), rare.units)
    assert "fee" in topics.weights.vocabulary
    assert not [word for word in topics.weights.vocabulary if word.startswith("person")]
    assert b"person" not in fitted().files()[STATE_FILE]


@pytest.mark.parametrize(
    "texts", [["a b"] * 5, ["", None] * 20, ["\u200b"] * 30, ["贷款买房子"] * 30, ["🙂"] * 30]
)
def test_texts_without_common_words_have_lengths_at_most(texts: list[str | None]) -> None:
    column = pd.Series(texts, dtype="str", name="note")
    topics = TextTopics.fit(column, np.arange(len(texts), dtype=np.uint64))
    values = topics.transform(column)
    assert np.isfinite(values.to_numpy()[values["note: words"].notna()]).all()
    new = topics.transform(pd.Series(["unknown words", None, "x" * 100_000], dtype="str", name="note"))
    assert new["note: words"].iloc[0] == 2
    assert new.iloc[1].isna().all()
    assert new["note: characters"].iloc[2] == 10_000


def test_a_feature_without_any_value_is_refused() -> None:
    data = train()
    empty = Dataset(data.frame.assign(income=0.0), data.truth, data.units)
    with pytest.raises(FeatureError, match="in at least one row of train; got none of 'share'"):
        FittedFeatures.fit(empty, contract(), ())


def test_two_columns_with_one_name_are_refused() -> None:
    clash = {"note: words": {"kind": "hour", "columns": ["at"]}}
    with pytest.raises(FeatureError, match="'note: words' more than once"):
        fitted(features=clash)


def test_missing_columns_and_other_values_are_refused() -> None:
    features, frame = fitted(), train().frame
    for column in ("debt", "at", "note"):
        with pytest.raises(ValueError, match=f"without .*{column}"):
            features.transform(frame.drop(columns=column))
    with pytest.raises(ValueError, match="expected text in 'note', got float"):
        features.transform(frame.assign(note=1.5))


def package() -> Package:
    data, parsed = train(), contract()
    features = FittedFeatures.fit(data, parsed, ("note",))
    seen = Dataset(features.transform(data.frame), data.truth, data.units)
    model = Linear().fit(seen, seen, FitResources(seed=0, threads=1))
    return Package(model, parsed.source, {"threshold": 0.5}, data.units, features=features)


def test_package_predicts_single_json_rows_as_the_batch(tmp_path: Any) -> None:
    packed, frame = package(), train().frame.head(30)
    write(packed, tmp_path)
    loaded = read(tmp_path)
    batch = loaded.predict(frame)
    assert_frame_equal(batch, packed.predict(frame), check_exact=True)
    assert "safetensors" in packed.requirements
    text = frame.astype({"at": "str"}).astype(object)
    for n, values in enumerate(text.where(text.notna(), None).to_dict("records")):
        row = loaded.predict_row({**json.loads(json.dumps(values)), "other": 1})
        assert row["probability"] == pytest.approx(batch["probability"].iloc[n], abs=1e-12)
        assert row["decision"] == batch["decision"].iloc[n]
    with pytest.raises(ValueError, match="without"):
        loaded.predict_row({"debt": 1.0})


@pytest.mark.parametrize("damage", ["state", "arrays", "shapes", "no arrays"])
def test_damaged_features_with_matching_digests_are_a_packaging_error(damage: str, tmp_path: Any) -> None:
    packed = package()
    files = packed.features.files() if packed.features else {}
    if damage == "state":
        files[STATE_FILE] = b"[]"
    elif damage == "arrays":
        files[ARRAYS_FILE] = b"x"
    elif damage == "shapes":
        arrays = from_safetensors(files[ARRAYS_FILE])
        files[ARRAYS_FILE] = to_safetensors({name: array[:1] for name, array in arrays.items()})
    else:
        del files[ARRAYS_FILE]

    class Damaged(FittedFeatures):
        def files(self) -> dict[str, bytes]:
            return files

    damaged = Damaged((), {}, {}, ())
    write(Package(packed.model, packed.contract, {}, packed.training_entities, features=damaged), tmp_path)
    with pytest.raises(PackagingError, match="a readable features beside the model"):
        read(tmp_path)


def test_a_package_without_features_has_no_folder_of_them() -> None:
    packed = package()
    plain = Package(packed.model, packed.contract, {}, packed.training_entities)
    assert not [name for name in to_files(plain) if name.startswith("features/")]
