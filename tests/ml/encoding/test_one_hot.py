"""The one-hot matrix of bins and categories."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from ml.encoding.one_hot import OneHotEncoding


def strings(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


def through_json(state: object) -> dict[str, object]:
    return json.loads(json.dumps(asdict(state)))  # type: ignore[call-overload]


class TestOneHotEncoding:
    frame = pd.DataFrame({"n": [1.0, 3.0, np.nan], "s": strings("x", None, "x")})

    def test_matrix_has_the_expected_entries(self) -> None:
        encoding = OneHotEncoding.fit(self.frame, max_bins=2, min_count=2, max_categories=9)
        assert encoding.one_hot_widths == [4, 3]  # missing, up to 1, above 1, value; missing, other, x
        # The clipping bounds of {1, 3} are 1 and 3: mean 2, standard deviation 1.
        expected = [[0, 1, 0, -1, 0, 0, 1], [0, 0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 1]]
        np.testing.assert_array_equal(encoding.encode(self.frame).toarray(), expected)

    def test_survives_json(self) -> None:
        encoding = OneHotEncoding.fit(self.frame, max_bins=2, min_count=1, max_categories=9)
        assert OneHotEncoding.from_json(through_json(encoding)) == encoding

    @pytest.mark.parametrize("kind", ["n", "s"])
    def test_one_kind_of_column_only(self, kind: str) -> None:
        encoding = OneHotEncoding.fit(self.frame[[kind]], max_bins=2, min_count=2, max_categories=9)
        both = (
            OneHotEncoding.fit(self.frame, max_bins=2, min_count=2, max_categories=9)
            .encode(self.frame)
            .toarray()
        )
        expected = both[:, :4] if kind == "n" else both[:, 4:]
        np.testing.assert_array_equal(encoding.encode(self.frame).toarray(), expected)
