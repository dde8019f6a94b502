"""Calibrators: known maps are recovered, references agree, order is kept, and `none` is the default."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from ml.ensemble.calibration import METHODS, CalibrationMethod, Calibrator, select_calibrator
from ml.evaluation.binary_metrics import roc_auc

ROWS = 4000


def sample(seed: int, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Sample probabilities, and truths whose log odds are a log(p) - b log(1 - p) + c."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1.0, 2.0, ROWS)
    return p, (rng.random(ROWS) < special.expit(a * np.log(p) - b * np.log1p(-p) + c)).astype(float)


def select(probability: np.ndarray, truth: np.ndarray) -> tuple[Calibrator, dict[str, float]]:
    rows = np.arange(len(truth))
    return select_calibrator(probability, truth, rows % 5, rows.astype(np.uint64))


@pytest.mark.parametrize("method", METHODS)
def test_calibration_keeps_order_and_survives_json(method: CalibrationMethod) -> None:
    p, truth = sample(0, 0.5, 0.5)
    calibrator = Calibrator.fit(method, p, truth)
    values = calibrator(p)
    assert ((values > 0) & (values < 1)).all()
    assert roc_auc(truth, values) == pytest.approx(roc_auc(truth, p), abs=1e-12)
    restored = Calibrator.from_json(json.loads(json.dumps(asdict(calibrator))))
    np.testing.assert_array_equal(restored(p), values)
    assert np.isfinite(calibrator(np.array([0.0, 1.0]))).all()


def test_platt_agrees_with_scikit_learn() -> None:
    p, truth = sample(0, 0.5, 0.5, 1.0)
    x = special.logit(p)[:, None]
    reference = LogisticRegression(C=10.0, tol=1e-8).fit(x, truth)
    np.testing.assert_allclose(
        Calibrator.fit("platt", p, truth)(p), reference.predict_proba(x)[:, 1], atol=1e-6
    )


def test_isotonic_agrees_with_scikit_learn() -> None:
    p, truth = sample(0, 0.5, 0.5)
    reference = IsotonicRegression(out_of_bounds="clip").fit(p, truth)
    probability = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(
        Calibrator.fit("isotonic", p, truth)(probability), reference.predict(probability), atol=2e-4
    )


def test_beta_recovers_the_coefficients() -> None:
    coefficients = Calibrator.fit("beta", *sample(0, 0.4, 1.5, -0.5)).coefficients
    np.testing.assert_allclose(coefficients, (0.4, 1.5, -0.5), atol=0.25)


@pytest.mark.parametrize(("a", "b", "coefficient"), [(-0.5, 2.0, 0), (2.0, -0.5, 1)])
def test_beta_never_reverses_the_order(a: float, b: float, coefficient: int) -> None:
    assert Calibrator.fit("beta", *sample(0, a, b)).coefficients[coefficient] == 0.0


@pytest.mark.parametrize("method", ["platt", "beta"])
def test_inverted_probabilities_are_not_calibrated(method: CalibrationMethod) -> None:
    assert Calibrator.fit(method, *sample(0, -1.0, -1.0)).method == "none"


def test_calibrated_probabilities_are_not_calibrated_again() -> None:
    assert [select(*sample(seed))[0].method for seed in range(5)].count("none") >= 4


@pytest.mark.parametrize(("a", "b", "c"), [(0.5, 0.5, 0.0), (0.3, 2.0, -0.5), (1.0, 1.0, 1.0)])
def test_a_wrong_scale_is_corrected(a: float, b: float, c: float) -> None:
    calibrator, losses = select(*sample(1, a, b, c))
    p, _ = sample(2, a, b, c)
    expected = special.expit(a * np.log(p) - b * np.log1p(-p) + c)
    assert np.abs(calibrator(p) - expected).mean() < 0.015
    assert losses[calibrator.method] < losses["none"]


def test_rows_of_a_unit_are_not_independent_evidence() -> None:
    # Forty rows in two units suggest another scale.
    p = np.tile([0.3, 0.7], 20)
    truth = np.tile([0.0, 1.0], 20)
    rows = np.arange(40)
    by_row, _ = select_calibrator(p, truth, rows // 10, rows.astype(np.uint64))
    by_unit, _ = select_calibrator(p, truth, rows // 10, (rows % 2).astype(np.uint64))
    assert (by_row.method == "none", by_unit.method == "none") == (False, False)
    noisy = np.where(rows < 20, truth, 1 - truth)
    assert select_calibrator(p, noisy, rows // 20, (rows // 20).astype(np.uint64))[0].method == "none"


def test_separated_classes_have_a_finite_map() -> None:
    p = np.linspace(0.1, 0.9, 40)
    for method in METHODS:
        values = Calibrator.fit(method, p, (p > 0.5).astype(float))(p)
        assert np.isfinite(values).all()
        assert (np.diff(values) > 0).all()


def test_only_the_given_methods_are_tried() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=4000)
    truth = (rng.random(4000) < special.expit(3.0 * score)).astype(float)
    fold, units = np.arange(4000) % 5, np.arange(4000)
    calibrator, losses = select_calibrator(special.expit(score), truth, fold, units, ("none", "beta"))
    assert (calibrator.method, set(losses)) == ("beta", {"none", "beta"})
