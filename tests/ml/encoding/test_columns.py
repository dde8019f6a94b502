"""Columns, category codes, quantile bins and the one-hot matrix."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.data.target import checked_truth, training_truth
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.columns import Columns
from ml.encoding.one_hot import OneHot
from ml.encoding.quantile_bins import QuantileBins

CELLS = st.one_of(st.none(), st.text(max_size=3))
NUMBERS = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=32))


def objects(*values: str | None) -> np.ndarray:
    return np.array(values, dtype=object)


def strings(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


def through_json(state: object) -> dict[str, object]:
    return json.loads(json.dumps(asdict(state)))  # type: ignore[call-overload]


class TestTruth:
    def test_is_float64(self) -> None:
        np.testing.assert_array_equal(checked_truth(pd.Series([True, False]), "binary"), [1.0, 0.0])

    @pytest.mark.parametrize(
        ("values", "message"),
        [([], "at least one row"), ([1.0, np.nan], "got 1 missing"), ([0.0, 2.0], "from 0 to 2")],
    )
    def test_refuses(self, values: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            checked_truth(pd.Series(values, dtype="float64"), "binary")

    def test_numbers_may_be_any(self) -> None:
        np.testing.assert_array_equal(checked_truth(pd.Series([-3.5, 2.0]), "numeric"), [-3.5, 2.0])

    def test_one_class(self) -> None:
        with pytest.raises(ValueError, match=r"got 2 rows that are all 1"):
            training_truth(pd.Series([1.0, 1.0]), "binary")


class TestColumns:
    def test_kinds_come_from_dtypes_in_order_of_name(self) -> None:
        frame = pd.DataFrame({"z": [1.0], "b": strings("x"), "a": [True], "c": strings("y")})
        assert Columns.of(frame) == Columns(numeric=("a", "z"), categorical=("b", "c"))

    def test_refuses_other_dtypes(self) -> None:
        with pytest.raises(ValueError, match=r"got datetime64.* in 'when'"):
            Columns.of(pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}))

    def test_refuses_repeated_names(self) -> None:
        with pytest.raises(ValueError, match=r"\['a'\] more than once"):
            Columns.of(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))

    def test_names_the_missing_columns(self) -> None:
        with pytest.raises(
            ValueError, match=r"expected the columns \['a', 'b'\], got a frame without \['b'\]"
        ):
            Columns(("a",), ("b",)).check(pd.DataFrame({"a": [1.0], "c": [2.0]}))

    def test_numbers_take_integers_and_missing_of_any_dtype(self) -> None:
        frame = pd.DataFrame({"b": [None, None], "a": [1, 2]}).astype({"b": object})
        np.testing.assert_array_equal(Columns(("a", "b"), ()).numbers(frame), [[1.0, np.nan], [2.0, np.nan]])

    def test_a_number_is_no_category_nor_the_reverse(self) -> None:
        with pytest.raises(ValueError, match="expected categories in 'a', got float64"):
            Columns((), ("a",)).strings(pd.DataFrame({"a": [1.0]}))
        with pytest.raises(ValueError, match="expected numbers in 'a', got str"):
            Columns(("a",), ()).numbers(pd.DataFrame({"a": strings("1")}))

    def test_strings_come_in_order_of_name(self) -> None:
        frame = pd.DataFrame({"b": [np.nan, np.nan], "a": strings("x", None)})
        a, b = Columns((), ("a", "b")).strings(frame)
        assert (a[0], pd.isna(a[1]), pd.isna(b).all()) == ("x", True, True)


class TestCategoryCodes:
    def test_most_frequent_first_ties_by_name(self) -> None:
        values = objects("b", "a", "c", "c", None, None, None, "rare", "a", "b", "c")
        codes = CategoryCodes.learn(values, min_count=2, max_categories=9)
        assert codes.categories == ("c", "a", "b")
        assert codes.encode(objects(None, "rare", "unseen", "c", "a", "b")).tolist() == [0, 1, 1, 2, 3, 4]
        assert len(codes) == 5

    def test_at_most_so_many(self) -> None:
        assert CategoryCodes.learn(objects("a", "b", "b"), 1, max_categories=1).categories == ("b",)

    @given(st.lists(CELLS), st.lists(CELLS), st.integers(1, 3), st.integers(0, 4))
    @settings(deadline=None, max_examples=50)
    def test_codes_stay_in_range_and_survive_json(
        self, train: list[str | None], new: list[str | None], min_count: int, most: int
    ) -> None:
        codes = CategoryCodes.learn(objects(*train), min_count, most)
        encoded = codes.encode(objects(*new))
        assert CategoryCodes.from_json(through_json(codes)) == codes
        assert len(codes) <= most + 2
        for value, code in zip(new, encoded, strict=True):
            assert (code == 0) == (value is None)
            assert code < 2 or codes.categories[code - 2] == value
            assert code != 1 or train.count(value) < min_count or len(codes.categories) == most

    def test_one_value_has_the_code_that_it_has_in_a_column(self) -> None:
        codes = CategoryCodes(("c", "a"))
        values = ["a", "c", "unseen", None]
        assert [codes.code(value) for value in values] == codes.encode(strings(*values).array).tolist()


class TestQuantileBins:
    def test_special_codes_have_a_bin_each_and_are_no_quantities(self) -> None:
        values = np.array([96.0, 1.0, 98.0, np.nan, 3.0, 98.0, 1.0])
        bins = QuantileBins.learn(values, bins=8, special=(96.0, 98.0))
        assert bins.encode(values).tolist() == [1, 3, 2, 0, 4, 2, 3]
        assert len(bins) == 5
        without = QuantileBins.learn(np.array([1.0, 3.0, 1.0]), bins=8)
        expected = np.where(np.isin(values, [1.0, 3.0]), without.standardise(values), 0.0)
        np.testing.assert_array_equal(bins.standardise(values), expected)
        assert QuantileBins.from_json(through_json(bins)) == bins
        asked = [96.0, 0.0, 1.0, 2.0, 98.0, 99.0, np.nan, np.inf]
        assert [bins.code(value) for value in asked] == bins.encode(np.array(asked)).tolist()
        one_by_one = [bins.standardise_one(value) for value in asked]
        np.testing.assert_array_equal(one_by_one, bins.standardise(np.array(asked)))

    def test_few_values_have_a_bin_each(self) -> None:
        bins = QuantileBins.learn(np.array([0.0, 0.0, 1.0, 98.0, np.nan]), bins=3)
        assert bins.edges == (0.5, 49.5)
        asked = np.array([np.nan, -1.0, 0.0, 0.6, 1.0, 98.0, np.inf])
        assert bins.encode(asked).tolist() == [0, 1, 1, 2, 2, 3, 3]
        assert len(bins) == 4

    def test_many_values_are_cut_at_quantiles(self) -> None:
        bins = QuantileBins.learn(np.arange(1.0, 101.0), bins=4)
        assert bins.edges == (25.5, 50.5, 75.5)
        assert np.bincount(bins.encode(np.arange(1.0, 101.0))).tolist() == [0, 25, 25, 25, 25]

    def test_a_heavy_value_makes_no_empty_bin(self) -> None:
        values = np.concatenate([np.arange(50.0), np.full(950, 50.0)])
        bins = QuantileBins.learn(values, bins=10)
        assert np.bincount(bins.encode(values), minlength=len(bins))[1:].min() > 0

    def test_value_is_clipped_to_percentiles_and_standardised(self) -> None:
        values = np.arange(1.0, 101.0)
        bins = QuantileBins.learn(values, bins=4)
        assert (bins.low, bins.high) == (1.5, 99.5)
        scaled = bins.standardise(values)
        assert scaled.mean() == pytest.approx(0.0, abs=1e-12)
        assert scaled.std() == pytest.approx(1.0)
        np.testing.assert_array_equal(
            bins.standardise(np.array([1e9, np.inf, np.nan])), [*scaled[[99, 99]], 0.0]
        )

    @given(NUMBERS.filter(lambda values: np.isfinite(values).any()), st.integers(1, 12))
    @settings(deadline=None, max_examples=50)
    def test_no_cell_is_kept_where_there_is_room_beside_it(self, train: np.ndarray, most: int) -> None:
        bins = QuantileBins.learn(train, most)
        distinct = np.unique(train[np.isfinite(train)])
        kept = [*bins.edges, *((bins.low, bins.high) if len(distinct) > most else ())]
        # Neighbours in the precision of the machine have nothing between them.
        tight = distinct[:-1][np.nextafter(distinct[:-1], np.inf) == distinct[1:]]
        assert set(kept) & set(distinct.tolist()) <= set(tight.tolist())

    @given(NUMBERS, NUMBERS, st.integers(1, 12))
    @settings(deadline=None, max_examples=50)
    def test_bins_rise_with_the_value_and_survive_json(
        self, train: np.ndarray, new: np.ndarray, most: int
    ) -> None:
        bins = QuantileBins.learn(train, most)
        encoded = bins.encode(new)
        known = np.sort(new[~np.isnan(new)])
        assert QuantileBins.from_json(through_json(bins)) == bins
        assert len(bins) <= most + 1
        assert ((encoded == 0) == np.isnan(new)).all()
        assert encoded.max(initial=0) < len(bins)
        assert (np.diff(bins.encode(known)) >= 0).all()
        assert np.isfinite(bins.standardise(new)).all()


class TestOneHot:
    frame = pd.DataFrame({"n": [1.0, 3.0, np.nan], "s": strings("x", None, "x")})

    def test_matrix_by_hand(self) -> None:
        encoding = OneHot.learn(self.frame, bins=2, min_count=2, max_categories=9)
        assert encoding.widths == [4, 3]  # missing, up to 1, above 1, value; missing, other, x
        # The clipping bounds of {1, 3} are 1 and 3: mean 2, standard deviation 1.
        expected = [[0, 1, 0, -1, 0, 0, 1], [0, 0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 1]]
        np.testing.assert_array_equal(encoding.encode(self.frame).toarray(), expected)

    def test_survives_json(self) -> None:
        encoding = OneHot.learn(self.frame, bins=2, min_count=1, max_categories=9)
        assert OneHot.from_json(through_json(encoding)) == encoding

    @pytest.mark.parametrize("kind", ["n", "s"])
    def test_one_kind_of_column_only(self, kind: str) -> None:
        encoding = OneHot.learn(self.frame[[kind]], bins=2, min_count=2, max_categories=9)
        both = OneHot.learn(self.frame, bins=2, min_count=2, max_categories=9).encode(self.frame).toarray()
        own = both[:, :4] if kind == "n" else both[:, 4:]
        np.testing.assert_array_equal(encoding.encode(self.frame).toarray(), own)
