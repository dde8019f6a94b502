"""Histories as a sparse matrix, and scores as ranked lists.

A frame of histories has one row per user: `user` (str), `items` (list of str, oldest first) and `times` (list
of seconds since 1970, NaN where only the order is known); predictions need no `times`. It may have `weights` (list of
float above 0), what each event counts; without them each counts 1. And it may have `segment` (str, None where that is
not known), a group of users such as their country: who has no history gets what is popular there.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.interactions.histories import SECONDS_PER_DAY, Histories
from ml.interactions.sparse_matrices import blocks, top

# At least 2k, so that counting ties as half is exact up to k = 20 (see `ml.evaluation.ranking_metrics.per_user`).
LIST_LENGTH = 40
# What all users took speaks for an item as much as so many events of the own segment would. For new customers of an
# online shop any number from 1 to 1,000 is better than none, and than what all took alone.
PRIOR = 100.0
# A segment of fewer users says nothing: what is popular there would be what somebody took.
FEWEST_IN_SEGMENT = 10


@dataclass(frozen=True)
class Catalogue:
    """The items that a model knows, sorted, and for each the number of users who had it.

    Those that are `blocked` tell of their users' tastes, and are never listed. `segments` has, by name, the codes of
    the items that users of the segment had, and of how many; none where fewer than `FEWEST_IN_SEGMENT` had any.
    """

    items: tuple[str, ...]
    popularity: tuple[int, ...]
    blocked: tuple[str, ...] = ()
    segments: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame, days: float | None = None, blocked: Collection[str] = ()) -> Self:
        """The items of all histories. With `days`, popularity counts the events of the last days only.

        Those days are counted back from the last event, their start excluded. Raises ValueError where there
        is no event, a column is missing, or every item is blocked.
        """
        lengths, flat = _flatten(frame)
        if not len(flat):
            raise ValueError("expected histories with at least one event, got none; check the cut of train")
        items = tuple(sorted(set(flat)))
        user = np.repeat(np.arange(len(lengths)), lengths)
        item = pd.Index(items, dtype=object).get_indexer(flat)
        times = _times(frame, len(flat)) if days is not None else np.empty(0)
        # Where only the order is known, no event is older than another one of somebody else.
        if days is not None and not np.isnan(times).any():
            recent = times > times.max() - days * SECONDS_PER_DAY
            user, item = user[recent], item[recent]
        pairs = np.unique(user * len(items) + item)
        had = pairs % len(items)
        segments = _segments(frame, pairs // len(items), had) if "segment" in frame else {}
        barred = tuple(item for item in items if item in set(blocked))
        if len(barred) == len(items):
            raise ValueError(
                f"expected an item that may be recommended, got {len(items):,} items, all of them blocked; "
                "look at meta.blocked"
            )
        return cls(items, tuple(np.bincount(had, minlength=len(items)).tolist()), barred, segments)

    def wider(self, more: Iterable[str], blocked: Collection[str] = ()) -> Self:
        """With more items, that nobody had; those that are blocked too are named again."""
        had = dict(zip(self.items, self.popularity, strict=True))
        items = tuple(sorted({*self.items, *more}))
        barred = {*self.blocked, *blocked}
        place = pd.Index(items, dtype=object).get_indexer(self._index)
        return replace(
            self,
            items=items,
            popularity=tuple(had.get(item, 0) for item in items),
            blocked=tuple(item for item in items if item in barred),
            segments={
                name: (tuple(place[list(codes)].tolist()), counts)
                for name, (codes, counts) in self.segments.items()
            },
        )

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.items, dtype=object)

    @cached_property
    def popular(self) -> np.ndarray:
        """`popularity` as float32, to be read only: a tuple of many items takes milliseconds to convert."""
        counts = np.array(self.popularity, np.float32)
        counts.flags.writeable = False
        return counts

    def common(self, histories: Histories, users: np.ndarray) -> np.ndarray:
        """What is popular, for those `users` (n,) of the histories of whom nothing is known, float32, shape (n, items).

        For who is of no segment that is known it is `popularity`. For others it is the number of users of the segment
        who had the item, and `PRIOR` times its share of what all users had: the less is known of a segment, the more
        it is like all (the mean of a multinomial under a Dirichlet prior, but for a factor).
        """
        common: np.ndarray = np.tile(self.popular, (len(users), 1))
        if histories.segment is not None:
            of = histories.segment[users]
            every, share = list(self.segments.values()), PRIOR * self.popular / max(sum(self.popularity), 1)
            for segment in np.unique(of[of >= 0]):
                codes, counts = every[segment]
                common[of == segment] = share
                common[np.ix_(of == segment, np.array(codes, np.int64))] += np.array(counts, np.float32)
        return common

    @cached_property
    def barred(self) -> np.ndarray:
        """The codes of the blocked items."""
        return np.asarray(self._index.get_indexer(pd.Index(self.blocked, dtype=object)), np.int64)

    def sequences(self, frame: pd.DataFrame) -> Histories:
        """The histories of a frame in codes, which are positions in `items`.

        Raises ValueError as in `counts`, and where there is not one weight above 0 of each event of a frame with them.
        """
        lengths, flat = _flatten(frame)
        codes = self._index.get_indexer(flat)
        times = _times(frame, len(flat)) if "times" in frame else np.full(len(flat), np.nan)
        told = _weights(frame, lengths) if "weights" in frame else None
        segment = None
        if self.segments and "segment" in frame:
            of = pd.Index(frame["segment"].astype(object), dtype=object)
            segment = pd.Index(list(self.segments), dtype=object).get_indexer(of)
        start = np.concatenate([[0], np.cumsum(lengths)])
        every = Histories(start, codes, times, len(self.items), told, segment)
        return every.where(codes >= 0)

    def counts(self, frame: pd.DataFrame) -> sparse.csr_array:
        """How often each user had each item, float64, shape (users, items), columns as `items`.

        Items that the catalogue lacks are left out. Raises ValueError where a column is missing.
        """
        return self.sequences(frame).counts()

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events whose item the catalogue lacks."""
        return int((self._index.get_indexer(_flatten(frame)[1]) < 0).sum())

    def recommend(
        self, frame: pd.DataFrame, score: Callable[[Histories], np.ndarray], repeat: bool
    ) -> pd.DataFrame:
        """The best `LIST_LENGTH` items for each user: rows `user`, `rank`, `item`, `score`, best first.

        `score` turns a block of histories into scores, shape (users, items); who has no known item is scored by
        popularity. Scores are compared as float32, so that sums that differ only by the order of their terms are ties;
        ties go by the order of the catalogue. Items of the history are not listed unless `repeat`: a list is shorter
        where fewer are left.
        """
        lists: list[tuple[np.ndarray, np.ndarray]] = []
        for _, scores in self.scored(self.sequences(frame), score, repeat):
            lists += [(best, row[best]) for row in scores for best in [top(row, LIST_LENGTH)]]
        return self._table(frame["user"], lists)

    def scored(
        self, histories: Histories, score: Callable[[Histories], np.ndarray], repeat: bool
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of users with their scores, float32, shape (users, items), -inf for what is not to be listed."""
        for rows in blocks(len(histories), len(self.items)):
            block = histories.block(rows)
            scores = np.array(score(block), dtype=np.float32)
            unknown = np.flatnonzero(block.lengths == 0)
            scores[unknown] = self.common(block, unknown)
            if not repeat:
                scores[block.users, block.items] = -np.inf
            scores[:, self.barred] = -np.inf
            yield rows, scores

    def listed(self, users: pd.Series, user: np.ndarray, code: np.ndarray, score: np.ndarray) -> pd.DataFrame:
        """As `recommend`, of candidates: `user` (ascending positions in `users`), `code` and `score` are (rows,)."""
        start = np.searchsorted(user, np.arange(len(users) + 1))
        lists = []
        for first, end in pairwise(start):
            best = first + top(score[first:end], LIST_LENGTH)
            lists.append((code[best], score[best]))
        return self._table(users, lists)

    def ranked(
        self, frame: pd.DataFrame, histories: Histories, codes: np.ndarray, scores: np.ndarray
    ) -> pd.DataFrame:
        """The table of `recommend` from the items found, best first: positions, -1 for none, and scores.

        Both are of shape (users, `LIST_LENGTH`); who has no known item is listed what is popular instead.
        """
        lengths = (codes >= 0).sum(axis=1)
        lists = [(codes[user, :length], scores[user, :length]) for user, length in enumerate(lengths)]
        for user in np.flatnonzero(histories.lengths == 0):
            (common,) = self.common(histories, np.array([user]))
            common[self.barred] = -np.inf
            best = top(common, LIST_LENGTH)
            lists[user] = (best, common[best])
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
        """All fields; `from_json` reads them back."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        state = json.loads(text)
        segments = {
            name: (tuple(codes), tuple(counts)) for name, (codes, counts) in state.get("segments", {}).items()
        }
        items, popularity, blocked = (tuple(state[name]) for name in ("items", "popularity", "blocked"))
        return cls(items, popularity, blocked, segments)


def _times(frame: pd.DataFrame, events: int) -> np.ndarray:
    return np.fromiter(chain.from_iterable(frame["times"]), np.float64, events)


def _segments(
    frame: pd.DataFrame, user: np.ndarray, item: np.ndarray
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Of pairs of a user (a position) and an item (a code), each once: by segment the items, and how many had them."""
    of = frame["segment"].astype(object)
    found: dict[str, Any] = {str(name): ((), ()) for name in sorted(of.dropna().unique())}
    pairs = pd.DataFrame({"segment": of.to_numpy()[user], "user": user, "item": item})
    for name, one in pairs.groupby("segment"):
        if one["user"].nunique() >= FEWEST_IN_SEGMENT:
            counts = one["item"].value_counts().sort_index()
            found[str(name)] = (tuple(counts.index.tolist()), tuple(counts.tolist()))
    return found


def _weights(frame: pd.DataFrame, lengths: np.ndarray) -> np.ndarray:
    expected = "expected in each history as many weights as items, finite and above 0"
    if not np.array_equal(np.fromiter(map(len, frame["weights"]), np.int64, len(frame)), lengths):
        raise ValueError(
            f"{expected}, got other numbers of them; leave the column weights out to count 1 each"
        )
    weights = np.fromiter(chain.from_iterable(frame["weights"]), np.float64, lengths.sum())
    if wrong := int((~((weights > 0) & np.isfinite(weights))).sum()):
        raise ValueError(f"{expected}, got {wrong} others; leave such events out")
    return weights


def _flatten(frame: pd.DataFrame) -> tuple[np.ndarray, pd.Index]:
    """The length of each history, and all items one after another."""
    if missing := {"user", "items"} - set(frame.columns):
        raise ValueError(f"expected histories with the columns user and items, got none of {sorted(missing)}")
    lengths = np.fromiter(map(len, frame["items"]), np.int64, len(frame))
    return lengths, pd.Index(list(chain.from_iterable(frame["items"])), dtype=object)
