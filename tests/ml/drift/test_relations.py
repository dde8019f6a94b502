"""Rank correlations agree with scipy, and columns that were exchanged are found by them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ml.drift.limits import Noise
from ml.drift.relations import changed_relations, summarize_relations


def sample(seed: int) -> pd.DataFrame:
    """Draw columns of one distribution, of which a is related to c and b to d."""
    a, b, c, d = np.random.default_rng(seed).normal(size=(4, 1000))
    return pd.DataFrame({"a": a, "b": b, "c": a + 0.5 * c, "d": 0.5 * d - b})


def changes(batch: pd.DataFrame) -> dict[str, float]:
    relations = changed_relations(
        summarize_relations(sample(0)), summarize_relations(batch), Noise(1000, 1000, 1e-4), 0.2
    )
    found = dict(zip(relations.columns, relations.lows, strict=True))
    return {**found, **{f"{a} {b}": 1.0 for a, b in relations.swaps}}


def test_correlations_are_those_of_scipy() -> None:
    matrix = summarize_relations(sample(0)).matrix() + np.eye(4)
    np.testing.assert_allclose(matrix, spearmanr(sample(0)).statistic, atol=1e-4)


def test_another_sample_has_no_changes() -> None:
    assert changes(sample(1)) == dict.fromkeys("abcd", pytest.approx(0.0))


def test_exchanged_columns_of_one_distribution_are_found() -> None:
    batch = sample(1).rename(columns={"a": "b", "b": "a"})[["a", "b", "c", "d"]]
    assert "a b" in changes(batch)


def test_a_column_of_other_rows_is_found() -> None:
    batch = sample(1)
    batch["a"] = np.random.default_rng(0).permutation(batch["a"])
    found = changes(batch)
    assert found["a"] > 0.5
    assert found["d"] < 0.05
    assert "a c" not in found
