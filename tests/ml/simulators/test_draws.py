"""Draws shared by the simulators: weights are respected, zero weights are never drawn."""

import numpy as np
import pytest

from ml.simulators.draws import category, choose, generators, identifiers, named


def test_choose_draws_by_the_weights_of_the_row_asked_for() -> None:
    tables = np.array([[1.0, 0.0, 3.0], [0.0, 5.0, 0.0]])
    which = np.repeat([0, 1], 20_000)
    drawn = choose(np.random.default_rng(0), tables, which)
    assert np.bincount(drawn[:20_000], minlength=3)[1] == 0
    assert np.mean(drawn[:20_000] == 2) == pytest.approx(0.75, abs=0.015)
    assert (drawn[20_000:] == 1).all()


def test_choose_stays_in_its_row_when_the_draw_rounds_up_to_the_next() -> None:
    class Highest(np.random.Generator):
        def random(self, size: int) -> np.ndarray:  # type: ignore[override]
            return np.full(size, np.nextafter(1.0, 0.0))

    tables = np.tile([2.0, 1.0, 0.0], (5000, 1))
    assert (choose(Highest(np.random.PCG64(0)), tables, np.arange(5000)) == 1).all()


def test_category_follows_the_softmax_of_its_logits() -> None:
    logits = {"never": -50.0, "one": np.zeros(20_000), "three": np.full(20_000, np.log(3.0))}
    share = category(np.random.default_rng(1), 20_000, logits).value_counts(normalize=True)
    assert set(share.index) == {"one", "three"}
    assert share["three"] == pytest.approx(0.75, abs=0.015)


def test_identifiers_are_text_padded_with_zeros_and_never_cut() -> None:
    made = identifiers("A", np.array([12, 123_456_789]))
    assert made.dtype == "str"
    assert made.tolist() == ["A0000012", "A123456789"]


def test_named_gives_the_name_at_each_code() -> None:
    assert named(("x", "y"), np.array([1, 0, 1])).tolist() == ["y", "x", "y"]


def test_the_generator_of_a_step_does_not_depend_on_how_many_steps_follow() -> None:
    assert generators(1, 5, 1)[0].random() == generators(1, 5, 4)[0].random()
    first, second = generators(1, 5, 2)
    assert first.random() != second.random()


@pytest.mark.parametrize("rows", [0, -3])
def test_fewer_than_one_row_is_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 row to simulate, got {rows}; ask for"):
        generators(rows, 0, 1)
