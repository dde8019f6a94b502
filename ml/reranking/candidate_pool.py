"""First stage of a recommender: the best items of several models for each user, and what is known of each pair."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ml.explanations.history_attribution import Scorer, contributions
from ml.interactions.catalogue import LIST_LENGTH, Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import (
    top,
)
from ml.recommenders.time_decay import unforgetting
from ml.reranking.pair_features import Evidence

# Users at a time, and scores of a model, which are dense: those of few users stay in the processor's caches.
BLOCK_USERS, BLOCK_SCORES = 128, 2**21
# What is added to the name of a model that forgets nothing.
LASTING = ", lasting"


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates of users in the order of the users: `user` and `code` (rows,), `features` float32 (rows, features)."""

    user: np.ndarray
    code: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class Widened:
    """A model as one of `catalogue`, which has all items of its own and more.

    What it does not know scores as the least of what it does, and is no evidence in a history. So a model need not
    grow with items that nobody had.
    """

    catalogue: Catalogue = field(repr=False)
    model: Scorer

    @cached_property
    def _own(self) -> np.ndarray:
        """The code of each item in the catalogue of the model, -1 where it has none."""
        own, every = self.model.catalogue.items, self.catalogue.items
        return np.asarray(pd.Index(own, dtype=object).get_indexer(pd.Index(every, dtype=object)))

    def scores(self, histories: Histories) -> np.ndarray:
        """Shape (users, items), float32; who has nothing that the model knows is scored by popularity."""
        known = self._narrowed(histories)
        own = np.asarray(self.model.scores(known), dtype=np.float32)
        # The code -1 takes the last column.
        scores: np.ndarray = np.column_stack([own, own.min(axis=1)]).take(self._own, axis=1)
        unknown = np.flatnonzero(known.lengths == 0)
        scores[unknown] = self.catalogue.common(known, unknown)
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """As the model tells them, shape (events,); 0 for events and for items that it does not know."""
        found = np.zeros(len(history.items))
        if self._own[code] >= 0:
            known = self._narrowed(history)
            found[self._own[history.items] >= 0] = contributions(self.model, known, int(self._own[code]))
        return found

    def _narrowed(self, histories: Histories) -> Histories:
        known = histories.where(self._own[histories.items] >= 0)
        return replace(known, items=self._own[known.items], catalogue=len(self.model.catalogue.items))


