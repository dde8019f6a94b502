"""Texts of values: those of many numbers at once are the same as those of each alone."""

import math

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.formats.cell_text import cell_text, number_texts


@given(st.lists(st.none() | st.floats(width=64), max_size=50))
def test_texts_of_numbers_at_once_are_those_of_each_alone(numbers: list[float | None]) -> None:
    assert number_texts(pa.array(numbers, pa.float64())).to_pylist() == [cell_text(n) for n in numbers]


def test_texts_of_numbers_at_the_borders_of_python_s_notation() -> None:
    powers = [
        sign * 10.0**power * factor for power in range(-8, 20) for factor in (1, 1.5) for sign in (-1, 1)
    ]
    near = [np.nextafter(10.0**power, side) for power in (-4, 10, 15, 16) for side in (0, math.inf)]
    numbers = [
        *powers,
        *map(float, near),
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        2.0**53,
        2.0**53 - 1,
        0.1 + 0.2,
    ]
    texts = number_texts(pa.array(numbers, pa.float64()))
    assert texts.to_pylist() == [cell_text(n) for n in numbers]
