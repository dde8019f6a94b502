"""Random draws of the simulators: weights are respected, and columns of weight 0 are never drawn."""

import numpy as np
import pytest

from ml.simulators.draws import (
    draw_categories,
    draw_from_tables,
    identifiers,
    names_of_codes,
    spawn_generators,
)


def test_a_column_is_drawn_by_the_weights_of_its_table_row() -> None:
    tables = np.array([[1.0, 0.0, 3.0], [0.0, 5.0, 0.0]])
    table_rows = np.repeat([0, 1], 20_000)
    drawn = draw_from_tables(np.random.default_rng(0), tables, table_rows)
    assert np.bincount(drawn[:20_000], minlength=3)[1] == 0
    assert np.mean(drawn[:20_000] == 2) == pytest.approx(0.75, abs=0.015)
    assert (drawn[20_000:] == 1).all()


def test_rounding_does_not_move_a_draw_to_the_next_table_row() -> None:
    class Highest(np.random.Generator):
        def random(self, size: int) -> np.ndarray:  # type: ignore[override]
            return np.full(size, np.nextafter(1.0, 0.0))

    tables = np.tile([2.0, 1.0, 0.0], (5000, 1))
    assert (draw_from_tables(Highest(np.random.PCG64(0)), tables, np.arange(5000)) == 1).all()


def test_categories_follow_the_softmax_of_the_logits() -> None:
    logits = {"never": -50.0, "one": np.zeros(20_000), "three": np.full(20_000, np.log(3.0))}
    share = draw_categories(np.random.default_rng(1), 20_000, logits).value_counts(normalize=True)
    assert set(share.index) == {"one", "three"}
    assert share["three"] == pytest.approx(0.75, abs=0.015)


def test_identifiers_are_padded_with_zeros_and_never_truncated() -> None:
    names = identifiers("A", np.array([12, 123_456_789]))
    assert names.dtype == "str"
    assert names.tolist() == ["A0000012", "A123456789"]


def test_names_are_taken_at_their_codes() -> None:
    assert names_of_codes(("x", "y"), np.array([1, 0, 1])).tolist() == ["y", "x", "y"]


def test_the_generator_of_a_step_does_not_depend_on_later_steps() -> None:
    assert spawn_generators(1, 5, 1)[0].random() == spawn_generators(1, 5, 4)[0].random()
    first, second = spawn_generators(1, 5, 2)
    assert first.random() != second.random()


@pytest.mark.parametrize("rows", [0, -3])
def test_less_than_one_row_is_rejected(rows: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 row to simulate; got {rows}; pass"):
        spawn_generators(rows, 0, 1)
