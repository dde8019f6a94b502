"""Quantile bins: edges, sentinel values, standardised values, and JSON."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.encoding.quantile_bins import QuantileBins

NUMBERS = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=32))


def through_json(state: object) -> dict[str, object]:
    return json.loads(json.dumps(asdict(state)))  # type: ignore[call-overload]


class TestQuantileBins:
    def test_sentinel_values_have_separate_bins_and_no_standardised_value(self) -> None:
        values = np.array([96.0, 1.0, 98.0, np.nan, 3.0, 98.0, 1.0])
        bins = QuantileBins.fit(values, max_bins=8, sentinel_values=(96.0, 98.0))
        assert bins.encode(values).tolist() == [1, 3, 2, 0, 4, 2, 3]
        assert len(bins) == 5
        without = QuantileBins.fit(np.array([1.0, 3.0, 1.0]), max_bins=8)
        expected = np.where(np.isin(values, [1.0, 3.0]), without.standardise(values), 0.0)
        np.testing.assert_array_equal(bins.standardise(values), expected)
        assert QuantileBins.from_json(through_json(bins)) == bins
        new_values = [96.0, 0.0, 1.0, 2.0, 98.0, 99.0, np.nan, np.inf]
        assert [bins.encode_value(value) for value in new_values] == bins.encode(
            np.array(new_values)
        ).tolist()
        one_by_one = [bins.standardise_value(value) for value in new_values]
        np.testing.assert_array_equal(one_by_one, bins.standardise(np.array(new_values)))

    def test_few_distinct_values_have_a_bin_each(self) -> None:
        bins = QuantileBins.fit(np.array([0.0, 0.0, 1.0, 98.0, np.nan]), max_bins=3)
        assert bins.edges == (0.5, 49.5)
        new_values = np.array([np.nan, -1.0, 0.0, 0.6, 1.0, 98.0, np.inf])
        assert bins.encode(new_values).tolist() == [0, 1, 1, 2, 2, 3, 3]
        assert len(bins) == 4

    def test_many_distinct_values_are_binned_by_quantiles(self) -> None:
        bins = QuantileBins.fit(np.arange(1.0, 101.0), max_bins=4)
        assert bins.edges == (25.5, 50.5, 75.5)
        assert np.bincount(bins.encode(np.arange(1.0, 101.0))).tolist() == [0, 25, 25, 25, 25]

    def test_frequent_value_gives_no_empty_bin(self) -> None:
        values = np.concatenate([np.arange(50.0), np.full(950, 50.0)])
        bins = QuantileBins.fit(values, max_bins=10)
        assert np.bincount(bins.encode(values), minlength=len(bins))[1:].min() > 0

    def test_values_are_clipped_to_percentiles_and_standardised(self) -> None:
        values = np.arange(1.0, 101.0)
        bins = QuantileBins.fit(values, max_bins=4)
        assert (bins.low, bins.high) == (1.5, 99.5)
        scaled = bins.standardise(values)
        assert scaled.mean() == pytest.approx(0.0, abs=1e-12)
        assert scaled.std() == pytest.approx(1.0)
        np.testing.assert_array_equal(
            bins.standardise(np.array([1e9, np.inf, np.nan])), [*scaled[[99, 99]], 0.0]
        )

    @given(NUMBERS.filter(lambda values: np.isfinite(values).any()), st.integers(1, 12))
    @settings(deadline=None, max_examples=50)
    def test_training_values_are_not_stored_if_a_midpoint_exists(
        self, train: np.ndarray, max_bins: int
    ) -> None:
        bins = QuantileBins.fit(train, max_bins)
        distinct = np.unique(train[np.isfinite(train)])
        stored = [*bins.edges, *((bins.low, bins.high) if len(distinct) > max_bins else ())]
        # Adjacent floating-point numbers have no number between them.
        adjacent = distinct[:-1][np.nextafter(distinct[:-1], np.inf) == distinct[1:]]
        assert set(stored) & set(distinct.tolist()) <= set(adjacent.tolist())

    @given(NUMBERS, NUMBERS, st.integers(1, 12))
    @settings(deadline=None, max_examples=50)
    def test_bins_increase_with_the_value_and_survive_json(
        self, train: np.ndarray, new: np.ndarray, max_bins: int
    ) -> None:
        bins = QuantileBins.fit(train, max_bins)
        encoded = bins.encode(new)
        increasing = np.sort(new[~np.isnan(new)])
        assert QuantileBins.from_json(through_json(bins)) == bins
        assert len(bins) <= max_bins + 1
        assert ((encoded == 0) == np.isnan(new)).all()
        assert encoded.max(initial=0) < len(bins)
        assert (np.diff(bins.encode(increasing)) >= 0).all()
        assert np.isfinite(bins.standardise(new)).all()
