"""Leaks of a target of several classes: found where columns determine the class, and not where they only help."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from ml.data.class_leaks import find_class_pair_leaks, first_half, measure_class_columns, measure_class_signal

ROWS = 4000


def truth_of(classes: int, rows: int = ROWS, seed: int = 0) -> np.ndarray:
    shares = np.random.default_rng(seed).dirichlet(np.full(classes, 3.0))
    return np.random.default_rng(seed + 1).choice(classes, rows, p=shares).astype(float)


def names(truth: np.ndarray) -> pd.Series:
    return pd.Series(truth.astype(int)).map("C{}".format).astype("str")


def with_errors(truth: np.ndarray, share: float, seed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < share, rng.permutation(truth), truth)


@pytest.mark.parametrize("classes", [3, 12, 77])
def test_a_copy_of_the_target_is_a_leak_and_noise_is_none(classes: int) -> None:
    truth = truth_of(classes, 12_000)
    frame = pd.DataFrame(
        {
            "copy": names(truth),
            "with_errors": names(with_errors(truth, 0.02)),
            "helpful": names(with_errors(truth, 0.5)),
            "noise": np.random.default_rng(5).normal(size=len(truth)),
        }
    )
    measured = {m.column: m for m in measure_class_columns(frame, truth)}
    assert [name for name, m in measured.items() if m.is_leak] == ["copy", "with_errors"]
    assert measured["copy"].auc == pytest.approx(1.0, abs=0.001)
    assert measured["noise"].auc == pytest.approx(0.5, abs=0.03)
    assert 0.6 < measured["helpful"].auc < 0.9


def test_a_column_that_reveals_one_class_of_several_is_no_leak() -> None:
    truth = truth_of(8)
    frame = pd.DataFrame({"is_first": (truth == 0).astype(float)})
    (measured,) = measure_class_columns(frame, truth)
    assert not measured.is_leak
    assert measured.auc > 0.55


def test_clean_tables_have_no_leaks() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = truth_of(6, 400, seed)
        frame = pd.DataFrame(rng.normal(size=(400, 6)) + truth[:, None] * rng.uniform(0, 0.5, 6)).add_prefix(
            "x"
        )
        assert not any(m.is_leak for m in measure_class_columns(frame, truth))
        assert find_class_pair_leaks(frame, truth, list(frame.columns)) == []


def test_flowers_that_a_petal_tells_apart_are_no_leak() -> None:
    iris = load_iris(as_frame=True)
    assert not any(m.is_leak for m in measure_class_columns(iris.data, iris.target.to_numpy(float)))


def test_two_columns_that_reveal_the_class_together_only_are_found() -> None:
    truth = truth_of(5)
    first = np.random.default_rng(9).integers(0, 5, ROWS)
    frame = pd.DataFrame(
        {
            "first": names(first),
            "difference": names((truth - first) % 5),
            "helpful": names(with_errors(truth, 0.7)),
        }
    )
    assert not any(m.is_leak for m in measure_class_columns(frame, truth))
    (leak,) = find_class_pair_leaks(frame, truth, list(frame.columns))
    assert set(leak.columns) == {"first", "difference"}
    assert leak.limit > 0.95


def test_a_column_with_nearly_the_whole_signal_is_found() -> None:
    truth = truth_of(6)
    rng = np.random.default_rng(3)
    weak = {f"x{k}": rng.normal(size=ROWS) + 0.05 * truth for k in range(4)}
    derived = pd.DataFrame({"derived": names(with_errors(truth, 0.12)), **weak})
    signal = measure_class_signal(derived, truth)
    assert signal
    assert signal.column == "derived"
    assert signal.is_leak
    honest = measure_class_signal(pd.DataFrame({"helpful": names(with_errors(truth, 0.6)), **weak}), truth)
    assert honest
    assert not honest.is_leak


@pytest.mark.parametrize("classes", [2, 3, 50])
def test_half_of_the_classes_has_about_half_of_the_rows(classes: int) -> None:
    truth = truth_of(classes)
    half = first_half(truth)
    assert pd.Series(half).groupby(truth).nunique().max() == 1
    assert 0.1 < half.mean() < 0.9


def test_odd_targets_and_tables_are_measured() -> None:
    one_class, many = np.zeros(30), np.arange(3000.0)
    frame = pd.DataFrame({"x": np.arange(3000.0), "c": pd.Series(["a"] * 3000, dtype="str")})
    assert [m.auc for m in measure_class_columns(frame[:30], one_class)] == [0.5, 0.5]
    assert not any(m.is_leak for m in measure_class_columns(frame, many))
    assert measure_class_columns(frame[[]], many) == []
    assert find_class_pair_leaks(frame[[]], many, []) == []
    assert measure_class_signal(frame, many) is None
