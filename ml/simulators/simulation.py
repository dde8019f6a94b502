"""What a simulator gives: rows as a pipeline would receive them, and the predictions of the truth."""

from dataclasses import dataclass
from typing import Protocol

import pandas as pd


@dataclass(frozen=True)
class Simulation:
    """`rows` is the table; `oracle` is what the truth would predict, in the shape of a model's predictions.

    A metric of `oracle` is the best that any model can reach on these rows, up to chance.
    """

    rows: pd.DataFrame
    oracle: pd.DataFrame


class Simulator(Protocol):
    """Draws exactly `rows` rows; the same `rows` and `seed` give the same frames.

    Raises ValueError if `rows` is below 1.
    """

    def __call__(self, rows: int, seed: int) -> Simulation: ...
