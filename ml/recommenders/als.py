"""Matrix factorisation of implicit feedback by alternating least squares (Hu, Koren and Volinsky, 2008)."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from ml.data.dataset import Dataset
from ml.device import available_cores
from ml.estimator import FitResources
from ml.interactions.catalogue import LIST_LENGTH, Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.approximate_search import MAX_EXACT_ITEMS, ExactIndex, ItemIndex, build_item_index
from ml.recommenders.costs import log_size, with_tuning
from ml.recommenders.recommender_model import RecommenderModel
from ml.recommenders.time_decay import DECAYS, MAX_USERS, with_tuned_decay
from ml.time_budget import FitCost

# Users on whose factors the index of a large catalogue is tuned and its recall measured.
MAX_SAMPLE_USERS = 400
# Seconds of one core for an event, a factor and an iteration, and to solve for the factors of a user.
ITERATION_SECONDS, SOLUTION_SECONDS = 6e-9, 1e-4
# Numbers in a stack of the item factors of several users: 8 MB of float64.
MAX_STACK_NUMBERS = 2**20


@dataclass(frozen=True, eq=False)
class ALSModel(RecommenderModel):
    """`item_factors` is float32, shape (items, factors); user factors are solved for when a prediction needs them.

    `index_sample`, float64, has the factors of up to `MAX_SAMPLE_USERS` users, only for a catalogue of more than
    `ml.recommenders.approximate_search.MAX_EXACT_ITEMS`: the search index is built with them.
    """

    item_factors: np.ndarray = field(repr=False)
    regularization: float
    alpha: float
    decay: float
    index_sample: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def index(self) -> ItemIndex:
        """Build the search over recommendable items: approximate for a large catalogue if faiss is installed."""
        factors = self.item_factors
        if len(self.catalogue.blocked_codes):  # without blocked items, this would copy all factors in vain
            factors = factors[self._recommendable]
        if self.index_sample is None:
            return ExactIndex(factors)
        try:
            return build_item_index(
                factors, self.index_sample, LIST_LENGTH, threads=available_cores(), max_exact_items=0
            )
        except ImportError:
            # Without the extra `nearest` the search is exact and slower.
            return ExactIndex(factors)

    @cached_property
    def _recommendable(self) -> np.ndarray:
        return np.delete(np.arange(len(self.item_factors)), self.catalogue.blocked_codes)

    @cached_property
    def _float64_factors(self) -> np.ndarray:
        return self.item_factors.astype(np.float64)

    @cached_property
    def _gram(self) -> np.ndarray:
        Y = self._float64_factors
        gram: np.ndarray = Y.T @ Y + self.regularization * np.eye(Y.shape[1])
        return gram

    @cached_property
    def _gram_solutions(self) -> np.ndarray:
        """Solve gram x = y for the factors y of each item, shape (items, factors)."""
        solutions: np.ndarray = np.linalg.solve(self._gram, self._float64_factors.T).T.copy()
        return solutions

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Recommend the items with the highest preferences, near 0 to 1; lists and errors as in `Catalogue.recommend`.

        Lists equal those of `scores` to the bit without an array of users x items. With an approximate `index`, some
        of the best items may be missing.
        """
        histories = self.catalogue.encode(frame)
        counts = self._decayed_counts(histories)
        seen = None
        if not self.allow_repeats:
            seen = counts[:, self._recommendable] if len(self.catalogue.blocked_codes) else counts
        codes, scores = self.index.top_k(self.user_factors(counts), LIST_LENGTH, seen, available_cores())
        codes = np.where(codes < 0, codes, self._recommendable[codes])
        return self.catalogue.lists_from_ranking(frame, histories, codes, scores)

    def user_factors(self, counts: sparse.csr_array) -> np.ndarray:
        """Solve (Y'CY + regularization I) x = Y'Cp for each row of `counts` (users, items), shape (users, factors).

        Equation 4 of Hu, Koren and Volinsky (2008), with the confidence alpha * count for an item of the history and 1
        for any other. Y'CY is Y'Y + Y'(C - I)Y, which needs the factors of the history's items only.
        """
        factors = np.zeros((counts.shape[0], self._float64_factors.shape[1]))
        lengths = np.diff(counts.indptr)
        # A stack has users with equally many items and no padding, so that no user's bits depend on the other users.
        # The matrices are small: more threads would wait for one another, and change the last bits.
        with threadpool_limits(1, "blas"):
            for length in np.unique(lengths[lengths > 0]):
                users = np.flatnonzero(lengths == length)
                step = max(1, MAX_STACK_NUMBERS // (length * factors.shape[1]))
                for stack in np.split(users, range(step, len(users), step)):
                    entries = counts.indptr[stack][:, None] + np.arange(length)
                    factors[stack] = self._solve(counts.indices[entries], self.alpha * counts.data[entries])
        return factors

    def _solve(self, items: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Solve for users with equally many items; both arguments have the shape (users, items per user)."""
        Y, extra = self._float64_factors[items], (confidence - 1.0)[:, :, None]
        if items.shape[1] >= Y.shape[2]:
            left = self._gram + (Y.transpose(0, 2, 1) * extra.transpose(0, 2, 1)) @ Y
            right = Y.transpose(0, 2, 1) @ confidence[:, :, None]
            solved: np.ndarray = np.linalg.solve(left, right)[:, :, 0]
            return solved
        # With x = gram^-1 Y'z the equation becomes (I + (C - I) Y gram^-1 Y') z = Cp: as many unknowns as items.
        W = self._gram_solutions[items]
        left = np.eye(items.shape[1]) + extra * (Y @ W.transpose(0, 2, 1))
        z = np.linalg.solve(left, confidence[:, :, None])
        combined: np.ndarray = (z.transpose(0, 2, 1) @ W)[:, 0, :]
        return combined

    def scores(self, histories: Histories) -> np.ndarray:
        """Compute the preference for every item, shape (users, items)."""
        scores: np.ndarray = self.user_factors(self._decayed_counts(histories)) @ self._float64_factors.T
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user adds to the score of item `code`, shape (events,); the sum is the score.

        Section 5 of Hu, Koren and Volinsky (2008): the score is the sum over the items of the history of
        y'(Y'CY + regularization I)^-1 y_j c_j. The confidence c_j is the sum over the events with item j of alpha
        times the decayed event weight.
        """
        counts = self._decayed_counts(history)
        Y = self._float64_factors[counts.indices]
        left = self._gram + (Y.T * (self.alpha * counts.data - 1.0)) @ Y
        similarities = self._float64_factors[history.items] @ np.linalg.solve(
            left, self._float64_factors[code]
        )
        return np.asarray(self.alpha * history.decayed_weights(self.decay) * similarities)

    def _decayed_counts(self, histories: Histories) -> sparse.csr_array:
        return histories.weighted_matrix(histories.decayed_weights(self.decay))


@dataclass(frozen=True)
class ALS:
    """Alternating least squares with `factors` factors per item and the L2 penalty `regularization`.

    The confidence in an item of a history is `alpha` times the summed weight of its events. Item factors are fitted
    without decay. In predictions, an event counts its weight, times `decay` per later event of the user; a decay of
    None is tuned (`ml.recommenders.time_decay`).

    Users without a history get the most popular items of the last `popularity_days`, or of all time. For a
    catalogue of more than `ml.recommenders.approximate_search.MAX_EXACT_ITEMS`, lists come from an approximate index,
    and the fit logs its recall.
    """

    factors: int = 64
    regularization: float = 0.1
    alpha: float = 10.0
    iterations: int = 15
    decay: float | None = 1.0
    popularity_days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ALSModel:
        """Factorise with `implicit` until time is up, at least one iteration; errors as in `Catalogue.from_frame`.

        The model is the same to the last bit for any number of threads and any order or names of the users. The
        random start depends on the order of the catalogue: with other item names, the fit may end in another local
        optimum.
        """
        from implicit.cpu.als import AlternatingLeastSquares

        deadline = resources.deadline()
        if self.decay is None:
            tuned: Self = with_tuned_decay(self, train, replace(resources, seconds=resources.seconds / 3))
            return tuned.fit(train, valid, replace(resources, seconds=deadline.remaining))
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        histories = catalogue.encode(train.frame)
        counts = _sorted_by_content(histories.weighted_matrix(histories.weights))
        # implicit spreads users over its own threads, and BLAS threads would compete with them.
        with threadpool_limits(1, "blas"):
            solver = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=1,
                num_threads=resources.threads,
                random_state=resources.seed,
            )
            # Each call continues from the factors of the one before: a place to stop without an exception.
            for _ in range(self.iterations):
                solver.fit(counts, show_progress=False)
                if deadline.passed:
                    break
        model = ALSModel(
            catalogue=catalogue,
            allow_repeats=train.allow_repeats,
            item_factors=solver.item_factors,
            regularization=self.regularization,
            alpha=self.alpha,
            decay=self.decay,
        )
        if len(catalogue.items) <= MAX_EXACT_ITEMS or len(histories) < 2:
            return model
        return _with_index(model, histories, resources)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of all iterations, of which a time limit may cut the last ones."""
        size = log_size(train)
        iteration = ITERATION_SECONDS * size.events * self.factors / resources.threads
        fit = with_tuning(self.iterations * iteration, size, train, self.decay)
        # Factors of the users that decays are tuned on.
        tuned = with_tuning(0.0, size, train, self.decay) > 0.0
        solutions = len(DECAYS) * min(size.users, MAX_USERS) * SOLUTION_SECONDS if tuned else 0.0
        return FitCost(fit + solutions, fit + solutions)


def _with_index(model: ALSModel, histories: Histories, resources: FitResources) -> ALSModel:
    """Add the factors of a sample of users, which does not depend on their order, and log the recall of the index."""
    counts = _sorted_by_content(histories.weighted_matrix(histories.decayed_weights(model.decay)))
    sample = np.random.default_rng(resources.seed).choice(
        len(histories), min(MAX_SAMPLE_USERS, len(histories)), replace=False
    )
    sample_counts = sparse.csr_array(counts[np.sort(sample)])
    indexed = replace(model, index_sample=model.user_factors(sample_counts))
    resources.log_progress(
        f"search index over {len(model.catalogue.items):,} items: recall {indexed.index.recall:.1%}"
    )
    return indexed


def _sorted_by_content(counts: sparse.csr_array) -> sparse.csr_matrix:
    """Sort rows by their entries, so that the order of users does not matter; float32, in the type of `implicit`."""

    def content(row: int) -> tuple[bytes, bytes]:
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        return counts.indices[span].tobytes(), counts.data[span].tobytes()

    return sparse.csr_matrix(counts[sorted(range(counts.shape[0]), key=content)].astype(np.float32))
