"""Files of fitted recommenders are made from their fields."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.recommender_model import RecommenderModel


@dataclass(frozen=True, eq=False)
class AllKinds(RecommenderModel):
    matrix: sparse.csr_array
    vector: np.ndarray
    weights: Mapping[str, np.ndarray]
    decay: float
    sample: np.ndarray | None = None

    def scores(self, histories: Histories) -> np.ndarray:
        return np.tile(self.vector, (len(histories), 1))


def test_fields_are_saved_by_type_and_read_back() -> None:
    matrix = sparse.csr_array(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    weights = {"layer": np.ones((2, 2), np.float32)}
    model = AllKinds(Catalogue(("a", "b"), (2, 1)), True, matrix, np.array([1.0, 2.0]), weights, 0.5)
    files = model.files()
    assert json.loads(files["model.json"]) == {
        "allow_repeats": True,
        "matrix": [2, 3],
        "decay": 0.5,
        "sample": None,
    }
    arrays = {"matrix.data.npy", "matrix.indices.npy", "matrix.indptr.npy", "vector.npy"}
    assert set(files) == {"model.json", "catalogue.json", "weights.safetensors", *arrays}
    loaded = AllKinds.from_files(files)
    assert loaded.files() == files
    assert (loaded.catalogue, loaded.allow_repeats, loaded.decay, loaded.sample) == (
        model.catalogue,
        True,
        0.5,
        None,
    )
    assert loaded.matrix.shape == (2, 3)
    np.testing.assert_array_equal(loaded.matrix.toarray(), matrix.toarray())
    np.testing.assert_array_equal(loaded.vector, model.vector)
    np.testing.assert_array_equal(loaded.weights["layer"], weights["layer"])
