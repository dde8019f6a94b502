"""Sparse matrices: largest entries of rows, row blocks of bounded size, storage as `.npy` files without pickle."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

CSR_ARRAYS = ("data", "indices", "indptr")
MAX_BLOCK_ROWS = 2048
MAX_BLOCK_CELLS = 2**24


def csr_to_files(name: str, matrix: sparse.csr_array) -> dict[str, bytes]:
    """Return the three arrays of a CSR matrix as files `<name>.data.npy`, `.indices.npy` and `.indptr.npy`."""
    return {f"{name}.{array}.npy": to_npy(getattr(matrix, array)) for array in CSR_ARRAYS}


def csr_from_files(name: str, files: Mapping[str, bytes], shape: tuple[int, int]) -> sparse.csr_array:
    """Read the files of `csr_to_files`."""
    return sparse.csr_array(
        tuple(from_npy(files, f"{name}.{array}.npy") for array in CSR_ARRAYS), shape=shape
    )


def top_entries_dense(rows: np.ndarray, n: int) -> sparse.csr_array:
    """Keep the `n` entries of highest absolute value in each row of a dense matrix, float32, without zeros."""
    kept = np.zeros(rows.shape, dtype=bool)
    if n < rows.shape[1]:
        columns = np.argpartition(-np.abs(rows), n - 1, axis=1)[:, :n]
        np.put_along_axis(kept, columns, True, axis=1)
    else:
        kept[:] = True
    return with_int32_indices(sparse.csr_array(np.where(kept, rows, 0.0).astype(np.float32)))


def top_entries_sparse(matrix: sparse.csr_array, n: int) -> sparse.csr_array:
    """Keep the `n` largest entries in each row of a nonnegative matrix, float32; of ties the lower columns."""
    sizes = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    kept = order[np.arange(len(order)) - matrix.indptr[row] < n]
    triplets = (matrix.data[kept].astype(np.float32), (row[kept], matrix.indices[kept]))
    return with_int32_indices(sparse.coo_array(triplets, matrix.shape).tocsr())


def top_positions(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the positions of the `n` highest of `scores` (1-d), best first, ties in order, without those of -inf."""
    finite = scores[scores > -np.inf]
    if not len(finite):
        return np.empty(0, dtype=np.int64)
    # Items without evidence share the lowest score: numpy partitions such long ties slowly, and they need no sorting.
    above = np.flatnonzero(scores > finite.min())
    if len(above) >= n:
        loss = -scores[above]
        above = above[loss <= np.partition(loss, n - 1)[n - 1]]
    lowest = np.flatnonzero(scores == finite.min())[: max(n - len(above), 0)]
    return np.concatenate([above[np.argsort(-scores[above], kind="stable")[:n]], lowest])


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Divide `rows` into slices of at most `MAX_BLOCK_ROWS` rows and, but for single rows, `MAX_BLOCK_CELLS` cells."""
    step = max(1, min(MAX_BLOCK_ROWS, MAX_BLOCK_CELLS // max(columns, 1)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def with_int32_indices(matrix: sparse.csr_array) -> sparse.csr_array:
    """Convert the indices of a matrix to int32 in place where they fit, and return the matrix.

    This halves the memory of the indices and avoids copies: scipy converts a whole int32 matrix to multiply it by an
    int64 one, even for one row.
    """
    if max(matrix.nnz, *matrix.shape) <= np.iinfo(np.int32).max:
        matrix.indices = matrix.indices.astype(np.int32, copy=False)
        matrix.indptr = matrix.indptr.astype(np.int32, copy=False)
    return matrix


def to_npy(array: np.ndarray) -> bytes:
    """Serialise an array as a `.npy` file without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(files: Mapping[str, bytes], name: str) -> np.ndarray:
    """Read the array in the file `name`."""
    array: np.ndarray = np.load(io.BytesIO(files[name]), allow_pickle=False)
    return array
