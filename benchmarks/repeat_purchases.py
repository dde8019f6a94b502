"""The comparison with a champion where items return: `python -m benchmarks.repeat_purchases`.

In the log of online_retail most customers buy an item again. A model of repeat purchases is the champion; each
challenger is fitted to the same events and compared with it as in a run. Prints how many customers are compared on, and
the verdicts. Needs `STEWARD_DATA_DIR`.
"""

import os

from benchmarks.next_item_splits import load_split
from flows.ecommerce_recommendation import CASE
from ml.estimator import FitResources
from tasks.ledger import Verdict
from tasks.promote import compare_with_champion

CHAMPION = "repeat purchases"
CHALLENGERS = ("popularity (30 d)", "item-kNN", "Markov")
RESOURCES = FitResources(0, len(os.sched_getaffinity(0)), float("inf"), 0, "cpu")


def compare_challengers() -> dict[str, Verdict]:
    """Fit the models and return the verdict about each challenger."""
    split = load_split("time", "online_retail")
    train, evaluator = split.train["all before"], CASE.evaluator
    rows = evaluator.rows_not_trained_on(split.test, evaluator.training_keys(train))
    test, left_out = split.test.take(rows), len(split.test.frame) - len(rows)
    predictions = {
        name: CASE.candidates[name].fit(train, split.test, RESOURCES).predict(test.frame)
        for name in (CHAMPION, *CHALLENGERS)
    }
    return {
        name: compare_with_champion.fn(evaluator, test, predictions[name], predictions[CHAMPION], left_out)
        for name in CHALLENGERS
    }


def main() -> None:
    """Compare the models and print the verdicts."""
    for name, verdict in compare_challengers().items():
        print(f"{name} against {CHAMPION}, {verdict.units} units: {verdict.verdict}, {verdict.reason}")


if __name__ == "__main__":
    main()
