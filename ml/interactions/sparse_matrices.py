"""Sparse matrices as `.npy` files without pickle, and the largest entries of rows."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

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


BLOCK_ROWS = 2048


BLOCK_CELLS = 2**24


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` highest of `scores` (1-d), best first, ties in order; never one of -inf."""
    listed = scores[scores > -np.inf]
    if not len(listed):
        return np.empty(0, dtype=np.int64)
    # Items without evidence share the lowest score: numpy partitions such long ties slowly, and they need no sorting.
    above = np.flatnonzero(scores > listed.min())
    if len(above) >= n:
        loss = -scores[above]
        above = above[loss <= np.partition(loss, n - 1)[n - 1]]
    rest = np.flatnonzero(scores == listed.min())[: max(n - len(above), 0)]
    return np.concatenate([above[np.argsort(-scores[above], kind="stable")[:n]], rest])


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows`, each small enough for a dense array with that many `columns`."""
    step = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(columns, 1)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def narrow(matrix: sparse.csr_array) -> sparse.csr_array:
    """The same matrix with indices of 32 bits where they fit: half the bytes.

    And no copies: a product of matrices of two widths converts the narrower one as a whole, for one user as for all.
    """
    if max(matrix.nnz, *matrix.shape) <= np.iinfo(np.int32).max:
        matrix.indices = matrix.indices.astype(np.int32, copy=False)
        matrix.indptr = matrix.indptr.astype(np.int32, copy=False)
    return matrix


def to_npy(array: np.ndarray) -> bytes:
    """The array as a `.npy` file without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(files: Mapping[str, bytes], name: str) -> np.ndarray:
    """The array of the file `name`."""
    array: np.ndarray = np.load(io.BytesIO(files[name]), allow_pickle=False)
    return array
