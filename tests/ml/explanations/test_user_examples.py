"""User examples agree with the model, do not depend on the order of rows, and identify no user."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.explanations.user_examples import UserExample, user_examples
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.popularity import Popularity


def dataset_of(users: int) -> Dataset:
    """Return a data set where user n has the first n items of one random order."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"user": pd.Series([f"person-{n:02}" for n in range(users)], dtype="str")})
    order = [f"i{n:02}" for n in rng.permutation(40)]
    frame["items"] = pd.Series([order[:n] for n in range(users)], dtype=object)
    frame["times"] = pd.Series([list(map(float, range(n))) for n in range(users)], dtype=object)
    truth = pd.Series([[order[n], *order[25:38]] for n in range(users)], dtype=object)
    return Dataset(frame, truth, rng.permutation(users).astype(np.uint64) + 2**62)


DATASET = dataset_of(22)
MODEL = ItemKNN().fit(DATASET, DATASET, FitResources())


def examples_of(dataset: Dataset = DATASET, model: Any = MODEL) -> list[UserExample]:
    return user_examples(dataset, model.predict(dataset.frame), model)


def test_users_are_at_the_quartiles_of_history_length() -> None:
    examples = examples_of()
    # Lengths are 2 to 21.
    assert [(example["user"], example["events"]) for example in examples] == [("A", 6), ("B", 11), ("C", 16)]
    for example in examples:
        row = example["events"]
        assert example["history"] == DATASET.frame["items"][row][-8:]
        assert example["chosen"] == DATASET.truth[row][:8]
        assert example["more_chosen"] == 6


def test_recommendations_are_the_first_of_the_model_and_weights_sum_to_one() -> None:
    prediction = MODEL.predict(DATASET.frame)
    for example in examples_of():
        row, recommended = example["events"], example["recommended"]
        listed = prediction[prediction["user"] == DATASET.frame["user"][row]]["item"].head(5).tolist()
        assert [entry["item"] for entry in recommended] == listed
        assert [entry["chosen"] for entry in recommended] == [item in DATASET.truth[row] for item in listed]
        for entry in recommended:
            assert entry["explanation"] is not None
            assert {reason["item"] for reason in entry["explanation"]} <= set(example["history"])
            assert len(entry["explanation"]) <= 3
            weight = sum(reason["weight"] for reason in entry["explanation"])
            assert weight + entry["other_items_weight"] + entry["earlier_items_weight"] == pytest.approx(1)
    assert examples_of()[0]["recommended"][0]["earlier_items_weight"] == 0
    assert examples_of()[2]["recommended"][0]["earlier_items_weight"] > 0


def test_weights_are_proportional_to_the_similarities_of_the_model() -> None:
    assert isinstance(MODEL, ItemKNNModel)
    example = examples_of()[0]
    code_of = {item: code for code, item in enumerate(MODEL.catalogue.items)}
    entry = example["recommended"][0]
    similarity = {
        item: float(MODEL.similarity[code_of[item], code_of[entry["item"]]]) for item in example["history"]
    }
    assert entry["explanation"]
    for reason in entry["explanation"]:
        expected = similarity[reason["item"]] / sum(similarity.values())
        assert reason["weight"] == pytest.approx(expected, rel=1e-5)


def test_examples_have_no_user_ids_and_only_the_last_items() -> None:
    examples = examples_of()
    text = json.dumps(examples)
    assert "person" not in text
    assert not any(str(unit) in text for unit in DATASET.units)
    longest = examples[2]
    early = set(DATASET.frame["items"][16][:8])
    explained = [reason["item"] for entry in longest["recommended"] for reason in entry["explanation"] or []]
    assert explained
    assert not early & {*longest["history"], *explained}


def test_examples_do_not_depend_on_the_order_of_rows() -> None:
    assert examples_of(DATASET.take(np.random.default_rng(0).permutation(22))) == examples_of()


def test_popularity_has_empty_explanations_and_unexplainable_models_have_none() -> None:
    popularity = Popularity().fit(DATASET, DATASET, FitResources())
    for example in examples_of(model=popularity):
        assert all(entry["explanation"] == [] for entry in example["recommended"])
    for example in user_examples(DATASET, MODEL.predict(DATASET.frame), object()):  # type: ignore[arg-type]
        assert all(entry["explanation"] is None for entry in example["recommended"])


@pytest.mark.parametrize(("users", "names"), [(2, ""), (3, "A"), (4, "A"), (5, "AB"), (7, "ABC")])
def test_few_users_give_few_examples(users: int, names: str) -> None:
    examples = examples_of(DATASET.take(np.arange(users)))
    assert "".join(example["user"] for example in examples) == names