@dataclass(frozen=True, eq=False)
class FirstStage:
    """Models with the number of items that each may put into the pool, and the evidence; one catalogue for all.

    It has the items of all models: some know only what somebody had, others what is known by its attributes as well.
    Models that are named in `lasting` score twice: as they are, and with a memory in which no event loses weight.
    """

    catalogue: Catalogue = field(repr=False)
    models: Mapping[str, Scorer]
    depths: Mapping[str, int]
    evidence: Evidence = field(repr=False)
    repeat: bool
    lasting: tuple[str, ...] = ()

    @cached_property
    def scorers(self) -> Mapping[str, Scorer]:
        """All that score, each with three features, in the order of these."""
        twice = {name + LASTING: unforgetting(self.models[name]) for name in self.lasting}
        items = self.catalogue.items
        return {
            name: model if model.catalogue.items == items else Widened(model.catalogue.wider(items), model)
            for name, model in {**self.models, **twice}.items()
        }

    def pool(self, histories: Histories) -> Pool:
        """The union of what the scorers list, with the features of each pair: of each scorer score, gap and rank.

        Who has no known item is scored by each model's popularity.
        """
        found: list[Pool] = []
        step = max(1, min(BLOCK_USERS, BLOCK_SCORES // histories.catalogue))
        for first in range(0, len(histories), step):
            block = histories.block(slice(first, min(first + step, len(histories))))
            one = self._block(block)
            found.append(Pool(one.user + first, one.code, one.features))
        return Pool(
            *(np.concatenate([getattr(one, name) for one in found]) for name in ("user", "code", "features"))
        )

    def placed_by(self, history: Histories, code: int) -> str | None:
        """For one user, the scorer that puts the item highest; None where it is not in the pool."""
        if history not in self._placed:
            pool = self._block(history)
            first = np.argmin(self.ranks(pool), axis=1)
            self._placed[history] = dict(zip(pool.code.tolist(), first.tolist(), strict=True))
        scorer = self._placed[history].get(code)
        return None if scorer is None else list(self.scorers)[scorer]

    @cached_property
    def _placed(self) -> WeakKeyDictionary[Histories, dict[int, int]]:
        """Of histories that were asked about, the scorer that puts each item of the pool highest."""
        return WeakKeyDictionary()

    def ranks(self, pool: Pool) -> np.ndarray:
        """The rank that each scorer gives to each row of a pool, shape (rows, scorers)."""
        return pool.features[:, 2 : 3 * len(self.scorers) : 3]

    def _block(self, block: Histories) -> Pool:
        scores = {name: self._scores(model, block) for name, model in self.scorers.items()}
        wanted = np.zeros((len(block), block.catalogue), dtype=bool)
        for name, each in scores.items():
            depth = self.depths[name.removesuffix(LASTING)]
            wanted |= _best(each, min(depth, block.catalogue))
        if not self.repeat:
            wanted[block.users, block.items] = False
        wanted[:, self.catalogue.barred] = False
        for row in np.flatnonzero(~wanted.any(axis=1)):
            wanted[row, self._common(block, int(row))] = True
        user, code = np.nonzero(wanted)
        start = np.searchsorted(user, np.arange(len(block) + 1))
        columns: list[np.ndarray] = []
        for each in scores.values():
            mine = each[user, code]
            columns += [mine, *_standing(mine, user, start)]
        features = np.column_stack([*columns, self.evidence.features(block, user, code)])
        return Pool(user, code, features.astype(np.float32))

    def _common(self, block: Histories, user: int) -> np.ndarray:
        """What is most popular of what may be listed, for whom no model tells any item from others."""
        (popularity,) = self.catalogue.common(block, np.array([user]))
        if not self.repeat:
            popularity[block.items[block.start[user] : block.start[user + 1]]] = -np.inf
        popularity[self.catalogue.barred] = -np.inf
        return top(popularity, LIST_LENGTH)

    def _scores(self, model: Scorer, block: Histories) -> np.ndarray:
        scores = np.array(model.scores(block), dtype=np.float32)
        unknown = np.flatnonzero(block.lengths == 0)
        scores[unknown] = model.catalogue.common(block, unknown)
        if not self.repeat:
            scores[block.users, block.items] = -np.inf
        scores[:, self.catalogue.barred] = -np.inf
        return scores


def _best(scores: np.ndarray, depth: int) -> np.ndarray:
    """Which items are the best `depth` of each row of `scores` (users, items), or fewer: ties come all or none.

    So nothing hangs on the order of the catalogue, and items that a model has no evidence of do not fill the pool.
    """
    # Ties of the least, which are many, are partitioned faster at the end.
    bar = -np.partition(-scores, depth - 1, axis=1)[:, [depth - 1]]
    whole = np.count_nonzero(scores >= bar, axis=1) <= depth
    bar[~whole] = np.nextafter(bar[~whole], np.float32(np.inf))
    best: np.ndarray = scores >= bar
    return best


def _standing(score: np.ndarray, user: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each score is below its user's best, and its rank, from 1, in the pool of that user: of ties the mean."""
    if not len(score):
        return score, score
    order = _falling(score, user)
    place = np.arange(len(score)) - start[user[order]] + 1.0
    new = np.flatnonzero(np.r_[True, (np.diff(score[order]) != 0) | (np.diff(user[order]) != 0)])
    tied = np.diff(np.r_[new, len(score)])
    rank = np.empty(len(score))
    rank[order] = np.repeat(np.add.reduceat(place, new) / tied, tied)
    some = np.flatnonzero(np.diff(start))
    best = np.zeros(len(start) - 1, np.float32)
    best[some] = np.maximum.reduceat(score, start[some])
    return best[user] - score, rank


def _falling(score: np.ndarray, user: np.ndarray) -> np.ndarray:
    """The order by user, then from the highest score, float32, to the lowest: one sort of integers, the fastest."""
    bits = score.view(np.uint32)
    # The order of floats is that of their bits, but for the sign, and turned round below 0.
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    return np.argsort(user.astype(np.uint64) << np.uint64(32) | ~rising)
