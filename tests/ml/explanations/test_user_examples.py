"""User examples agree with the model, do not depend on the order of rows, and identify no user."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.explanations.user_examples import UserExample, user_examples
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.popularity import Popularity


def dataset_of(lengths: int, copies: int = 10) -> Dataset:
    """Return a data set where user n has the first n items of one random order; there are ten of each length."""
    rng = np.random.default_rng(5)
    users = lengths * copies
    frame = pd.DataFrame({"user": pd.Series([f"person-{n:03}" for n in range(users)], dtype="str")})
    order = [f"i{n:02}" for n in rng.permutation(40)]
    frame["items"] = pd.Series([order[: n % lengths] for n in range(users)], dtype=object)
    frame["times"] = pd.Series([list(map(float, range(n % lengths))) for n in range(users)], dtype=object)
    truth = pd.Series([[order[n % lengths], *order[25:38]] for n in range(users)], dtype=object)
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
    assert examples_of(DATASET.take(np.random.default_rng(0).permutation(220))) == examples_of()


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


def test_items_of_few_users_have_no_name() -> None:
    """Nine users of each length: the last items of the order are those of one length, so of nine users."""
    dataset = dataset_of(22, copies=9)
    users = Counter(
        item
        for history, chosen in zip(dataset.frame["items"], dataset.truth, strict=True)
        for item in {*history, *chosen}
    )
    rare = {item for item, count in users.items() if count < 10}
    assert rare
    row = int(np.flatnonzero(dataset.frame["items"].map(len) == 21)[0])
    named = json.dumps(examples_of(dataset.take(np.array([row]))))
    # One user alone has only items of one user.
    assert not any(item in named for item in users)
    examples = examples_of(dataset)
    assert not any(item in json.dumps(examples) for item in rare)
    assert any(item in json.dumps(examples) for item in set(users) - rare)
    # An item has the same name in the whole example, so that it still matches its recommendation.
    example = user_examples(dataset.take(np.array([row])), MODEL.predict(dataset.frame), MODEL)[0]
    chosen = [entry["item"] in example["chosen"] for entry in example["recommended"]]
    assert chosen == [entry["chosen"] for entry in example["recommended"]]
