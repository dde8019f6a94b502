"""The forest: scikit-learn's own predictions, to the last bit, from LightGBM's text."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml import boosting
from ml.data.dataset import Dataset
from ml.encoding.tree_matrix import TreeEncoding
from ml.estimator import FitResources
from ml.tabular import extra_trees
from ml.tabular.extra_trees import Forest


def made(rows: int, seed: int) -> Dataset:
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
def test_predicts_what_scikit_learn_predicts(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[Any] = []
    exported = extra_trees._exported

    def noted(trees: Any, encoding: TreeEncoding) -> str:
        grown.append(trees)
        return exported(trees, encoding)

    monkeypatch.setattr(extra_trees, "_exported", noted)
    model = Forest(target, trees=30).fit(made(600, 0), made(10, 1), FitResources())
    frame = made(2 * boosting.SMALL_FRAME, 2).frame
    X = model.encoding.encode(frame)
    expected = grown[0].predict_proba(X)[:, 1] if target == "binary" else grown[0].predict(X)
    np.testing.assert_array_equal(model.predict(frame).iloc[:, 0], expected)
    assert model.predict_row(frame.iloc[0].to_dict()) == expected[0]


def test_trees_of_large_tables_stay_small() -> None:
    model = Forest(trees=5, max_leaves=8).fit(made(2000, 0), made(10, 1), FitResources())
    sizes = [
        int(line.partition("=")[2]) for line in model.trees.splitlines() if line.startswith("num_leaves=")
    ]
    assert len(sizes) == 5
    assert 2 <= max(sizes) <= 8
