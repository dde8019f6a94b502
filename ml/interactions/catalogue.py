"""The items that a recommender knows: encoding of histories, popularity, lists of recommendations from scores.

A frame of histories has one row per user: `user` (str), `items` (list of str, oldest first) and `times` (list of
seconds since 1970, NaN where only the order is known; not needed for predictions). Optional columns are `weights` (list
of float above 0, one per event, default 1) and `segment` (str or None, a group of users such as their country: users
without a history are recommended what is popular in their segment).
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Self

import numpy as np
import pandas as pd

from ml.interactions.histories import SECONDS_PER_DAY, Histories
from ml.interactions.sparse_matrices import row_blocks, top_positions

# At least 2k, so that counting ties as half is exact up to k = 20 (`ml.evaluation.ranking_metrics.per_user_metrics`).
LIST_LENGTH = 40
# Number of users of the segment that the popularity among all users weighs as much as. For new customers of an online
# shop, any number from 1 to 1,000 is better than 0, and than the popularity among all users alone.
SEGMENT_PRIOR_STRENGTH = 100.0
# The popularity in a smaller segment would disclose what individual users chose.
MIN_SEGMENT_USERS = 10


@dataclass(frozen=True)
class Catalogue:
    """The items that a model knows, in sorted order, and for each the number of users who had it.

    `blocked_items` count as evidence in histories and are never recommended. `segments` has, by name of the segment,
    the codes of the items that its users had and the number of these users; both are empty where fewer than
    `MIN_SEGMENT_USERS` users had any. The code of an item is its position in `items`.
    """

    items: tuple[str, ...]
    popularity: tuple[int, ...]
    blocked_items: tuple[str, ...] = ()
    segments: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        popularity_days: float | None = None,
        blocked_items: Collection[str] = (),
    ) -> Self:
        """Collect the items of all histories; `popularity_days` restricts popularity to the last days of the log.

        An event exactly that many days before the last one is too old. Raises ValueError where there is no event, a
        column is missing, or every item is blocked.
        """
        lengths, events = _flatten(frame)
        if not len(events):
            raise ValueError(
                "expected histories with at least one event; got none; check the cutoffs of the split"
            )
        items = tuple(sorted(set(events)))
        user = np.repeat(np.arange(len(lengths)), lengths)
        item = pd.Index(items, dtype=object).get_indexer(events)
        times = _times(frame, len(events)) if popularity_days is not None else np.empty(0)
        # Where only the order is known, no event is older than one of another user.
        if popularity_days is not None and not np.isnan(times).any():
            recent = times > times.max() - popularity_days * SECONDS_PER_DAY
            user, item = user[recent], item[recent]
        pairs = np.unique(user * len(items) + item)
        user, item = pairs // len(items), pairs % len(items)
        segments = _segment_popularity(frame, user, item) if "segment" in frame else {}
        blocked = tuple(name for name in items if name in set(blocked_items))
        if len(blocked) == len(items):
            raise ValueError(
                f"expected an item that may be recommended; got {len(items):,} items, all of them blocked; "
                "check meta.never_recommend"
            )
        return cls(items, tuple(np.bincount(item, minlength=len(items)).tolist()), blocked, segments)

    def extended(self, new_items: Iterable[str], blocked_items: Collection[str] = ()) -> Self:
        """Return the catalogue with further items of popularity 0, and further blocked ones among all items."""
        popularity = dict(zip(self.items, self.popularity, strict=True))
        items = tuple(sorted({*self.items, *new_items}))
        blocked = {*self.blocked_items, *blocked_items}
        new_code = pd.Index(items, dtype=object).get_indexer(self._index)
        return replace(
            self,
            items=items,
            popularity=tuple(popularity.get(item, 0) for item in items),
            blocked_items=tuple(item for item in items if item in blocked),
            segments={
                name: (tuple(new_code[list(codes)].tolist()), counts)
                for name, (codes, counts) in self.segments.items()
            },
        )

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.items, dtype=object)

    @cached_property
    def popularity_array(self) -> np.ndarray:
        """`popularity` as a read-only float32 array; converting the tuple of a large catalogue takes milliseconds."""
        counts = np.array(self.popularity, np.float32)
        counts.flags.writeable = False
        return counts

    @cached_property
    def blocked_codes(self) -> np.ndarray:
        """Codes of the blocked items."""
        return np.asarray(self._index.get_indexer(pd.Index(self.blocked_items, dtype=object)), np.int64)

    def popularity_scores(self, histories: Histories, users: np.ndarray) -> np.ndarray:
        """Score all items by popularity for the `users` (n,) of the histories, float32, shape (n, items).

        Users of a known segment get the number of users of the segment who had the item plus `SEGMENT_PRIOR_STRENGTH`
        times the item's share of all pairs of user and item: up to a factor the posterior mean of a multinomial with a
        Dirichlet prior, so that small segments resemble all users. Other users get `popularity`.
        """
        scores: np.ndarray = np.tile(self.popularity_array, (len(users), 1))
        if histories.user_segments is not None:
            user_segments = histories.user_segments[users]
            segments = list(self.segments.values())
            prior = SEGMENT_PRIOR_STRENGTH * self.popularity_array / max(sum(self.popularity), 1)
            for segment in np.unique(user_segments[user_segments >= 0]):
                codes, counts = segments[segment]
                members = user_segments == segment
                scores[members] = prior
                scores[np.ix_(members, np.array(codes, np.int64))] += np.array(counts, np.float32)
        return scores

    def encode(self, frame: pd.DataFrame) -> Histories:
        """Convert a frame of histories to item codes; events of unknown items are dropped.

        Raises ValueError where a column is missing, or where `weights` has not one finite weight above 0 per event.
        """
        lengths, events = _flatten(frame)
        codes = self._index.get_indexer(events)
        times = _times(frame, len(events)) if "times" in frame else np.full(len(events), np.nan)
        weights = _weights(frame, lengths) if "weights" in frame else None
        user_segments = None
        if self.segments and "segment" in frame:
            names = pd.Index(frame["segment"].astype(object), dtype=object)
            user_segments = pd.Index(list(self.segments), dtype=object).get_indexer(names)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        histories = Histories(offsets, codes, times, len(self.items), weights, user_segments)
        return histories.filter_events(codes >= 0)

    def count_unknown_events(self, frame: pd.DataFrame) -> int:
        """Count the events of unknown items, which `encode` drops."""
        return int((self._index.get_indexer(_flatten(frame)[1]) < 0).sum())

    def recommend(
        self, frame: pd.DataFrame, score: Callable[[Histories], np.ndarray], allow_repeats: bool
    ) -> pd.DataFrame:
        """List the best `LIST_LENGTH` items for each user: rows `user`, `rank`, `item`, `score`, best first.

        `score` gives the scores of a block of histories, shape (users, items); users without a known item are scored by
        popularity. Scores are compared as float32, so that sums that differ only by the order of their terms are ties;
        ties are in the order of the catalogue. Items of the history are left out unless `allow_repeats`, and lists are
        shorter where fewer items are left.
        """
        lists: list[tuple[np.ndarray, np.ndarray]] = []
        for _, scores in self.score_blocks(self.encode(frame), score, allow_repeats):
            lists += [(best, row[best]) for row in scores for best in [top_positions(row, LIST_LENGTH)]]
        return self._table(frame["user"], lists)

    def score_blocks(
        self, histories: Histories, score: Callable[[Histories], np.ndarray], allow_repeats: bool
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of users with their scores, float32, shape (users, items), -inf for items not to be listed."""
        for users in row_blocks(len(histories), len(self.items)):
            block = histories.slice_users(users)
            scores = np.array(score(block), dtype=np.float32)
            without_history = np.flatnonzero(block.lengths == 0)
            scores[without_history] = self.popularity_scores(block, without_history)
            if not allow_repeats:
                scores[block.users, block.items] = -np.inf
            scores[:, self.blocked_codes] = -np.inf
            yield users, scores

    def lists_from_candidates(
        self, users: pd.Series, user: np.ndarray, code: np.ndarray, score: np.ndarray
    ) -> pd.DataFrame:
        """List the best candidates of each user, in the form of `recommend`.

        `user` (ascending positions in `users`), `code` and `score` have one entry per candidate.
        """
        offsets = np.searchsorted(user, np.arange(len(users) + 1))
        lists = []
        for start, end in pairwise(offsets):
            best = start + top_positions(score[start:end], LIST_LENGTH)
            lists.append((code[best], score[best]))
        return self._table(users, lists)

    def lists_from_ranking(
        self, frame: pd.DataFrame, histories: Histories, codes: np.ndarray, scores: np.ndarray
    ) -> pd.DataFrame:
        """Convert ranked codes and scores, both of shape (users, `LIST_LENGTH`), to the form of `recommend`.

        A code of -1 ends a list. Users without a known item get the most popular items instead.
        """
        lengths = (codes >= 0).sum(axis=1)
        lists = [(codes[user, :length], scores[user, :length]) for user, length in enumerate(lengths)]
        for user in np.flatnonzero(histories.lengths == 0):
            (popularity,) = self.popularity_scores(histories, np.array([user]))
            popularity[self.blocked_codes] = -np.inf
            best = top_positions(popularity, LIST_LENGTH)
            lists[user] = (best, popularity[best])
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
        """Serialise all fields for `from_json`."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what `to_json` returned."""
        fields = json.loads(text)
        segments = {
            name: (tuple(codes), tuple(counts)) for name, (codes, counts) in fields["segments"].items()
        }
        items, popularity, blocked = (
            tuple(fields[name]) for name in ("items", "popularity", "blocked_items")
        )
        return cls(items, popularity, blocked, segments)


