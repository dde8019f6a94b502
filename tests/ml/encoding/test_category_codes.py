"""Category codes: order, pooling of rare categories, and JSON."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.encoding.category_codes import CategoryCodes

CELLS = st.one_of(st.none(), st.text(max_size=3))


def objects(*values: str | None) -> np.ndarray:
    return np.array(values, dtype=object)


def strings(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


def through_json(state: object) -> dict[str, object]:
    return json.loads(json.dumps(asdict(state)))  # type: ignore[call-overload]


class TestCategoryCodes:
    def test_categories_are_sorted_by_frequency_then_name(self) -> None:
        values = objects("b", "a", "c", "c", None, None, None, "rare", "a", "b", "c")
        codes = CategoryCodes.fit(values, min_count=2, max_categories=9)
        assert codes.categories == ("c", "a", "b")
        assert codes.encode(objects(None, "rare", "unseen", "c", "a", "b")).tolist() == [0, 1, 1, 2, 3, 4]
        assert len(codes) == 5

    def test_number_of_categories_is_limited(self) -> None:
        assert CategoryCodes.fit(objects("a", "b", "b"), 1, max_categories=1).categories == ("b",)

    @given(st.lists(CELLS), st.lists(CELLS), st.integers(1, 3), st.integers(0, 4))
    @settings(deadline=None, max_examples=50)
    def test_codes_are_in_range_and_survive_json(
        self, train: list[str | None], new: list[str | None], min_count: int, max_categories: int
    ) -> None:
        codes = CategoryCodes.fit(objects(*train), min_count, max_categories)
        encoded = codes.encode(objects(*new))
        assert CategoryCodes.from_json(through_json(codes)) == codes
        assert len(codes) <= max_categories + 2
        for value, code in zip(new, encoded, strict=True):
            assert (code == 0) == (value is None)
            assert code < 2 or codes.categories[code - 2] == value
            assert code != 1 or train.count(value) < min_count or len(codes.categories) == max_categories

    def test_encode_value_agrees_with_encode(self) -> None:
        codes = CategoryCodes(("c", "a"))
        values = ["a", "c", "unseen", None]
        assert [codes.encode_value(value) for value in values] == codes.encode(
            strings(*values).array
        ).tolist()
