"""Examples are real, the same for any order of rows, and nobody's."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.explanations.user_examples import shoppers
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.popularity import Popularity


def part_of(users: int) -> Dataset:
    """User n has n events, ever the same first ones."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"user": pd.Series([f"person-{n:02}" for n in range(users)], dtype="str")})
    order = [f"i{n:02}" for n in rng.permutation(40)]
    frame["items"] = pd.Series([order[:n] for n in range(users)], dtype=object)
    frame["times"] = pd.Series([list(map(float, range(n))) for n in range(users)], dtype=object)
    truth = pd.Series([[order[n], *order[25:38]] for n in range(users)], dtype=object)
    return Dataset(frame, truth, rng.permutation(users).astype(np.uint64) + 2**62)


PART = part_of(22)
MODEL = ItemKNN().fit(PART, PART, FitResources())


def told(part: Dataset = PART, model: Any = MODEL) -> list[dict[str, Any]]:
    return shoppers(part, model.predict(part.frame), model)


def test_quartiles_by_length_of_history() -> None:
    # Of the lengths 2 to 21.
    found = told()
    assert [(one["shopper"], one["events"]) for one in found] == [("A", 6), ("B", 11), ("C", 16)]
    for one in found:
        row = one["events"]
        assert one["history"] == PART.frame["items"][row][-8:]
        assert one["taken"] == PART.truth[row][:8]
        assert one["more"] == 6


def test_recommendations_are_the_models_first_and_reasons_add_up() -> None:
    prediction = MODEL.predict(PART.frame)
    for one in told():
        row = one["events"]
        listed = prediction[prediction["user"] == PART.frame["user"][row]]["item"].head(5).tolist()
        assert [line["item"] for line in one["recommended"]] == listed
        assert [line["taken"] for line in one["recommended"]] == [item in PART.truth[row] for item in listed]
        for line in one["recommended"]:
            assert {reason["item"] for reason in line["because"]} <= set(one["history"])
            assert len(line["because"]) <= 3
            shares = [reason["share"] for reason in line["because"]]
            assert sum(shares) + line["others"] + line["earlier"] == pytest.approx(1)
    short = told()[0]["recommended"][0]
    assert short["earlier"] == 0
    assert told()[2]["recommended"][0]["earlier"] > 0


def test_shares_are_the_models_own() -> None:
    assert isinstance(MODEL, ItemKNNModel)
    one = told()[0]
    index = {item: code for code, item in enumerate(MODEL.catalogue.items)}
    similar = {
        item: float(MODEL.similarity[index[item], index[one["recommended"][0]["item"]]])
        for item in one["history"]
    }
    for reason in one["recommended"][0]["because"]:
        assert reason["share"] == pytest.approx(similar[reason["item"]] / sum(similar.values()), rel=1e-5)


def test_no_name_and_no_more_than_the_last_items_are_told() -> None:
    found = json.dumps(told())
    assert "person" not in found
    assert not any(str(unit) in found for unit in PART.units)
    longest = told()[2]
    early = set(PART.frame["items"][16][:8])
    reasons = [reason["item"] for line in longest["recommended"] for reason in line["because"]]
    assert not early & {*longest["history"], *reasons}


def test_the_order_of_rows_is_nothing() -> None:
    assert told(PART.take(np.random.default_rng(0).permutation(22))) == told()


def test_popular_items_have_no_reason_and_other_models_are_not_asked() -> None:
    popular = Popularity().fit(PART, PART, FitResources())
    assert all(line["because"] == [] for one in told(model=popular) for line in one["recommended"])
    found = shoppers(PART, MODEL.predict(PART.frame), object())  # type: ignore[arg-type]
    assert all(line["because"] is None for one in found for line in one["recommended"])


@pytest.mark.parametrize(("users", "names"), [(2, ""), (3, "A"), (4, "A"), (5, "AB"), (7, "ABC")])
def test_few_users_are_few_shoppers(users: int, names: str) -> None:
    assert "".join(one["shopper"] for one in told(PART.take(np.arange(users)))) == names
