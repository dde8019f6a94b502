"""Piecewise-linear encoding: positions within bins, and indicators of missing and sentinel values."""

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.encoding.piecewise_linear import PiecewiseLinearEncoding


def test_numbers_become_positions_within_bins_and_sentinel_values_become_indicators() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 4.0, np.nan, -9.0]})
    train = Dataset(
        frame, pd.Series(np.zeros(6)), np.arange(6, dtype=np.uint64), sentinel_values={"x": (-9.0,)}
    )
    encoding = PiecewiseLinearEncoding.fit(train, max_bins=8, min_count=1, max_categories=9)
    # Bins end at the midpoints between values: 0 to 0.5, 1.5, 3 and 4.
    positions = np.array([[0, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1 / 3, 0], [1, 1, 1, 1]])
    X = encoding.encode(frame)
    np.testing.assert_allclose(X[:4, :4], positions - positions.mean(axis=0))
    np.testing.assert_array_equal(X[4:, :4], 0.0)
    np.testing.assert_allclose(X[:, 4:] + 1 / 6, np.vstack([np.zeros((4, 2)), np.eye(2)]), atol=1e-12)
    np.testing.assert_array_equal(encoding.source_columns, np.zeros(6))
    outside = encoding.encode(pd.DataFrame({"x": [-np.inf, np.inf]}))
    np.testing.assert_array_equal(outside, X[[0, 3]])
