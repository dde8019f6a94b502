"""Which training messages are set aside to choose, and that nothing is fitted to them before."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.deadline import Deadline
from ml.text.class_ratios import class_ratios
from ml.text.message_columns import MessageColumns
from ml.text.softmax_regression import SoftmaxRegression
from ml.text.temperature import fit_scale, log_loss
from ml.text.training_messages import CHOICE_SHARE, TrainingMessages

NO_LIMIT = Deadline(float("inf"), 1)


def dataset(messages: Sequence[str], codes: Sequence[float], units: Sequence[int] | None = None) -> Dataset:
    return Dataset(
        pd.DataFrame({"message": pd.Series(messages, dtype="str")}),
        pd.Series(codes, dtype="float64"),
        np.array(units if units is not None else range(len(messages)), np.uint64),
        classes=("a", "b", "c"),
        text_columns=("message",),
    )


def collect(rows: Dataset, seed: int = 0) -> TrainingMessages:
    return TrainingMessages.collect(rows, MessageColumns.fit(rows), ClassTarget.fit(rows), seed)


def test_a_tenth_of_each_class_is_set_aside_by_unit() -> None:
    codes = [0.0] * 200 + [1.0] * 200 + [2.0] * 200
    rows = dataset([f"message {n}" for n in range(600)], codes, [n // 2 for n in range(600)])
    found = collect(rows)
    assert np.bincount(found.codes[found.is_choice]).tolist() == [CHOICE_SHARE * 200] * 3
    by_unit = found.is_choice.reshape(300, 2)
    assert (by_unit[:, 0] == by_unit[:, 1]).all()
    assert (collect(rows).is_choice == found.is_choice).all()
    assert (collect(rows, seed=1).is_choice != found.is_choice).any()
    choice = found.part(found.is_choice)
    assert choice.messages == [m for m, chosen in zip(found.messages, found.is_choice, strict=True) if chosen]
    assert choice.frame["message"].tolist() == choice.messages
    assert choice.is_choice.all()


def test_copies_are_left_out_and_so_never_on_both_sides() -> None:
    messages = [f"message {n}" for n in range(60)]
    once, twice = (
        collect(dataset(messages * times, [0.0, 1.0, 2.0] * 20 * times, range(60 * times)))
        for times in (1, 2)
    )
    assert (once.messages, once.is_choice.tolist()) == (twice.messages, twice.is_choice.tolist())


def test_every_class_keeps_rows_to_fit_to() -> None:
    found = collect(dataset(["x", "y", "z"], [0.0, 1.0, 2.0]))
    assert not found.is_choice.any()
    # The only row of class 0 shares its unit with rows of class 1, half of whose units are set aside.
    rows = dataset(list("abcdef"), [0.0, 1.0, 1.0, 1.0, 2.0, 2.0], [0, 0, 0, 1, 2, 3])
    for seed in range(10):
        found = collect(rows, seed)
        assert set(found.codes[~found.is_choice]) == {0, 1, 2}


def wide(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, rows)
    return rng.normal(size=(rows, 20)) + 0.7 * np.eye(3, 20)[codes], codes


def test_penalty_and_temperature_are_those_of_the_rows_set_aside() -> None:
    (X, codes), penalties = wide(600, 0), (0.01, 0.1)
    is_choice = np.arange(600) % 5 == 0
    part, of_all = SoftmaxRegression.fit(X, codes, is_choice, penalties, NO_LIMIT)
    losses = {}
    for C in penalties:
        (alone, _) = SoftmaxRegression.fit(
            X[~is_choice], codes[~is_choice], np.zeros(480, bool), (C,), NO_LIMIT
        )
        scores = alone.scores(X[is_choice])
        scale = fit_scale(scores, codes[is_choice])
        losses[log_loss(scores, codes[is_choice], scale)] = (C, scale, alone.coefficients)
    C, scale, coefficients = losses[min(losses)]
    assert (part.C, of_all.C) == (C, C)
    assert part.scale == of_all.scale == pytest.approx(scale)
    np.testing.assert_array_equal(part.coefficients, coefficients)
    (whole, _) = SoftmaxRegression.fit(X, codes, np.zeros(600, bool), (C,), NO_LIMIT)
    np.testing.assert_array_equal(of_all.coefficients, whole.coefficients)


def test_labels_of_the_rows_set_aside_do_not_change_what_is_fitted_to_the_others() -> None:
    X, codes = wide(600, 0)
    is_choice = np.arange(600) % 5 == 0
    permuted = codes.copy()
    permuted[is_choice] = np.random.default_rng(1).permutation(codes[is_choice])
    arguments = (is_choice, (0.1,), NO_LIMIT, class_ratios)
    counts = sparse.csr_array(np.abs(X) * (np.abs(X) > 1))
    first, second = (SoftmaxRegression.fit(counts, each, *arguments) for each in (codes, permuted))
    np.testing.assert_array_equal(first[0].coefficients, second[0].coefficients)
    assert (first[1].coefficients != second[1].coefficients).any()
    assert first[0].scale != second[0].scale


def test_factors_of_columns_are_in_the_coefficients() -> None:
    X, codes = wide(600, 0)
    factors, is_choice = np.linspace(0.5, 2.0, 20, dtype=np.float32), np.arange(600) % 5 == 0
    weighed = SoftmaxRegression.fit(X, codes, is_choice, (1.0,), NO_LIMIT, lambda *_: factors)[1]
    plain = SoftmaxRegression.fit(X * factors, codes, is_choice, (1.0,), NO_LIMIT)[1]
    np.testing.assert_allclose(weighed.scores(X), plain.scores(X * factors), atol=1e-5)
