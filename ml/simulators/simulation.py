"""The interface of simulators: rows as a pipeline receives them, and the predictions of an oracle."""

from dataclasses import dataclass
from typing import Protocol

import pandas as pd


@dataclass(frozen=True)
class Simulation:
    """A simulated table, `rows`, and the predictions of the true probabilities for it, `oracle`.

    `oracle` has the form of a model's predictions. Its metrics are the best that a model can reach on these rows, apart
    from chance.
    """

    rows: pd.DataFrame
    oracle: pd.DataFrame


class Simulator(Protocol):
    """A function that simulates a data set."""

    def __call__(self, rows: int, seed: int) -> Simulation:
        """Draw exactly `rows` rows; the same `rows` and `seed` give the same tables.

        Raises ValueError if `rows` is below 1.
        """
        ...