def _times(frame: pd.DataFrame, n_events: int) -> np.ndarray:
    return np.fromiter(chain.from_iterable(frame["times"]), np.float64, n_events)


def _segment_popularity(
    frame: pd.DataFrame, user: np.ndarray, item: np.ndarray
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Count users by segment and item, given distinct pairs of a user (a row of `frame`) and an item code."""
    segment = frame["segment"].astype(object)
    popularity: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        str(name): ((), ()) for name in sorted(segment.dropna().unique())
    }
    pairs = pd.DataFrame({"segment": segment.to_numpy()[user], "user": user, "item": item})
    for name, members in pairs.groupby("segment"):
        if members["user"].nunique() >= MIN_SEGMENT_USERS:
            counts = members["item"].value_counts().sort_index()
            popularity[str(name)] = (tuple(counts.index.tolist()), tuple(counts.tolist()))
    return popularity


def _weights(frame: pd.DataFrame, lengths: np.ndarray) -> np.ndarray:
    expected = "expected in each history as many weights as items, finite and above 0"
    if not np.array_equal(np.fromiter(map(len, frame["weights"]), np.int64, len(frame)), lengths):
        raise ValueError(
            f"{expected}; got lists of other lengths; drop the column weights to give each event weight 1"
        )
    weights = np.fromiter(chain.from_iterable(frame["weights"]), np.float64, lengths.sum())
    if n_invalid := int((~((weights > 0) & np.isfinite(weights))).sum()):
        raise ValueError(f"{expected}; got {n_invalid} others; remove these events")
    return weights


def _flatten(frame: pd.DataFrame) -> tuple[np.ndarray, pd.Index]:
    """Return the length of each history, and the items of all histories one after another."""
    if missing := {"user", "items"} - set(frame.columns):
        raise ValueError(
            f"expected histories with the columns user and items; got none of {sorted(missing)}; "
            "pass one row per user"
        )
    lengths = np.fromiter(map(len, frame["items"]), np.int64, len(frame))
    return lengths, pd.Index(list(chain.from_iterable(frame["items"])), dtype=object)
