"""First stage of the reranker: the best items of several models for each user, with features of each pair."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ml.explanations.history_attribution import ItemScorer, event_contributions
from ml.interactions.catalogue import LIST_LENGTH, Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import top_positions
from ml.recommenders.time_decay import without_decay
from ml.reranking.pair_features import PairFeatures

# Bounds of a block of users, so that the dense scores of a model stay in the processor's caches.
MAX_BLOCK_USERS, MAX_BLOCK_SCORES = 128, 2**21
# Suffix of the name of a model's variant without decay.
LONG_TERM_SUFFIX = ", long-term"


@dataclass(frozen=True, eq=False)
class CandidatePool:
    """Candidate items of users, one row per pair of user and item, in the order of the users.

    `user` (position of the user) and `code` (of the item) are of shape (rows,), `features` is float32, shape
    (rows, features).
    """

    user: np.ndarray
    code: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class CatalogueAdapter:
    """A model of a smaller catalogue as a scorer of all items of `catalogue`, which includes those of the model.

    Items that the model lacks get its lowest score of the user, and are ignored in histories. So models need not be
    extended by items without interactions.
    """

    catalogue: Catalogue = field(repr=False)
    model: ItemScorer

    @cached_property
    def _model_codes(self) -> np.ndarray:
        """Code of each item in the catalogue of the model, -1 where it lacks the item."""
        model_items, items = self.model.catalogue.items, self.catalogue.items
        return np.asarray(pd.Index(model_items, dtype=object).get_indexer(pd.Index(items, dtype=object)))

    def scores(self, histories: Histories) -> np.ndarray:
        """Score all items, float32, shape (users, items); by popularity for users without an item of the model."""
        model_histories = self._to_model_codes(histories)
        model_scores = np.asarray(self.model.scores(model_histories), dtype=np.float32)
        # The code -1 takes the last column.
        scores: np.ndarray = np.column_stack([model_scores, model_scores.min(axis=1)]).take(
            self._model_codes, axis=1
        )
        without_history = np.flatnonzero(model_histories.lengths == 0)
        scores[without_history] = self.catalogue.popularity_scores(model_histories, without_history)
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return the contributions of the model, shape (events,); 0 for items and events that it lacks."""
        contributions = np.zeros(len(history.items))
        model_code = int(self._model_codes[code])
        if model_code >= 0:
            model_history = self._to_model_codes(history)
            in_model = self._model_codes[history.items] >= 0
            contributions[in_model] = event_contributions(self.model, model_history, model_code)
        return contributions

    def _to_model_codes(self, histories: Histories) -> Histories:
        in_model = histories.filter_events(self._model_codes[histories.items] >= 0)
        n_items = len(self.model.catalogue.items)
        return replace(in_model, items=self._model_codes[in_model.items], n_items=n_items)


