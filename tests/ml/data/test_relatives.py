"""Relatives: rows multiplied with noise are found, rows that are only alike by chance are not."""

import numpy as np
import pandas as pd
import pytest

from ml.data.copies import find_copies
from ml.data.relatives import MAX_COMPARED, find_relatives, group_relatives


def independent(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{n}": rng.normal(size=rows) for n in range(6)})
    frame["x5"] = frame["x5"].mask(rng.random(rows) < 0.1)
    frame["town"] = pd.Series(rng.choice(list("abcd"), rows), dtype="str")
    return frame


def with_relatives(rows: int, noise: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Return each row twice, the second time with noise in its numbers, and the entity of each row."""
    frame, rng = independent(rows), np.random.default_rng(1)
    noisy = frame.copy()
    numbers = list(frame.select_dtypes("number"))
    noisy[numbers] += noise * rng.normal(size=(rows, len(numbers)))
    return pd.concat([frame, noisy], ignore_index=True), np.arange(2 * rows, dtype=np.uint64)


def test_rows_multiplied_with_noise_are_grouped_although_no_column_is_equal() -> None:
    frame, entities = with_relatives(300, noise=0.08)
    assert len(find_copies(frame)) < 30
    found = group_relatives(frame, entities)
    together = found.units[:300] == found.units[300:]
    assert together.mean() > 0.95
    assert found.rows == pytest.approx(600, abs=40)
    assert found.largest <= 4
    assert not found.copies_only


def test_about_one_independent_row_in_a_thousand_has_a_relative_by_chance() -> None:
    pairs = np.concatenate([find_relatives(independent(1000, seed)) for seed in range(5)])
    assert len(pairs) <= 20
    assert group_relatives(independent(300, 9), np.arange(300, dtype=np.uint64)).rows <= 4


def test_rows_of_one_entity_stay_together_and_other_units_keep_their_hash() -> None:
    frame, entities = with_relatives(200, noise=0.05)
    entities = entities // 4 * np.uint64(977)
    found = group_relatives(frame, entities)
    assert all(len(np.unique(found.units[entities == entity])) == 1 for entity in np.unique(entities))
    alone = independent(200, 3)
    kept = group_relatives(alone, np.arange(200, dtype=np.uint64))
    changed = kept.units != np.arange(200)
    assert changed.sum() == kept.rows


def test_exact_copies_are_grouped_and_small_or_constant_tables_have_none() -> None:
    frame = pd.concat([independent(100)] * 2, ignore_index=True)
    found = group_relatives(frame, np.arange(200, dtype=np.uint64))
    assert (found.units[:100] == found.units[100:]).mean() > 0.95
    for nothing in (frame.iloc[:0], frame.iloc[:10], pd.DataFrame({"x": np.ones(100), "y": "a"})):
        assert not len(find_relatives(nothing))


def test_large_tables_are_searched_for_copies_only() -> None:
    rows = int((MAX_COMPARED / 6) ** 0.5) + 100
    frame = independent(rows)[["x0", "x1", "x2", "x3", "x4", "x5"]]
    assert group_relatives(frame, np.arange(rows, dtype=np.uint64)).copies_only
