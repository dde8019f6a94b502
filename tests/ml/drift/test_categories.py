"""Category columns: known distances, spellings, and no rare category in a summary."""

import pandas as pd
import pytest

from ml.drift.categories import category_distance, summarize_categories, vanished


def column(**counts: int) -> pd.Series:
    return pd.Series([value for value, count in counts.items() for _ in range(count)], dtype="str")


def test_rare_categories_are_pooled() -> None:
    summary = summarize_categories(column(north=80, south=11, secret=9))
    assert summary.shares == {"north": 0.8, "south": 0.11}
    assert summary.other == pytest.approx(0.09)
    assert "secret" not in repr(summary)


def test_distance_is_the_total_variation() -> None:
    reference = summarize_categories(column(a=60, b=40))
    distance = category_distance(reference, column(a=30, b=50, c=20))
    assert distance.variation == pytest.approx(0.5 * (0.3 + 0.1 + 0.2))
    assert (distance.unknown, distance.respelled) == (0.2, 0.0)


@pytest.mark.parametrize("spelling", ["NORTH", " north", "North ", "'north'", "no rth"])
def test_other_spellings_are_recognised(spelling: str) -> None:
    reference = summarize_categories(column(north=50, south=50))
    distance = category_distance(reference, column(**{spelling: 50, "south": 50}))
    assert (distance.unknown, distance.respelled) == (0.5, 0.5)


@pytest.mark.parametrize("code", ["01", "1.0", "1.00"])
def test_codes_with_other_zeros_are_other_spellings(code: str) -> None:
    reference = summarize_categories(column(**{"1": 50, "2": 50}))
    assert category_distance(reference, column(**{code: 50, "2": 50})).respelled == 0.5


def test_only_categories_that_chance_would_have_brought_have_vanished() -> None:
    reference = summarize_categories(column(a=900, b=100))
    distance = category_distance(reference, column(a=20))
    assert vanished(reference, distance, 20, 0.01) == []
    assert vanished(reference, distance, 100, 0.01) == [0.1]


def test_a_category_of_few_people_is_pooled_although_it_has_many_rows() -> None:
    cells = column(north=80, secret=40)
    people = pd.Series([*range(80), *[7] * 40], dtype="str")
    summary = summarize_categories(cells, people)
    assert list(summary.shares) == ["north"]
    assert summary.other == pytest.approx(1 / 3)
