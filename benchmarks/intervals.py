"""Width and coverage of intervals of single predictions: `python -m benchmarks.intervals`. Needs STEWARD_DATA_DIR.

The amount of German credit is predicted by ridge regression. In each of 20 divisions, 400 rows are for training, 300
choose the half widths, and 300 measure: with one width for all rows, and with one for each third of the predictions.
"""

import numpy as np
import pandas as pd

from benchmarks.tabular_datasets import load_table
from ml.data.dataset import Dataset
from ml.data.decisions import HALF_WIDTH, THIRDS, half_widths, third_of
from ml.estimator import FitResources
from ml.evaluation.prediction_intervals import choose_half_widths, covered
from ml.tabular.linear import Linear

AMOUNT = "credit_amount"
DIVISIONS, TRAIN, CALIBRATION = 20, 400, 300
COVERAGE = 0.9


def load_amounts() -> Dataset:
    """Return German credit with the amount as the target."""
    table = load_table("german_credit").dataset
    return Dataset(table.frame.drop(columns=AMOUNT), table.frame[AMOUNT], table.units)


def measure(rows: Dataset, seed: int) -> pd.DataFrame:
    """Return coverage and mean width of each third and of all, with one width and with three, for one division."""
    order = np.random.default_rng(seed).permutation(len(rows.frame))
    train, calibration, test = map(rows.take, np.split(order, [TRAIN, TRAIN + CALIBRATION]))
    model = Linear("numeric").fit(train, train, FitResources(seed))
    known, new = (model.predict(part.frame)["prediction"].to_numpy() for part in (calibration, test))
    decision = choose_half_widths(calibration.truth.to_numpy() - known, known, COVERAGE)
    third = third_of(new, decision)
    assert third is not None
    found = []
    for widths, half in (
        ("one", np.full(len(new), decision[HALF_WIDTH])),
        ("by third", half_widths(new, decision)),
    ):
        inside = covered(test.truth.to_numpy(), new, half)
        parts = {name: third == number for number, name in enumerate(THIRDS)}
        for name, part in {**parts, "all": third >= 0}.items():
            found.append((widths, name, inside[part].mean(), 2.0 * half[part].mean()))
    return pd.DataFrame(found, columns=["widths", "third", "coverage", "width"])


def main() -> None:
    """Print the means over divisions."""
    rows = load_amounts()
    found = pd.concat([measure(rows, seed) for seed in range(DIVISIONS)])
    means = found.groupby(["widths", "third"], sort=False).mean()
    print(means.round({"coverage": 3, "width": 0}).to_string())


if __name__ == "__main__":
    main()
