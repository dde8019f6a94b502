"""Validation of the target."""

import numpy as np
import pandas as pd
import pytest

from ml.data.target import validate_training_truth, validate_truth


class TestTruth:
    def test_becomes_float64(self) -> None:
        np.testing.assert_array_equal(validate_truth(pd.Series([True, False]), "binary"), [1.0, 0.0])

    @pytest.mark.parametrize(
        ("values", "message"),
        [([], "at least one row"), ([1.0, np.nan], "got 1 missing"), ([0.0, 2.0], "from 0 to 2")],
    )
    def test_rejects_invalid_values(self, values: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            validate_truth(pd.Series(values, dtype="float64"), "binary")

    def test_numeric_truth_may_have_any_numbers(self) -> None:
        np.testing.assert_array_equal(validate_truth(pd.Series([-3.5, 2.0]), "numeric"), [-3.5, 2.0])

    def test_training_truth_with_one_class_is_rejected(self) -> None:
        with pytest.raises(ValueError, match=r"got 2 rows that are all 1"):
            validate_training_truth(pd.Series([1.0, 1.0]), "binary")
