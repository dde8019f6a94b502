"""The second decision about models of texts: the champion read back from its package, on the same messages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.comparison import Circumstances, Comparison, Contender, compare, one_by_one
from ml import package
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources
from ml.evaluation.evaluator import BinaryEvaluator, Evaluator
from ml.evaluation.looks import CLEAR, UNKNOWN, EarlierLook, look_level, sketch_rows
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.tabular.class_prior import ClassPrior
from ml.tabular.constant import Constant
from ml.text.tfidf_linear import TfidfLinear
from tasks.ledger import KEEP_CHAMPION, PROMOTE

pytestmark = pytest.mark.usefixtures("prefect_api")
WORDS = {
    "refund": ("money", "charged", "back"),
    "card": ("chip", "pin", "plastic"),
    "trip": ("abroad", "visa", "hotel"),
}
FILLERS = ("please", "help", "with", "the", "need", "want")
EVALUATORS: dict[str, Evaluator] = {
    "several classes": MulticlassEvaluator(),
    "two classes": BinaryEvaluator(),
}
SIMPLE: dict[str, Candidate] = {"several classes": ClassPrior(), "two classes": Constant()}
TRAIN, VALID, TEST = range(200), range(200, 400), range(400, 600)


def messages(kind: str, numbers: Sequence[int]) -> Dataset:
    """Draw messages with two words of their class in six, but for a tenth, which have those of any class."""
    labels = tuple(WORDS) if kind == "several classes" else tuple(WORDS)[:2]
    draws = np.random.default_rng(0)
    truth = draws.integers(0, len(labels), 1000)
    topic = np.where(draws.random(1000) < 0.1, draws.integers(0, len(labels), 1000), truth)
    texts = [
        " ".join(draws.permutation([*draws.choice(WORDS[labels[k]], 2), *draws.choice(FILLERS, 4)]))
        for k in topic
    ]
    classes = labels if len(labels) > 2 else ()
    frame = pd.DataFrame({"text": pd.Series(texts, dtype="str")})
    units = np.arange(1000, dtype=np.uint64)
    rows = Dataset(frame, pd.Series(truth, dtype="float64"), units, classes=classes, text_columns=("text",))
    return rows.take(np.asarray(numbers))


def packed(kind: str, candidate: Candidate, numbers: Sequence[int], folder: Path) -> package.Package:
    """Fit to messages, write a package that knows train and valid, and read it back, as a champion is read."""
    labels = list(WORDS)
    target = {"labels": labels} if kind == "several classes" else {"positive": [labels[1]]}
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": {"text": "category", "about": "category"}},
        "roles": {"target": {"column": "about", **target}, "text": ["text"]},
    }
    contract = parse({"name": "toy.messages", "expectations": [], "meta": meta})
    model = candidate.fit(messages(kind, numbers), messages(kind, VALID), FitResources())
    known = EVALUATORS[kind].training_keys(messages(kind, [*TRAIN, *VALID]))
    folder.mkdir()
    return package.read(folder, package.write(package.Package(model, contract.source, {}, known), folder))


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_second_model_of_texts_is_compared_on_the_same_messages(kind: str, tmp_path: Path) -> None:
    evaluator, test, valid = EVALUATORS[kind], messages(kind, TEST), messages(kind, VALID)
    simple = packed(kind, SIMPLE[kind], TRAIN, tmp_path / "simple")
    better = packed(kind, TfidfLinear(), TRAIN, tmp_path / "better")
    fewer = packed(kind, TfidfLinear(min_messages=3), TRAIN[:120], tmp_path / "fewer")
    selected_by = sketch_rows(valid)

    def decide(challenger: package.Package, champion: package.Package, **changes: Any) -> Comparison:
        ours = Contender(one_by_one(challenger.predict), changes.pop("ours", selected_by))
        theirs = Contender(one_by_one(champion.predict), selected_by)
        circumstances = Circumstances(changes.pop("recipe", "better"), **changes)
        return compare(evaluator, (test, valid), ours, theirs, champion.training_entities, circumstances)

    # The first champion is a prior; words are better.
    promoted = decide(better, simple)
    verdict = promoted.verdict
    assert (verdict.verdict, verdict.units) == (PROMOTE, 200)
    expected = evaluator.paired_difference(test, better.predict(test.frame), simple.predict(test.frame))
    assert verdict.look
    assert verdict.difference
    assert verdict.loss
    assert verdict.difference["value"] == pytest.approx(expected.value)
    assert (verdict.look["number"], verdict.look["lead"], verdict.look["is_new_recipe"]) == (1, CLEAR, True)
    assert verdict.loss["high"] < 0
    assert promoted.rows == sketch_rows(test)
    # The prior does not lead on validation messages: no look at the test messages is used.
    behind = decide(simple, better, recipe="prior").verdict
    assert (behind.verdict, behind.look, behind.difference) == (KEEP_CHAMPION, None, None)
    assert behind.reason.startswith("not ahead of the champion on validation rows")
    # A model whose lead is unknown is compared, which is the second look at these messages.
    earlier = [EarlierLook(promoted.rows, "better", True, True, CLEAR)]
    second = decide(fewer, better, recipe="fewer", ours="", earlier=earlier).verdict
    assert second.look
    assert (second.verdict, second.look["number"], second.look["lead"]) == (KEEP_CHAMPION, 2, UNKNOWN)
    assert second.look["level"] == pytest.approx(look_level(True, UNKNOWN, {CLEAR: 1}))
    assert f"{'Accuracy' if test.classes else 'ROC AUC'}, 200 units; look 2 on these rows" in second.reason
