"""Rows of none of the classes, where a split has some, choose the threshold of answers in the leaderboard."""

from pathlib import Path

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.row_split import OUT_OF_SCOPE_VALID, VALID
from ml.estimator import FitResources
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.serialization import class_name
from ml.tabular.multiclass_linear import MulticlassLinear
from tasks.evaluate import build_leaderboard, leaderboard_entries
from tasks.storage.content_store import StageResult, Store

CLASSES = ("a", "b", "c")


def test_leaderboard_chooses_the_threshold_on_rows_of_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    known = pd.DataFrame({"x": truth + 0.2 * rng.normal(size=600)})
    valid = Dataset(
        known, pd.Series(truth, dtype="float64"), np.arange(600, dtype=np.uint64), classes=CLASSES
    )
    # Between the classes, where the model is unsure.
    between = pd.DataFrame({"x": rng.choice([0.5, 1.5], 60) + 0.05 * rng.normal(size=60)})
    of_none = Dataset(between, pd.Series(np.full(60, np.nan)), np.arange(60, dtype=np.uint64))
    store, model = Store(tmp_path), MulticlassLinear().fit(valid, valid, FitResources())
    facts = {"seconds": 1.0, "stopped_by": None, "composition": {}, "importance": {}}
    stage = StageResult({}, {**facts, "model": class_name(model)}, model.files())
    fitted = {"linear": store.get_or_compute("fit", lambda: stage)}
    found = {}
    for name, extra in {"without": {}, "with": {OUT_OF_SCOPE_VALID: of_none.to_table()}}.items():
        tables = {VALID: valid.to_table(), **extra}
        splits = store.get_or_compute(name, lambda t=tables: StageResult(t, {"classes": list(CLASSES)}))
        stored = build_leaderboard.fn(fitted, {}, splits, MulticlassEvaluator(), store)
        found[name] = leaderboard_entries(stored, fitted)[0]["decision"]["min_probability"]
    evaluator, prediction = MulticlassEvaluator(), model.predict(known)
    assert found["without"] == evaluator.decision(valid, prediction)["min_probability"]
    chosen = evaluator.decision(valid, prediction, model.predict(between))["min_probability"]
    assert found["with"] == chosen != found["without"]
