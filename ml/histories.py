"""Histories as a sparse matrix, and scores as ranked lists.

A frame of histories has one row per user: `user` (str), `items` (list of str, oldest first) and `times` (list
of seconds since 1970); predictions need no `times`.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

# At least 2k, so that counting ties as half is exact up to k = 20 (see `ml.ranking.per_user`).
LIST_LENGTH = 40
BLOCK_ROWS = 2048
BLOCK_CELLS = 2**24
SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Catalogue:
    """The items that a model knows, sorted, and for each the number of users who had it."""

    items: tuple[str, ...]
    popularity: tuple[int, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, days: float | None = None) -> Self:
        """The items of all histories. With `days`, popularity counts the events of the last days only.

        Those days are counted back from the last event, their start excluded. Raises ValueError where there
        is no event or a column is missing.
        """
        lengths, flat = _flatten(frame)
        if not len(flat):
            raise ValueError("expected histories with at least one event, got none; check the cut of train")
        items = tuple(sorted(set(flat)))
        user = np.repeat(np.arange(len(lengths)), lengths)
        item = pd.Index(items, dtype=object).get_indexer(flat)
        if days is not None:
            times = np.fromiter(chain.from_iterable(frame["times"]), np.float64, len(flat))
            recent = times > times.max() - days * SECONDS_PER_DAY
            user, item = user[recent], item[recent]
        had = np.unique(user * len(items) + item) % len(items)
        return cls(items, tuple(np.bincount(had, minlength=len(items)).tolist()))

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.items, dtype=object)

    def counts(self, frame: pd.DataFrame) -> sparse.csr_array:
        """How often each user had each item, float64, shape (users, items), columns as `items`.

        Items that the catalogue lacks are left out. Raises ValueError where a column is missing.
        """
        lengths, flat = _flatten(frame)
        user, item = np.repeat(np.arange(len(lengths)), lengths), self._index.get_indexer(flat)
        known = item >= 0
        shape = (len(frame), len(self.items))
        matrix = sparse.coo_array((np.ones(known.sum()), (user[known], item[known])), shape).tocsr()
        matrix.sum_duplicates()
        return matrix

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events whose item the catalogue lacks."""
        return int((self._index.get_indexer(_flatten(frame)[1]) < 0).sum())

    def recommend(
        self, frame: pd.DataFrame, score: Callable[[sparse.csr_array], np.ndarray], repeat: bool
    ) -> pd.DataFrame:
        """The best `LIST_LENGTH` items for each user: rows `user`, `rank`, `item`, `score`, best first.

        `score` turns a block of counts (users, items) into scores of that shape; who has no known item is
        scored by popularity. Scores are compared as float32, so that sums that differ only by the order of
        their terms are ties; ties go by the order of the catalogue. Items of the history are not listed
        unless `repeat`: a list is shorter where fewer are left.
        """
        counts = self.counts(frame)
        lists: list[tuple[np.ndarray, np.ndarray]] = []
        for rows in blocks(len(frame), len(self.items)):
            block = counts[rows]
            lengths = np.diff(block.indptr)
            scores = np.asarray(score(block), dtype=np.float32)
            scores[lengths == 0] = self.popularity
            if not repeat:
                scores[np.repeat(np.arange(len(lengths)), lengths), block.indices] = -np.inf
            lists += [(best, row[best]) for row in scores for best in [top(row, LIST_LENGTH)]]
        return self._table(frame["user"], lists)

    def _table(self, users: pd.Series, lists: list[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
        lengths = [len(codes) for codes, _ in lists]
        ranks = [np.arange(1, length + 1) for length in lengths]
        codes = np.concatenate([np.empty(0, np.int64), *(codes for codes, _ in lists)])
        return pd.DataFrame(
            {
                "user": users.repeat(lengths).astype("str").reset_index(drop=True),
                "rank": np.concatenate([np.empty(0, np.int64), *ranks]),
                "item": pd.Series(self._index.to_numpy()[codes], dtype="str"),
                "score": np.concatenate([np.empty(0), *(scores for _, scores in lists)]),
            }
        )

    def to_json(self) -> bytes:
        """Both fields; `from_json` reads them back."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        state = json.loads(text)
        return cls(tuple(state["items"]), tuple(state["popularity"]))


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the `n` highest of `scores` (1-d), best first, ties in order; never one of -inf."""
    # Lowest first: numpy partitions long runs of ties, as of items without evidence, much faster at that end.
    loss = -scores
    nth = np.partition(loss, n - 1)[n - 1] if n < len(loss) else np.inf
    candidates = np.flatnonzero((loss <= nth) & (loss < np.inf))
    return candidates[np.argsort(loss[candidates], kind="stable")[:n]]


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows`, each small enough for a dense array with that many `columns`."""
    step = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(columns, 1)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def to_npy(array: np.ndarray) -> bytes:
    """The array as a `.npy` file without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(files: Mapping[str, bytes], name: str) -> np.ndarray:
    """The array of the file `name`."""
    array: np.ndarray = np.load(io.BytesIO(files[name]), allow_pickle=False)
    return array


def _flatten(frame: pd.DataFrame) -> tuple[np.ndarray, pd.Index]:
    """The length of each history, and all items one after another."""
    if missing := {"user", "items"} - set(frame.columns):
        raise ValueError(f"expected histories with the columns user and items, got none of {sorted(missing)}")
    lengths = np.fromiter(map(len, frame["items"]), np.int64, len(frame))
    return lengths, pd.Index(list(chain.from_iterable(frame["items"])), dtype=object)