@dataclass(frozen=True, eq=False)
class FirstStage:
    """Models that propose candidates, each up to `depths[name]` per user, and the features of the pairs.

    `catalogue` has the items of all models: some models know only items with interactions, others also those with
    attributes. Models named in `long_term` score twice: as they are, and without decay.
    """

    catalogue: Catalogue = field(repr=False)
    models: Mapping[str, ItemScorer]
    depths: Mapping[str, int]
    pair_features: PairFeatures = field(repr=False)
    allow_repeats: bool
    long_term: tuple[str, ...] = ()

    @cached_property
    def scorers(self) -> Mapping[str, ItemScorer]:
        """All scorers by name, in the order of their features."""
        long_term = {name + LONG_TERM_SUFFIX: without_decay(self.models[name]) for name in self.long_term}
        return {name: self._adapted(model) for name, model in {**self.models, **long_term}.items()}

    def _adapted(self, model: ItemScorer) -> ItemScorer:
        items = self.catalogue.items
        if model.catalogue.items == items:
            return model
        return CatalogueAdapter(model.catalogue.extended(items), model)

    def candidate_pool(self, histories: Histories) -> CandidatePool:
        """Unite the best items of all scorers for each user, with their features.

        The features are, for each scorer, its score, the gap to the best score of the user, and the rank; then those
        of `PairFeatures`. Users without a known item are scored by each model's popularity.
        """
        pools: list[CandidatePool] = []
        step = max(1, min(MAX_BLOCK_USERS, MAX_BLOCK_SCORES // histories.n_items))
        for start in range(0, len(histories), step):
            block = histories.slice_users(slice(start, min(start + step, len(histories))))
            pool = self._block_pool(block)
            pools.append(CandidatePool(pool.user + start, pool.code, pool.features))
        return CandidatePool(
            user=np.concatenate([pool.user for pool in pools]),
            code=np.concatenate([pool.code for pool in pools]),
            features=np.concatenate([pool.features for pool in pools]),
        )

    def ranks(self, pool: CandidatePool) -> np.ndarray:
        """Return the rank that each scorer gives to each row of a pool, shape (rows, scorers)."""
        return pool.features[:, 2 : 3 * len(self.scorers) : 3]

    def best_scorer(self, history: Histories, code: int) -> str | None:
        """Return the name of the scorer that ranks the item highest for one user; None if it is not in the pool."""
        if history not in self._best_scorers:
            pool = self._block_pool(history)
            best = np.argmin(self.ranks(pool), axis=1)
            self._best_scorers[history] = dict(zip(pool.code.tolist(), best.tolist(), strict=True))
        scorer = self._best_scorers[history].get(code)
        return None if scorer is None else list(self.scorers)[scorer]

    @cached_property
    def _best_scorers(self) -> WeakKeyDictionary[Histories, dict[int, int]]:
        """Cache of `best_scorer`: for each history, the position of the best scorer by item code."""
        return WeakKeyDictionary()

    def _block_pool(self, block: Histories) -> CandidatePool:
        scores = {name: self._scores(model, block) for name, model in self.scorers.items()}
        selected = np.zeros((len(block), block.n_items), dtype=bool)
        for name, model_scores in scores.items():
            depth = self.depths[name.removesuffix(LONG_TERM_SUFFIX)]
            selected |= _best_mask(model_scores, min(depth, block.n_items))
        if not self.allow_repeats:
            selected[block.users, block.items] = False
        selected[:, self.catalogue.blocked_codes] = False
        for row in np.flatnonzero(~selected.any(axis=1)):
            selected[row, self._popular_items(block, int(row))] = True
        user, code = np.nonzero(selected)
        offsets = np.searchsorted(user, np.arange(len(block) + 1))
        columns: list[np.ndarray] = []
        for model_scores in scores.values():
            score = model_scores[user, code]
            columns += [score, *_gap_and_rank(score, user, offsets)]
        features = np.column_stack([*columns, self.pair_features.features(block, user, code)])
        return CandidatePool(user, code, features.astype(np.float32))

    def _popular_items(self, block: Histories, user: int) -> np.ndarray:
        """Return the most popular items for a user for whom no scorer distinguishes any items."""
        (popularity,) = self.catalogue.popularity_scores(block, np.array([user]))
        if not self.allow_repeats:
            popularity[block.items[block.offsets[user] : block.offsets[user + 1]]] = -np.inf
        popularity[self.catalogue.blocked_codes] = -np.inf
        return top_positions(popularity, LIST_LENGTH)

    def _scores(self, model: ItemScorer, block: Histories) -> np.ndarray:
        scores = np.array(model.scores(block), dtype=np.float32)
        without_history = np.flatnonzero(block.lengths == 0)
        scores[without_history] = model.catalogue.popularity_scores(block, without_history)
        if not self.allow_repeats:
            scores[block.users, block.items] = -np.inf
        scores[:, self.catalogue.blocked_codes] = -np.inf
        return scores


def _best_mask(scores: np.ndarray, depth: int) -> np.ndarray:
    """Mark the best `depth` items in each row of `scores` (users, items); of ties at the boundary none.

    So the pool does not depend on the order of the catalogue, and items without evidence do not fill it.
    """
    # Negated, because the many ties of the lowest score are partitioned faster at the end.
    threshold = -np.partition(-scores, depth - 1, axis=1)[:, [depth - 1]]
    fits = np.count_nonzero(scores >= threshold, axis=1) <= depth
    threshold[~fits] = np.nextafter(threshold[~fits], np.float32(np.inf))
    best: np.ndarray = scores >= threshold
    return best


def _gap_and_rank(score: np.ndarray, user: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gap of each score to the best one of its user, and its rank among them, from 1, the mean of ties."""
    if not len(score):
        return score, score
    order = _descending_order(score, user)
    position = np.arange(len(score)) - offsets[user[order]] + 1.0
    tie_start = np.flatnonzero(np.r_[True, (np.diff(score[order]) != 0) | (np.diff(user[order]) != 0)])
    tie_size = np.diff(np.r_[tie_start, len(score)])
    rank = np.empty(len(score))
    rank[order] = np.repeat(np.add.reduceat(position, tie_start) / tie_size, tie_size)
    with_candidates = np.flatnonzero(np.diff(offsets))
    best = np.zeros(len(offsets) - 1, np.float32)
    best[with_candidates] = np.maximum.reduceat(score, offsets[with_candidates])
    return best[user] - score, rank


def _descending_order(score: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Sort by user, then by falling score (float32), in one integer sort, which is the fastest way."""
    bits = score.view(np.uint32)
    # The order of floats is that of their bits, apart from the sign bit, and reversed below 0.
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    return np.argsort(user.astype(np.uint64) << np.uint64(32) | ~ascending)
