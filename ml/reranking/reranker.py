"""Fit a two-stage recommender: candidates of several models, ranked by gradient-boosted trees."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.boosting import strip_training_metadata
from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import Candidate, CostedCandidate, FitResources, WarmStartCandidate
from ml.interactions.holdout import HoldoutPolicy, default_holdout, training_queries
from ml.recommenders.content_based import tfidf
from ml.recommenders.costs import SCORE_SECONDS, log_size
from ml.recommenders.time_decay import HasDecay, fit_with_tuned_decay, is_decayed
from ml.reranking.candidate_pool import FirstStage
from ml.reranking.pair_features import PairFeatures
from ml.reranking.reranker_model import NO_TREES, RerankerModel
from ml.time_budget import FitCost

# The cross-entropy that bounds NDCG (Bruch, 2021). On the validation items of Amazon toys it ranks better than
# LambdaRank (NDCG@10 .0824 against .0806 with its best truncation, 60) and takes half the time.
OBJECTIVE = "rank_xendcg"
# Shares of the time budget by which the first and the final fit of the models should end.
FIRST_FIT_SHARE, FINAL_FIT_SHARE = 0.5, 0.95
# The share of the time budget that the fits of the models may be estimated to take.
MODELS_SHARE = 0.8
# Estimates: the share of queries with a target in the pool, the share of the candidates of all models that are
# distinct, and the seconds of one core for a row of the pool in one round.
QUERIES_WITH_TARGET, DISTINCT_SHARE, ROW_SECONDS = 0.4, 0.4, 1.1e-7
QUERY_BLOCK_USERS = 2048


@dataclass(frozen=True)
class Reranker:
    """A recommender that ranks the candidates of several models with gradient-boosted trees.

    models: the first stage, by name; `repeat_models` are added where repeat recommendations are allowed.
    depths: number of candidates per user and model; `depth` for models that it does not name.
    long_term: names of models that propose candidates also without their decay, if they have one.
    holdout: how training targets are held out (`ml.interactions.holdout`); None for the default of the data set.
    holdout_share: share of the log (time) or of the events (random) that is held out.
    holdout_events: number of last events of each user that are held out, one after another (last).
    max_training_users: number of users per set of training queries, counting those with a target in their pool.
    rounds, learning_rate, num_leaves: parameters of LightGBM.
    diversity: weight of redundancy against relevance in the lists; `python -m benchmarks.recommendation` measures its
    cost.
    min_seconds: time budget below which the candidate is skipped, because a slow model would leave none for the trees.

    The trees are trained on candidates of models that were not fitted on the held-out targets. The holdout also tunes
    decays that models leave open. Then all models are fitted again on all of `train`.
    """

    models: Mapping[str, Candidate]
    repeat_models: Mapping[str, Candidate] = field(default_factory=dict)
    depth: int = 100
    depths: Mapping[str, int] = field(default_factory=dict)
    long_term: tuple[str, ...] = ()
    holdout: HoldoutPolicy | None = None
    holdout_share: float = 0.15
    holdout_events: int = 2
    max_training_users: int = 20_000
    rounds: int = 400
    learning_rate: float = 0.03
    num_leaves: int = 15
    diversity: float = 0.0
    min_seconds: float = 0.0

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> RerankerModel:
        """Fit every model twice and the trees once; `valid` is not used.

        Models that do not suit the data are left out. Where the first fits take too much of the time budget, they are
        final, and their ranks are fused. Raises CandidateSkipped where no model is left, or for a budget below
        `min_seconds`; other errors as in `Catalogue.from_frame`.
        """
        if resources.seconds < self.min_seconds:
            raise CandidateSkipped(
                f"at least {self.min_seconds:g} s of training for two fits of each model",
                f"{resources.seconds:.0f} s left of the time budget",
                f"raise --time-budget by at least {self.min_seconds - resources.seconds:.0f} s",
            )
        spent = resources.deadline()
        candidates = self._candidates(train)
        policy = self.holdout or default_holdout(train)
        queries = training_queries(train, policy, self.holdout_share, resources.seed, self.holdout_events)
        histories, targets = queries[0]
        first = replace(resources, seconds=FIRST_FIT_SHARE * resources.seconds)
        tuned, first_stage = self._fit_first_stage(candidates, histories, first, targets)
        if spent.elapsed > (FIRST_FIT_SHARE + 0.1) * resources.seconds:
            return RerankerModel(first_stage, NO_TREES, "budget", self.diversity)
        trees = self._fit_trees(first_stage, queries, resources)
        final = replace(resources, seconds=FINAL_FIT_SHARE * resources.seconds - spent.elapsed)
        _, final_stage = self._fit_first_stage(tuned, train, final, initial_models=first_stage.models)
        return RerankerModel(final_stage, trees, diversity=self.diversity)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of all fits; with less than the minimum there is no time for trees."""
        models = self._model_seconds(train, resources)
        trees = self._tree_seconds(train, resources, models)
        minimum = max(self.min_seconds, trees + min(models.values(), default=0.0))
        return FitCost(minimum, sum(models.values()) + trees)

    def adjust_to(self, train: Dataset, resources: FitResources) -> tuple[Self, dict[str, str]]:
        """Leave out the models whose fits cost most, until the seconds suffice for the others and for the trees."""
        models = self._model_seconds(train, resources)
        trees = self._tree_seconds(train, resources, models)
        limit = min(FINAL_FIT_SHARE * resources.seconds - trees, MODELS_SHARE * resources.seconds)
        spent, left_out = 0.0, dict[str, str]()
        for name in sorted(models, key=lambda name: models[name]):
            # Of a fit without an end, the deadline is the end.
            seconds = models[name] if isfinite(models[name]) else 0.0
            if spent + seconds > limit and len(models) - len(left_out) > 1:
                left_out[name] = (
                    f"expected about {seconds:.0f} s for its two fits; got {max(limit - spent, 0.0):.0f} s"
                )
            else:
                spent += seconds
        if not left_out:
            return self, left_out
        kept, kept_repeat = (
            {name: model for name, model in group.items() if name not in left_out}
            for group in (self.models, self.repeat_models)
        )
        return replace(self, models=kept, repeat_models=kept_repeat), left_out

    def _candidates(self, train: Dataset) -> dict[str, Candidate]:
        return {**self.models, **(self.repeat_models if train.allow_repeats else {})}

    def _model_seconds(self, train: Dataset, resources: FitResources) -> dict[str, float]:
        """Estimate the seconds of both fits of each model; tuning an open decay takes one of them anyway."""
        seconds = {}
        for name, candidate in self._candidates(train).items():
            cost = candidate.cost(train, resources).full if isinstance(candidate, CostedCandidate) else 0.0
            is_tuned = isinstance(candidate, HasDecay) and candidate.decay is None and train.decay is None
            seconds[name] = cost if is_tuned else 2.0 * cost
        return seconds

    def _tree_seconds(self, train: Dataset, resources: FitResources, models: Iterable[str]) -> float:
        """Estimate the seconds to make the training queries and to train the trees."""
        size = log_size(train)
        policy = self.holdout or default_holdout(train)
        queries = min(size.users, self.max_training_users) * (self.holdout_events if policy == "last" else 1)
        depths = [self.depths.get(name, self.depth) for name in models]
        scores = queries * size.items * len(depths) * SCORE_SECONDS
        rows = QUERIES_WITH_TARGET * queries * sum(depths) * DISTINCT_SHARE
        return scores + rows * self.rounds * ROW_SECONDS / resources.threads

    def _fit_first_stage(
        self,
        candidates: Mapping[str, Candidate],
        train: Dataset,
        resources: FitResources,
        targets: pd.Series | None = None,
        initial_models: Mapping[str, Any] | None = None,
    ) -> tuple[Mapping[str, Candidate], FirstStage]:
        """Fit all candidates, each with the seconds that those before it have left.

        The candidates returned have their open decays tuned, if there are `targets`. Candidates that support it
        continue from their initial model.
        """
        deadline = resources.deadline()
        tuned: dict[str, Candidate] = {}
        models: dict[str, Any] = {}
        for name, candidate in candidates.items():
            try:
                remaining = replace(resources, seconds=deadline.remaining)
                if initial_models and isinstance(candidate, WarmStartCandidate):
                    model = candidate.continue_fit(initial_models[name], train, remaining)
                    tuned[name], models[name] = candidate, model
                else:
                    tuned[name], models[name] = fit_with_tuned_decay(candidate, train, targets, remaining)
                events = "all events" if targets is None else "events before the holdout"
                resources.log_progress(f"{name}: fitted on {events}")
            except CandidateSkipped as skipped:
                resources.log_progress(f"{name}: left out, {skipped}")
        if not models:
            raise CandidateSkipped(
                "a first stage of at least one model", "none that suits the data", "add another to models"
            )
        # One catalogue includes the items of all others; the first of equals.
        catalogue = max((model.catalogue for model in models.values()), key=lambda each: len(each.items))
        depths = {name: self.depths.get(name, self.depth) for name in models}
        has_attributes = any(train.item_attributes.get(item) for item in catalogue.items)
        attributes = tfidf(catalogue.items, train.item_attributes) if has_attributes else None
        pair_features = PairFeatures.from_histories(catalogue.encode(train.frame), attributes)
        long_term = tuple(name for name in self.long_term if name in models and is_decayed(models[name]))
        return tuned, FirstStage(catalogue, models, depths, pair_features, train.allow_repeats, long_term)

    def _fit_trees(
        self,
        first_stage: FirstStage,
        queries: Sequence[tuple[Dataset, pd.Series]],
        resources: FitResources,
    ) -> str:
        import lightgbm

        groups = [group for query in queries for group in self._query_groups(first_stage, *query, resources)]
        if not groups:
            return NO_TREES
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
        features, relevance, sizes = (np.concatenate(arrays) for arrays in zip(*groups, strict=True))
        data = lightgbm.Dataset(features, relevance.astype(np.float64), group=sizes)
        booster = lightgbm.train(params, data, self.rounds)
        return strip_training_metadata(booster.model_to_string())

    def _query_groups(
        self, first_stage: FirstStage, histories: Dataset, targets: pd.Series, resources: FitResources
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield features, relevance (bool) and group sizes of users with a target in their pool, in random order."""
        catalogue = first_stage.catalogue
        users = np.random.default_rng(resources.seed).permutation(
            np.flatnonzero(targets.map(len).to_numpy() > 0)
        )
        n_users = 0
        for start in range(0, len(users), QUERY_BLOCK_USERS):
            rows = users[start : start + QUERY_BLOCK_USERS]
            pool = first_stage.candidate_pool(catalogue.encode(histories.frame.iloc[rows]))
            encoded = catalogue.encode(
                pd.DataFrame({"user": histories.frame["user"].iloc[rows], "items": targets.iloc[rows]})
            )
            target_keys = encoded.users * np.int64(encoded.n_items) + encoded.items
            relevance = np.isin(pool.user * np.int64(encoded.n_items) + pool.code, target_keys)
            with_target = np.flatnonzero(np.bincount(pool.user, relevance, minlength=len(rows)) > 0)
            with_target = with_target[: self.max_training_users - n_users]
            n_users += len(with_target)
            kept = np.isin(pool.user, with_target)
            if len(with_target):
                yield pool.features[kept], relevance[kept], np.bincount(pool.user[kept])[with_target]
            if n_users >= self.max_training_users:
                return
