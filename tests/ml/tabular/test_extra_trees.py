"""Extra trees: LightGBM's predictions from the text are bit-identical to those of scikit-learn."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml import boosting
from ml.data.dataset import Dataset
from ml.encoding.tree_matrix import TreeEncoding
from ml.estimator import FitResources
from ml.tabular import extra_trees
from ml.tabular.extra_trees import ExtraTrees


def make_dataset(rows: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
            "y": rng.normal(size=rows),
            "town": pd.Series(rng.choice(["N", "S", "E"], rows), dtype="str"),
        }
    )
    truth = pd.Series((frame["y"] + rng.normal(size=rows) > np.isnan(frame["x"])).astype(float))
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64))


@pytest.mark.parametrize("target", ["binary", "numeric"])
def test_predictions_equal_scikit_learn(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forests: list[Any] = []
    to_text = extra_trees._to_lightgbm_text

    def record_forest(forest: Any, encoding: TreeEncoding) -> str:
        forests.append(forest)
        return to_text(forest, encoding)

    monkeypatch.setattr(extra_trees, "_to_lightgbm_text", record_forest)
    model = ExtraTrees(target, trees=30).fit(make_dataset(600, 0), make_dataset(10, 1), FitResources())
    frame = make_dataset(2 * boosting.MAX_SINGLE_THREAD_PREDICTION_ROWS, 2).frame
    X = model.encoding.encode(frame)
    expected = forests[0].predict_proba(X)[:, 1] if target == "binary" else forests[0].predict(X)
    np.testing.assert_array_equal(model.predict(frame).iloc[:, 0], expected)
    assert model.predict_row(frame.iloc[0].to_dict()) == expected[0]


def test_max_leaves_limits_trees_of_large_tables() -> None:
    model = ExtraTrees(trees=5, max_leaves=8).fit(make_dataset(2000, 0), make_dataset(10, 1), FitResources())
    sizes = [
        int(line.partition("=")[2]) for line in model.trees.splitlines() if line.startswith("num_leaves=")
    ]
    assert len(sizes) == 5
    assert 2 <= max(sizes) <= 8
