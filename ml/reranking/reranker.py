"""Second stage of a recommender: trees that rank the pool of the first stage, each user's by itself."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import pandas as pd

from ml.boosting import without_traces
from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import Candidate, FitResources, WarmStartCandidate, requirements_of
from ml.explanations.history_attribution import Scorer, contributions
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.holdout import HoldOut, lessons, usual
from ml.recommenders.content_based import tfidf
from ml.recommenders.time_decay import fitted, forgets
from ml.reranking.candidate_pool import FirstStage, Pool
from ml.reranking.diversification import diversified
from ml.reranking.pair_features import Evidence
from ml.serialization import class_name, numbered, read_numbered

if TYPE_CHECKING:
    import lightgbm

# The cross-entropy that bounds NDCG (Bruch, 2021). On the validation items of Amazon toys it ranks better than
# LambdaRank (NDCG@10 .0824 against .0806 with its best truncation, 60) and takes half the time.
OBJECTIVE = "rank_xendcg"
NO_TREES = ""
# The shares of the time until which the first fit of the models should have ended, and the last one.
INNER, OUTER = 0.5, 0.95
FUSION = 60.0


@dataclass(frozen=True, eq=False)
class RerankedModel:
    """The trees of the second stage in LightGBM's text format over the first one.

    Where nothing that was held out came into a pool there are no trees, and the ranks of the first stage are fused: the
    score is the sum of 1 / (`FUSION` + rank) (Cormack, Clarke and Buettcher, 2009).

    With `diversity`, the share that likeness has in `ml.reranking.diversification.diversified`, the score is
    the marginal relevance.
    """

    first: FirstStage
    trees: str = field(repr=False)
    stopped_by: Literal["models", "budget"] = "models"
    diversity: float = 0.0

    @property
    def catalogue(self) -> Catalogue:
        return self.first.catalogue

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its trees and the models of its first stage need to predict."""
        return tuple(sorted({"lightgbm", *requirements_of(self.first.models.values())}))

    @cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The best `LIST_LENGTH` of the pool of each user, in the form of `Catalogue.recommend`."""
        pool = self.first.pool(self.catalogue.sequences(frame))
        score = self._score(pool)
        if self.diversity:
            score = diversified(pool.user, score, pool.code, self.first.evidence.together, self.diversity)
        return self.catalogue.listed(frame["user"], pool.user, pool.code, score)

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Those of the first-stage model that places the item highest, shape (events,); 0 for items not in the pool."""
        name = self.first.placed_by(history, code)
        if name is None:
            return np.zeros(len(history.items))
        return contributions(self.first.scorers[name], history, code)

    def _score(self, pool: Pool) -> np.ndarray:
        if not len(pool.user):
            return np.empty(0, np.float32)
        if self.trees == NO_TREES:
            return np.asarray((1.0 / (FUSION + self.first.ranks(pool))).sum(axis=1), np.float32)
        # Few rows on one thread: waiting for others costs more than they bring.
        threads = 1 if len(pool.user) < 5000 else 0
        return np.asarray(self._booster.predict(pool.features, num_threads=threads), np.float32)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """The trees, the files of each first-stage model, numbered, the evidence, and `reranked.json`."""
        own = {
            "names": list(self.first.models),
            "classes": [class_name(model) for model in self.first.models.values()],
            "depths": dict(self.first.depths),
            "repeat": self.first.repeat,
            "lasting": self.first.lasting,
            "stopped_by": self.stopped_by,
            "diversity": self.diversity,
        }
        models = cast(Any, list(self.first.models.values()))
        return {
            "reranked.json": json.dumps(own).encode(),
            "catalogue.json": self.catalogue.to_json(),
            "trees.txt": self.trees.encode(),
            **numbered(models),
            **{f"evidence.{name}": data for name, data in self.first.evidence.files().items()},
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        own = json.loads(files["reranked.json"])
        models = cast(tuple[Scorer, ...], read_numbered(own["classes"], files))
        prefix = "evidence."
        evidence = Evidence.from_files(
            {name.removeprefix(prefix): data for name, data in files.items() if name.startswith(prefix)}
        )
        first = FirstStage(
            Catalogue.from_json(files["catalogue.json"]),
            dict(zip(own["names"], models, strict=True)),
            own["depths"],
            evidence,
            own["repeat"],
            tuple(own["lasting"]),
        )
        return cls(first, files["trees.txt"].decode(), own["stopped_by"], own["diversity"])


@dataclass(frozen=True)
class Reranked:
    """The first stage is `models`, and those `returning` where items may repeat.

    Each puts `depth` items into the pool, or as many as `depths` says. Those named in `lasting` do so twice where they
    forget: with their decay, and without.

    The ranker learns what came after from pools of models that have not seen it. What is held out for it is the last
    `share` of the log (time), the last `events` of each user, one after another (last), or a `share` of each user's
    events (random); by default the first where times are known. It also settles the decays that models leave open.
    Then the models learn again from everything.

    Lists are made more diverse by the share `diversity` (`ml.reranking.diversification`), at a price that
    `python -m benchmarks.recommendation` tells.

    Of users with a hit in their pool, the only ones that teach a ranking, each lesson takes at most `users`.

    With fewer seconds than `least` it is not begun: a slow model would leave none for the ranker.
    """

    models: Mapping[str, Candidate]
    returning: Mapping[str, Candidate] = field(default_factory=dict)
    depth: int = 100
    depths: Mapping[str, int] = field(default_factory=dict)
    lasting: tuple[str, ...] = ()
    hold_out: HoldOut | None = None
    share: float = 0.15
    events: int = 2
    users: int = 20_000
    rounds: int = 400
    learning_rate: float = 0.03
    num_leaves: int = 15
    diversity: float = 0.0
    least: float = 0.0

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> RerankedModel:
        """Two fits of each model and one of the ranker; `valid` is not looked at.

        Where time will not do for that, the first fit of the models is all there is, and their ranks are fused. Models
        that the table does not suit are left out. Errors as in `Catalogue.of`; CandidateSkipped where no model
        is left, or
        too little time.
        """
        if resources.seconds < self.least:
            raise CandidateSkipped(
                f"at least {self.least:g} s of training for two fits of each model",
                f"{resources.seconds:.0f} s left of the budget",
                f"raise --budget by {self.least - resources.seconds:.0f} s and more",
            )
        begun = time.monotonic()
        candidates = {**self.models, **(self.returning if train.allow_repeats else {})}
        taught = lessons(train, self.hold_out or usual(train), self.share, resources.seed, self.events)
        before, after = taught[0]
        settled, inner = self._first(candidates, before, resources, begun + INNER * resources.seconds, after)
        if time.monotonic() - begun > (INNER + 0.1) * resources.seconds:
            return RerankedModel(inner, NO_TREES, "budget", self.diversity)
        trees = self._ranker(inner, taught, resources)
        until = begun + OUTER * resources.seconds
        _, outer = self._first(settled, train, resources, until, begun=inner.models)
        return RerankedModel(outer, trees, diversity=self.diversity)

    def _first(
        self,
        candidates: Mapping[str, Candidate],
        train: Dataset,
        resources: FitResources,
        until: float = float("inf"),
        after: pd.Series | None = None,
        begun: Mapping[str, Any] | None = None,
    ) -> tuple[Mapping[str, Candidate], FirstStage]:
        """All models, of which the later ones get what is left until then (of `time.monotonic`).

        With what came `after`, the candidates returned have what they leave open settled by it. Candidates that can go
        on from models that have `begun` do.
        """
        settled: dict[str, Candidate] = {}
        models: dict[str, Any] = {}
        for name, candidate in candidates.items():
            try:
                left = replace(resources, seconds=until - time.monotonic())
                if begun and isinstance(candidate, WarmStartCandidate):
                    settled[name], models[name] = candidate, candidate.continue_fit(begun[name], train, left)
                else:
                    settled[name], models[name] = fitted(candidate, train, after, left)
                resources.log_progress(
                    f"{name}: fitted on {'everything' if after is None else 'what came before'}"
                )
            except CandidateSkipped as why:
                resources.log_progress(f"{name}: left out, {why}")
        if not models:
            raise CandidateSkipped(
                "a first stage of at least one model", "none that suits", "name another in models"
            )
        # The one that has all items of the others, the first of equals.
        catalogue = max((model.catalogue for model in models.values()), key=lambda known: len(known.items))
        depths = {name: self.depths.get(name, self.depth) for name in models}
        known = any(train.item_attributes.get(item) for item in catalogue.items)
        about = tfidf(catalogue.items, train.item_attributes) if known else None
        evidence = Evidence.of(catalogue.sequences(train.frame), about)
        lasting = tuple(name for name in self.lasting if name in models and forgets(models[name]))
        return settled, FirstStage(catalogue, models, depths, evidence, train.allow_repeats, lasting)

    def _ranker(
        self, first: FirstStage, taught: Sequence[tuple[Dataset, pd.Series]], resources: FitResources
    ) -> str:
        import lightgbm

        pools = [pool for lesson in taught for pool in self._pools(first, *lesson, resources)]
        params = {
            "objective": OBJECTIVE,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": 50,
            "max_bin": 63,
            "feature_fraction": 0.7,
            "seed": resources.seed,
            "objective_seed": resources.seed,
            "num_threads": resources.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        if not pools:
            return NO_TREES
        features = np.concatenate([features for features, _, _ in pools])
        hit = np.concatenate([hit for _, hit, _ in pools])
        sizes = np.concatenate([sizes for _, _, sizes in pools])
        data = lightgbm.Dataset(features, hit.astype(np.float64), group=sizes)
        booster = lightgbm.train(params, data, self.rounds)
        return without_traces(booster.model_to_string())

    def _pools(
        self, first: FirstStage, before: Dataset, after: pd.Series, resources: FitResources
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Features, hits and sizes of the pools of users with a hit, for blocks of users in random order."""
        asked = np.random.default_rng(resources.seed).permutation(
            np.flatnonzero(after.map(len).to_numpy() > 0)
        )
        taken = 0
        for start in range(0, len(asked), 2048):
            rows = asked[start : start + 2048]
            pool = first.pool(first.catalogue.sequences(before.frame.iloc[rows]))
            wanted = first.catalogue.sequences(
                pd.DataFrame({"user": before.frame["user"].iloc[rows], "items": after.iloc[rows]})
            )
            keys = wanted.users * np.int64(wanted.catalogue) + wanted.items
            hit = np.isin(pool.user * np.int64(wanted.catalogue) + pool.code, keys)
            lucky = np.flatnonzero(np.bincount(pool.user, hit, minlength=len(rows)) > 0)[: self.users - taken]
            taken += len(lucky)
            kept = np.isin(pool.user, lucky)
            if len(lucky):
                yield pool.features[kept], hit[kept], np.bincount(pool.user[kept])[lucky]
            if taken >= self.users:
                return
