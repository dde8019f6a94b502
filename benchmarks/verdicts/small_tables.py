"""Choice on small tables: what the flow chooses, beside what each candidate would have scored on test.

Twelve divisions of each table into 80 % and a test of 20 %; each fit may take a second. Besides the present choice, out
of fold on the 80 %, the earlier one is shown: fits to four fifths of them, compared on the last.
`python -m benchmarks.choices` has the time budget of the flow, and more tables.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from benchmarks.choices import choose, scores_on_test
from benchmarks.outer_folds import outer_folds
from benchmarks.tabular_datasets import load_table
from benchmarks.verdicts.figures import Figure, shown
from flows.fintech_risk import CASE
from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.estimator import FitResources
from tasks.fit_plan import PlannedFit

SETS = ("pima_diabetes", "german_credit", "heart_disease")
SPLITS, FOLDS = 12, 5
SECONDS = 1.0


def choose_both(rows: Dataset, test: Dataset, seed: int) -> tuple[dict[str, float], str, str, float]:
    """Return the AUC on test by candidate, the present choice, the earlier choice, and the AUC of the latter."""
    resources = FitResources(seed, 1, SECONDS)
    planned = {name: PlannedFit(candidate, SECONDS) for name, candidate in CASE.candidates.items()}
    fit_rows, valid_rows = stopping_split(rows, "binary", 10_000 + seed)
    present = choose(CASE, planned, rows, None, resources)
    earlier = choose(CASE, planned, rows.take(fit_rows), rows.take(valid_rows), resources)
    return (
        scores_on_test(present, test),
        present.chosen,
        earlier.chosen,
        scores_on_test(earlier, test)[earlier.chosen],
    )


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Choose on each division of each table."""
    count = max(round(scale * SPLITS), 1)
    for name in SETS:
        data = load_table(name)
        folds = list(outer_folds(data.dataset, data.grouped, FOLDS, -(-count // FOLDS)))[:count]
        results = [
            choose_both(data.dataset.take(fold.train), data.dataset.take(fold.test), seed + number)
            for number, fold in enumerate(folds)
        ]
        for candidate in results[0][0]:
            mean = float(np.mean([on_test[candidate] for on_test, *_ in results]))
            yield shown(7, f"{name}, {count} splits: AUC of {candidate}", f"{mean:.4f}")
        for text, position in (("out of fold", 1), ("on valid, as before", 2)):
            chosen = Counter(str(result[position]) for result in results)
            values = [result[3] if position == 2 else result[0][result[1]] for result in results]
            choices = ", ".join(f"{count} x {name}" for name, count in chosen.most_common())
            yield shown(7, f"{name}: AUC of the choice {text} ({choices})", f"{np.mean(values):.4f}")
