"""Copies of rows: pairs with known answers, chance in coarse tables, and what copies reveal of the target."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ml.data.copies import copy_groups, find_copies
from ml.data.copy_evidence import CopyEvidence, judge_copies

ROWS = 400


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = pd.DataFrame(rng.normal(size=(rows, 5))).add_prefix("x")
    return numbers.assign(
        town=rng.choice(["N", "S", "E"], rows),
        visits=rng.poisson(2.0, rows),
        gap=numbers["x0"].mask(numbers["x1"] > 1),
    )


def coarse(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({c: rng.choice(["low", "high", "mid"], rows) for c in "abcdef"})


def same(copies: pd.DataFrame) -> pd.DataFrame:
    return copies


def jittered(copies: pd.DataFrame) -> pd.DataFrame:
    numeric = [f"x{i}" for i in range(5)]
    return copies.assign(
        **{c: copies[c] + 0.005 * np.random.default_rng(1).normal(size=len(copies)) for c in numeric}
    )


def one_changed(copies: pd.DataFrame) -> pd.DataFrame:
    return copies.assign(x3=99.0)


def with_copies(
    frame: pd.DataFrame, count: int, change: Callable[[pd.DataFrame], pd.DataFrame] = same
) -> pd.DataFrame:
    return pd.concat([frame, change(frame.iloc[:count])], ignore_index=True)


@pytest.mark.parametrize("change", [same, jittered, one_changed])
def test_copies_and_near_copies_are_found_and_nothing_else(
    change: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    pairs = {(int(i), int(j)) for i, j in find_copies(with_copies(table(), 40, change))}
    expected = {(i, ROWS + i) for i in range(40)}
    assert pairs <= expected
    assert len(pairs) >= 38


def test_equal_rows_of_coarse_tables_are_chance() -> None:
    """Of 400 rows in 729 possible ones, many are equal; copies look the same."""
    assert coarse().duplicated().sum() > 50
    assert len(find_copies(coarse())) == 0
    assert len(find_copies(table())) == 0


@pytest.mark.parametrize(
    "frame", [table(1), pd.DataFrame({"x": range(50)}), pd.DataFrame({"x": [1.0] * 50, "y": "a"})]
)
def test_tables_without_information_have_no_copies(frame: pd.DataFrame) -> None:
    assert len(find_copies(frame)) == 0


def test_dependent_columns_do_not_count_twice() -> None:
    """Twenty columns that follow from one coarse column carry no more information than it."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 30, 600)
    frame = pd.DataFrame({f"c{i}": (kind * (i + 3)) % 31 for i in range(20)})
    assert len(find_copies(frame)) == 0


def test_rows_are_grouped_by_pairs() -> None:
    groups = copy_groups(np.array([[0, 3], [3, 4], [1, 2]]), 6)
    assert len(set(groups)) == 3
    assert len({groups[0], groups[3], groups[4]}) == len({groups[1], groups[2]}) == 1


# --- what copies reveal ----------------------------------------------------------------------------------------------


def judge(frame: pd.DataFrame, truth: np.ndarray, units: np.ndarray | None = None) -> CopyEvidence:
    rng = np.random.default_rng(3)
    units = np.arange(len(frame)) if units is None else units
    return judge_copies(frame, truth, units, rng.random(len(frame)) < 0.3)


def labels(frame: pd.DataFrame, seed: int = 5) -> np.ndarray:
    odds = frame["x0"] + frame["x1"] - frame["x2"]
    return (np.random.default_rng(seed).random(len(frame)) < 1 / (1 + np.exp(-odds))).astype(float).to_numpy()


@pytest.mark.parametrize("change", [same, jittered, one_changed])
def test_copies_reveal_labels(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    original = labels(table())
    evidence = judge(with_copies(table(), 100, change), np.r_[original, original[:100]])
    assert evidence.is_leak
    assert evidence.correlation > 0.9


def test_random_labels_with_copies_are_a_leak() -> None:
    original = np.random.default_rng(0).integers(0, 2, ROWS).astype(float)
    assert judge(with_copies(table(), 100), np.r_[original, original[:100]]).is_leak


def test_copies_with_labels_of_their_own_are_notable_and_no_leak() -> None:
    """Memory gains nothing from rows with equal content whose labels were drawn again."""
    both = with_copies(table(), 100)
    evidence = judge(both, labels(both))
    assert (evidence.is_leak, evidence.is_notable) == (False, True)


def test_copies_of_one_entity_do_not_count() -> None:
    original = labels(table())
    units = np.r_[np.arange(ROWS), np.arange(100)]
    assert judge(with_copies(table(), 100), np.r_[original, original[:100]], units).pairs == 0


def test_copies_with_numeric_targets_are_a_leak() -> None:
    original = table()["x0"].to_numpy() + np.random.default_rng(0).normal(size=ROWS)
    assert judge(with_copies(table(), 100), np.r_[original, original[:100]]).is_leak
    assert not judge(table(), original).is_notable


def test_clean_tables_are_no_leak() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        assert not judge(table(60, seed), labels(table(60, seed))).is_notable
        high = (coarse(500, seed) == "high").sum(axis=1)
        assert not judge(
            coarse(500, seed), (high + rng.normal(size=500) > 2).astype(float).to_numpy()
        ).is_leak
