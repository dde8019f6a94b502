"""Feature columns: kinds by dtype, and errors for missing columns and other types."""

import numpy as np
import pandas as pd
import pytest

from ml.encoding.columns import FeatureColumns


def strings(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


class TestFeatureColumns:
    def test_kinds_follow_dtypes_and_names_are_sorted(self) -> None:
        frame = pd.DataFrame({"z": [1.0], "b": strings("x"), "a": [True], "c": strings("y")})
        assert FeatureColumns.from_frame(frame) == FeatureColumns(numeric=("a", "z"), categorical=("b", "c"))

    def test_rejects_other_dtypes(self) -> None:
        with pytest.raises(ValueError, match=r"got datetime64.* in 'when'"):
            FeatureColumns.from_frame(pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}))

    def test_rejects_repeated_names(self) -> None:
        with pytest.raises(ValueError, match=r"\['a'\] more than once"):
            FeatureColumns.from_frame(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))

    def test_error_names_missing_columns(self) -> None:
        with pytest.raises(
            ValueError, match=r"expected the columns \['a', 'b'\], got a frame without \['b'\]"
        ):
            FeatureColumns(("a",), ("b",)).check_present(pd.DataFrame({"a": [1.0], "c": [2.0]}))

    def test_numeric_matrix_accepts_integers_and_missing_values_of_any_dtype(self) -> None:
        frame = pd.DataFrame({"b": [None, None], "a": [1, 2]}).astype({"b": object})
        np.testing.assert_array_equal(
            FeatureColumns(("a", "b"), ()).numeric_matrix(frame), [[1.0, np.nan], [2.0, np.nan]]
        )

    def test_number_in_categorical_column_and_text_in_numeric_column_are_rejected(self) -> None:
        with pytest.raises(ValueError, match="expected categories in 'a', got float64"):
            FeatureColumns((), ("a",)).categorical_arrays(pd.DataFrame({"a": [1.0]}))
        with pytest.raises(ValueError, match="expected numbers in 'a', got str"):
            FeatureColumns(("a",), ()).numeric_matrix(pd.DataFrame({"a": strings("1")}))

    def test_categorical_arrays_are_in_order_of_name(self) -> None:
        frame = pd.DataFrame({"b": [np.nan, np.nan], "a": strings("x", None)})
        a, b = FeatureColumns((), ("a", "b")).categorical_arrays(frame)
        assert (a[0], pd.isna(a[1]), pd.isna(b).all()) == ("x", True, True)
