"""Matrix factorisation of implicit feedback by alternating least squares (Hu, Koren and Volinsky, 2008)."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.dataset import Dataset
from ml.device import cores
from ml.estimator import FitResources
from ml.interactions.catalogue import LIST_LENGTH, Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import from_npy, to_npy
from ml.recommenders.approximate_search import LARGE, Approximate, Exact, nearest
from ml.recommenders.time_decay import settled

# Users that the index of a large catalogue is fitted to, and its recall measured on.
SAMPLE = 400
# A stack of users' item factors: 8 MB of float64.
STACK_CELLS = 2**20


@dataclass(frozen=True, eq=False)
class ALSModel:
    """`item_factors` is float32, shape (items, factors); those of a user are solved for when needed.

    `sample` has those of `SAMPLE` users or fewer, float64, where the catalogue is above
    `ml.recommenders.approximate_search.LARGE`.
    """

    catalogue: Catalogue = field(repr=False)
    item_factors: np.ndarray = field(repr=False)
    regularization: float
    alpha: float
    decay: float
    repeat: bool
    sample: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def index(self) -> Exact | Approximate:
        """What finds lists among the items that may be listed: exact, but for a large catalogue where faiss is."""
        factors = self.item_factors
        if len(self.catalogue.barred):  # else it would be copied whole, for one user as for all
            factors = factors[self._listed]
        if self.sample is None:
            return Exact(factors)
        try:
            return nearest(factors, self.sample, LIST_LENGTH, threads=cores(), large=0)
        except ImportError:
            # Without the extra `nearest` it takes longer, and nothing is missed.
            return Exact(factors)

    @cached_property
    def _listed(self) -> np.ndarray:
        return np.delete(np.arange(len(self.item_factors)), self.catalogue.barred)

    @cached_property
    def _wide(self) -> np.ndarray:
        return self.item_factors.astype(np.float64)

    @cached_property
    def _gram(self) -> np.ndarray:
        Y = self._wide
        gram: np.ndarray = Y.T @ Y + self.regularization * np.eye(Y.shape[1])
        return gram

    @cached_property
    def _solved(self) -> np.ndarray:
        """gram^-1 y of each item, shape (items, factors)."""
        solved: np.ndarray = np.linalg.solve(self._gram, self._wide.T).T.copy()
        return solved

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The score is the preference, near 0 to 1; lists and errors as in `Catalogue.recommend`.

        They are those of `scores` to the bit, found without an array of users x items; but where `index` is an
        approximate one, some of the best may be missing.
        """
        histories = self.catalogue.sequences(frame)
        counts = self._decayed(histories)
        seen = counts[:, self._listed] if len(self.catalogue.barred) else counts
        had = None if self.repeat else seen
        codes, scores = self.index.top_k(self.user_factors(counts), LIST_LENGTH, had, cores())
        codes = np.where(codes < 0, codes, self._listed[codes])
        return self.catalogue.ranked(frame, histories, codes, scores)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def user_factors(self, counts: sparse.csr_array) -> np.ndarray:
        """(Y'CY + regularization I)^-1 Y'Cp for each row of `counts` (users, items), shape (users, factors).

        Equation 4 of Hu, Koren and Volinsky (2008) with the confidence alpha * count for an item of the
        history and 1 for any other. Y'CY is Y'Y + Y'(C - I)Y, which needs the rows of the history only.
        """
        factors = np.zeros((counts.shape[0], self._wide.shape[1]))
        lengths = np.diff(counts.indptr)
        # Users of one length make a stack without padding, so nobody's bits hang on the company.
        for length in np.unique(lengths[lengths > 0]):
            users = np.flatnonzero(lengths == length)
            step = max(1, STACK_CELLS // (length * factors.shape[1]))
            for some in np.split(users, range(step, len(users), step)):
                entries = counts.indptr[some][:, None] + np.arange(length)
                factors[some] = self._solve(counts.indices[entries], self.alpha * counts.data[entries])
        return factors

    def _solve(self, items: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """The factors of users with equally many items, both arguments of shape (users, items of each)."""
        Y, extra = self._wide[items], (confidence - 1.0)[:, :, None]
        if items.shape[1] >= Y.shape[2]:
            left = self._gram + (Y.transpose(0, 2, 1) * extra.transpose(0, 2, 1)) @ Y
            right = Y.transpose(0, 2, 1) @ confidence[:, :, None]
            solved: np.ndarray = np.linalg.solve(left, right)[:, :, 0]
            return solved
        # With x = gram^-1 Y'z the equation becomes (I + (C - I) Y gram^-1 Y') z = Cp: as many unknowns as items.
        W = self._solved[items]
        left = np.eye(items.shape[1]) + extra * (Y @ W.transpose(0, 2, 1))
        z = np.linalg.solve(left, confidence[:, :, None])
        short: np.ndarray = (z.transpose(0, 2, 1) @ W)[:, 0, :]
        return short

    def files(self) -> dict[str, bytes]:
        """`model.json`, `catalogue.json`, `item_factors.npy` and, where there is one, `sample.npy`."""
        settings = {
            "regularization": self.regularization,
            "alpha": self.alpha,
            "decay": self.decay,
            "repeat": self.repeat,
        }
        return {
            "model.json": json.dumps(settings).encode(),
            "catalogue.json": self.catalogue.to_json(),
            "item_factors.npy": to_npy(self.item_factors),
            **({} if self.sample is None else {"sample.npy": to_npy(self.sample)}),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave; `implicit` is not needed."""
        catalogue = Catalogue.from_json(files["catalogue.json"])
        sample = from_npy(files, "sample.npy") if "sample.npy" in files else None
        factors = from_npy(files, "item_factors.npy")
        return cls(catalogue, factors, **json.loads(files["model.json"]), sample=sample)

    def scores(self, histories: Histories) -> np.ndarray:
        """Preferences, shape (users, items)."""
        scores: np.ndarray = self.user_factors(self._decayed(histories)) @ self._wide.T
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """What each event of one user adds to the score of item `code`, shape (events,); the sum is the score.

        Section 5 of Hu, Koren and Volinsky (2008): the score is the sum over the items of the history of
        y'(Y'CY + regularization I)^-1 y_j c_j. The confidence c_j is alpha, by weight and age, for each event with the
        item j.
        """
        counts = self._decayed(history)
        Y = self._wide[counts.indices]
        weighed = self._gram + (Y.T * (self.alpha * counts.data - 1.0)) @ Y
        told = self._wide[history.items] @ np.linalg.solve(weighed, self._wide[code])
        return np.asarray(self.alpha * history.aged(self.decay) * told)

    def _decayed(self, histories: Histories) -> sparse.csr_array:
        return histories.weighted(histories.aged(self.decay))


@dataclass(frozen=True)
class ALS:
    """`regularization` is the L2 penalty; the confidence in an item is alpha times the weight of the events with it.

    Factors are learned from events of any age alike. When a user's are solved for, the last event counts its weight and
    each one before it `decay` times as much; None is chosen (`ml.recommenders.time_decay`).

    Users without a history are given what was popular in the last `days`, or at all times. Lists of a catalogue above
    `ml.recommenders.approximate_search.LARGE` come from an index, and the fit tells its recall.
    """

    factors: int = 64
    regularization: float = 0.1
    alpha: float = 10.0
    iterations: int = 15
    decay: float | None = 1.0
    days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ALSModel:
        """Factorise with `implicit` until time is up (one iteration at least); errors as in `Catalogue.of`.

        The model is the same to the last bit for any number of threads and any order or names of the users.
        Items begin from random factors in the order of the catalogue: named otherwise, they may end in
        another local optimum.
        """
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        deadline = time.monotonic() + resources.seconds
        if self.decay is None:
            own: Self = settled(self, train, replace(resources, seconds=resources.seconds / 3))
            left = replace(resources, seconds=deadline - time.monotonic())
            return own.fit(train, valid, left)
        catalogue = Catalogue.of(train.frame, self.days, train.never_recommend)
        histories = catalogue.sequences(train.frame)
        counts = _in_own_order(histories.weighted(histories.weights))
        # implicit spreads users over threads of its own, and BLAS threads would compete with those.
        with threadpool_limits(1, "blas"):
            solver = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=1,
                num_threads=resources.threads,
                random_state=resources.seed,
            )
            # Each call goes on from the factors of the one before: a place to stop without an exception.
            for _ in range(self.iterations):
                solver.fit(counts, show_progress=False)
                if time.monotonic() > deadline:
                    break
        model = ALSModel(
            catalogue, solver.item_factors, self.regularization, self.alpha, self.decay, train.allow_repeats
        )
        if len(catalogue.items) <= LARGE or len(histories) < 2:
            return model
        return _indexed(model, histories, resources)


def _indexed(model: ALSModel, histories: Histories, resources: FitResources) -> ALSModel:
    """With a sample of the users, in whatever order they come, for the index."""
    everyone = _in_own_order(histories.weighted(histories.aged(model.decay)))
    some = np.random.default_rng(resources.seed).choice(
        len(histories), min(SAMPLE, len(histories)), replace=False
    )
    asked = sparse.csr_array(everyone[np.sort(some)])
    indexed = replace(model, sample=model.user_factors(asked))
    resources.log_progress(
        f"lists of {len(model.catalogue.items):,} items: {indexed.index.recall:.1%} of the exact ones are found"
    )
    return indexed


def _in_own_order(counts: sparse.csr_array) -> sparse.csr_matrix:
    """The rows, sorted by what is in them: float32, of the type that `implicit` takes."""

    def content(row: int) -> tuple[bytes, bytes]:
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        return counts.indices[span].tobytes(), counts.data[span].tobytes()

    return sparse.csr_matrix(counts[sorted(range(counts.shape[0]), key=content)].astype(np.float32))
