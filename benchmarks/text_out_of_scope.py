"""What becomes of messages of intents that a model does not know: `python -m benchmarks.text_out_of_scope`.

Needs STEWARD_DATA_DIR. For each seed ten intents of banking77 are left out of training and validation; the model knows
the other 67. Test rows of the ten ought to be left to people, those of the others answered. The score is the
probability of the predicted class, as in a run. Its threshold is chosen on validation rows in three ways:

    known      on rows of the known intents alone, as without `out_of_scope` in a contract
    same       also on the training rows of the ten intents, as where a contract gives rows like those to come
    other      also on the training rows of five of the ten, and tested on the other five: unlike those to come

Test rows choose nothing.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.text_datasets import SETS, MessageSplit, known_and_unknown
from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources, Model
from ml.evaluation.answers import rejection_metrics
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator, class_probabilities
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.tfidf_linear import TfidfLinear

CANDIDATES: dict[str, Candidate] = {"tf-idf": TfidfLinear(), "frozen": FrozenEncoder()}
LEFT_OUT = 10


@dataclass(frozen=True, eq=False)
class KnownIntents:
    """A split of the known intents, and the rows of the unknown ones from the training and from the test file."""

    split: MessageSplit
    unknown_train: Dataset
    unknown_test: Dataset


def leave_out(intents: int, seed: int) -> KnownIntents:
    """Return banking77 with as many intents, drawn by `seed`, kept apart."""
    split = next(SETS["banking77"](range(1)))
    drawn = np.random.default_rng(seed).choice(len(split.train.classes), intents, replace=False)
    (train, _), (part, unknown), (valid, _), (test, unknown_test) = (
        known_and_unknown(rows, drawn) for rows in (split.train, split.part, split.valid, split.test)
    )
    return KnownIntents(MessageSplit(train, part, valid, test, split.copies), unknown, unknown_test)


def measure(model: Model, data: KnownIntents) -> Iterator[dict[str, object]]:
    """Yield for each way to choose the threshold what is answered, and how many unknown messages are left to people."""
    evaluator, classes = MulticlassEvaluator(), data.split.valid.classes
    valid, test = (model.predict(part.frame) for part in (data.split.valid, data.split.test))
    known, unknown = (model.predict(part.frame) for part in (data.unknown_train, data.unknown_test))
    intents = np.unique(data.unknown_test.truth)
    halves = [np.isin(part.truth, intents[::2]) for part in (data.unknown_train, data.unknown_test)]
    ways: dict[str, list[tuple[pd.DataFrame | None, pd.DataFrame]]] = {
        "known": [(None, unknown)],
        "same": [(known, unknown)],
        "other": [(known[halves[0]], unknown[~halves[1]]), (known[~halves[0]], unknown[halves[1]])],
    }
    for way, pairs in ways.items():
        results = []
        for chosen_on, tested in pairs:
            decision = evaluator.decision(data.split.valid, valid, chosen_on)
            results.append(
                evaluator.metrics(data.split.test, test, decision)
                | rejection_metrics(
                    class_probabilities(test, classes),
                    class_probabilities(tested, classes),
                    decision["min_probability"],
                )
            )
        names = ("accuracy", "answered", "answered_accuracy", "rejected", "roc_auc")
        yield {"way": way} | {
            name: round(float(np.mean([result[name] for result in results])), 4) for name in names
        }


def main() -> None:
    """Print a line of JSON for each candidate, seed and way, then the means over seeds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text_out_of_scope",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    lines = []
    for seed in range(options.seeds):
        data = leave_out(LEFT_OUT, seed)
        for name in options.candidates.split(","):
            resources = FitResources(seed, options.threads)
            model = CANDIDATES[name].fit(data.split.part, data.split.valid, resources)
            for result in measure(model, data):
                lines.append({"candidate": name, "seed": seed, **result})
                print(json.dumps(lines[-1]), flush=True)
    means = pd.DataFrame(lines).drop(columns="seed").groupby(["candidate", "way"], sort=False).mean()
    print(means.round(4).to_string())


if __name__ == "__main__":
    main()
