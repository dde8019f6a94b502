"""Differences between rows in quarantine and those that stay: known answers, and no alarm where there is none."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from ml.data.quarantine_bias import (
    category_counts,
    category_difference,
    chi_squared_p,
    number_difference,
    readable_numbers,
    share_difference,
)


def test_the_share_of_pairs_is_that_of_mann_and_whitney() -> None:
    kept, removed = np.arange(100.0), np.arange(80.0, 180.0)
    pairs = (removed[:, None] > kept[None, :]).mean() + 0.5 * (removed[:, None] == kept[None, :]).mean()
    text = number_difference("amount", removed, kept, 1)
    assert text == f"amount: higher in quarantine than in rows that stay, in {pairs:.0%} of all pairs"
    text = number_difference("amount", kept, removed, 1)
    assert text == f"amount: lower in quarantine than in rows that stay, in {pairs:.0%} of all pairs"


def test_few_rows_and_small_differences_are_not_reported() -> None:
    rng = np.random.default_rng(0)
    kept = rng.normal(size=5000)
    assert number_difference("a", np.full(9, 100.0), kept, 1) is None
    assert number_difference("a", np.r_[np.full(9, 100.0), np.nan], kept, 1) is None
    assert number_difference("a", kept[:2000] + 0.3, kept, 1) is None
    assert (
        share_difference(
            "y", (rng.random(2000) < 0.13).astype(float), (rng.random(9000) < 0.1).astype(float), 1
        )
        is None
    )


def test_rows_that_are_quarantined_at_random_are_seldom_remarked_on() -> None:
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values, positive = rng.normal(size=400), (rng.random(400) < 0.3).astype(float)
        town = pd.Series(rng.geometric(0.2, 400)).astype("str").mask(rng.random(400) < 0.1)
        found = [
            number_difference("a", values[:15], values[15:], 3),
            share_difference("y", positive[:15], positive[15:], 3),
            category_difference("town", town[:15], town[15:], 3),
        ]
        alarms += any(found)
    assert alarms <= 0.02 * 300


def test_a_share_that_differs_is_described_by_both_shares() -> None:
    removed, kept = np.r_[np.ones(30), np.zeros(30)], np.r_[np.ones(100), np.zeros(900)]
    text = share_difference("bad", removed, kept, 5)
    assert text == "bad: 50% of the rows in quarantine are positive, 10% of those that stay"


@pytest.mark.parametrize(
    ("cell", "number"), [("1,234.5", 1234.5), ("12 000", 12000.0), ("1'000'000", 1e6), ("n/a", None)]
)
def test_numbers_are_read_as_far_as_possible(cell: str, number: float | None) -> None:
    (read,) = readable_numbers(pd.Series([cell]))
    assert read == number if number is not None else np.isnan(read)


@pytest.mark.parametrize(
    "counts", [[[30, 5, 9], [100, 80, 60]], [[12, 0], [400, 38]], [[3, 4, 5, 6], [60, 50, 40, 30]]]
)
def test_the_test_of_categories_is_that_of_scipy(counts: list[list[int]]) -> None:
    assert chi_squared_p(np.array(counts)) == pytest.approx(chi2_contingency(counts, correction=False).pvalue)


def test_categories_that_differ_are_described_without_their_names() -> None:
    removed, kept = pd.Series(["a"] * 40 + ["b"] * 10), pd.Series(["a", "b"] * 400 + ["c"] * 9)
    text = category_difference("town", removed, kept, 5)
    # Total variation: 80 % against 400 of 809. The rare category `c` belongs to the rest.
    distance = 0.8 - 400 / 809
    assert (
        text == f"town: other categories in quarantine than in rows that stay, in {distance:.0%} of the rows"
    )
    assert category_difference("town", kept[:50], kept, 5) is None
    assert category_difference("town", removed[:9], kept, 5) is None


def test_missing_values_are_a_category_and_rare_ones_are_counted_together() -> None:
    removed = pd.Series([None] * 30 + ["x"] * 10, dtype="str")
    kept = pd.Series(["x"] * 390 + [f"rare {n}" for n in range(30)] + [None] * 10, dtype="str")
    assert category_counts(removed, kept).tolist() == [[30, 10, 0], [10, 390, 30]]
    assert category_difference("town", removed, kept, 1)
    # Names of people: each has its own.
    names = pd.Series([f"n{n}" for n in range(500)])
    assert category_difference("name", names[:50], names[50:], 1) is None
