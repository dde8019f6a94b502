"""Weights of n-grams by how differently often the classes use them (Wang and Manning, 2012)."""

import numpy as np
from scipy import sparse


def class_ratios(X: sparse.csr_array, codes: np.ndarray) -> np.ndarray:
    """Return for each column of X the largest absolute log ratio of its share in a class and in the others, float32.

    Shares are of rows with a value, plus one. With two classes this is the ratio of the paper.
    """
    classes = int(codes.max()) + 1
    members = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), (classes, len(codes)))
    counts = (members @ (X != 0).astype(np.float64)).toarray()
    inside, outside = counts + 1.0, counts.sum(axis=0) - counts + 1.0
    inside /= inside.sum(axis=1, keepdims=True)
    outside /= outside.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(np.log(inside / outside)).max(axis=0), np.float32)
