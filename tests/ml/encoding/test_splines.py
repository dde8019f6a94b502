"""Cubic splines of numbers: those of scikit-learn, constant beyond the last knots, and 0 where no number is known."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import SplineTransformer

from ml.encoding.splines import DEGREE, SplineEncoding


def table(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    amount = np.where(rng.random(rows) < 0.1, np.nan, rng.lognormal(size=rows))
    amount[:40] = 999.0
    town = pd.Series(rng.choice(["N", "S"], rows), dtype="str")
    return pd.DataFrame({"amount": amount, "is_new": rng.integers(0, 2, rows) * 1.0, "town": town})


def fit(frame: pd.DataFrame, max_knots: int = 5) -> SplineEncoding:
    return SplineEncoding.fit(frame, max_knots, 10, 255, {"amount": (999.0,)})


def splines_of(encoding: SplineEncoding, frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(encoding.encode(frame).toarray()[:, len(encoding.lines.source_columns) :])


@pytest.mark.parametrize("max_knots", [2, 5, 9])
def test_the_splines_are_those_of_scikit_learn(max_knots: int) -> None:
    frame = table()
    encoding = fit(frame, max_knots)
    (bins, _), (knots, none) = encoding.lines.bins, encoding.knots
    # Two values make a line.
    assert (len(knots), none) == (max_knots, ())
    known = frame[frame["amount"].notna() & (frame["amount"] != 999.0)]
    standardised = bins.standardise(known["amount"].to_numpy())[:, None]
    reference = SplineTransformer(knots=np.array(knots)[:, None], degree=DEGREE, extrapolation="constant")
    np.testing.assert_allclose(
        splines_of(encoding, known), reference.fit_transform(standardised), rtol=1e-9, atol=1e-12
    )


def test_values_beyond_the_knots_are_those_at_the_knots_and_unknown_ones_are_0() -> None:
    encoding = fit(table())
    low, high = encoding.lines.bins[0].low, encoding.lines.bins[0].high
    rows = pd.DataFrame({"amount": [low, -np.inf, -1e300, high, np.inf, 998.0, np.nan, 999.0]})
    splines = splines_of(encoding, rows.assign(is_new=0.0, town="N"))
    np.testing.assert_array_equal(splines[[1, 2]], splines[[0, 0]])
    np.testing.assert_array_equal(splines[[4, 5]], splines[[3, 3]])
    np.testing.assert_allclose(splines[:6].sum(axis=1), 1.0)
    assert not splines[6:].any()
    assert splines_of(encoding, table().iloc[:0]).shape == (0, splines.shape[1])


def test_one_row_is_encoded_as_in_a_table_and_from_json() -> None:
    frame = table()
    encoding = SplineEncoding.from_json(json.loads(json.dumps(asdict(fit(frame)))))
    assert encoding == fit(frame)
    matrix = encoding.encode(frame).toarray()
    assert matrix.shape[1] == len(encoding.source_columns)
    for row in (0, 50, 60, 70):
        entries, values = np.zeros(matrix.shape[1]), {str(name): frame[name].iloc[row] for name in frame}
        for position, value in encoding.encode_row(values):
            entries[position] += value
        np.testing.assert_array_equal(entries, matrix[row])


def test_each_matrix_column_names_its_source() -> None:
    frame = table()
    encoding, alone = fit(frame), fit(frame.assign(amount=np.nan))
    assert encoding.columns.names == ("amount", "is_new", "town")
    spline_columns = encoding.source_columns[len(encoding.lines.source_columns) :]
    assert spline_columns.tolist() == [0] * (5 + DEGREE - 1)
    assert len(alone.source_columns) == len(alone.lines.source_columns)


def test_no_value_of_a_row_is_a_knot() -> None:
    frame = table()
    encoding = fit(frame)
    bins = encoding.lines.bins[0]
    values = np.array(encoding.knots[0]) * bins.scale + bins.mean
    assert np.abs(values[:, None] - frame["amount"].dropna().to_numpy()).min() > 1e-9
