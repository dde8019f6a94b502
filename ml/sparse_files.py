"""Sparse matrices as `.npy` files without pickle, and the largest entries of rows."""

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from ml.histories import from_npy, narrow, to_npy

PARTS = ("data", "indices", "indptr")


def to_files(name: str, matrix: sparse.csr_array) -> dict[str, bytes]:
    """The three arrays of a CSR matrix, as files `name.data.npy` and so on."""
    return {f"{name}.{part}.npy": to_npy(getattr(matrix, part)) for part in PARTS}


def from_files(name: str, files: Mapping[str, bytes], shape: tuple[int, int]) -> sparse.csr_array:
    """Read what `to_files` gave."""
    return sparse.csr_array(tuple(from_npy(files, f"{name}.{part}.npy") for part in PARTS), shape=shape)


def largest(rows: np.ndarray, n: int) -> sparse.csr_array:
    """The `n` entries of most absolute value of each row of a dense matrix, float32, zeros left out."""
    found = np.zeros(rows.shape, dtype=bool)
    if n < rows.shape[1]:
        kept = np.argpartition(-np.abs(rows), n - 1, axis=1)[:, :n]
        np.put_along_axis(found, kept, True, axis=1)
    else:
        found[:] = True
    return narrow(sparse.csr_array(np.where(found, rows, 0.0).astype(np.float32)))


def pruned(matrix: sparse.csr_array, n: int) -> sparse.csr_array:
    """The `n` largest entries of each row of a matrix without negative ones, ties in order, float32."""
    sizes = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    kept = order[np.arange(len(order)) - matrix.indptr[row] < n]
    triplets = (matrix.data[kept].astype(np.float32), (row[kept], matrix.indices[kept]))
    return narrow(sparse.coo_array(triplets, matrix.shape).tocsr())
