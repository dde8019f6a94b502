"""Fit a two-stage recommender: candidates of several models, ranked by gradient-boosted trees."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ml.boosting import strip_training_metadata
from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import Candidate, FitResources, WarmStartCandidate
from ml.interactions.holdout import HoldoutPolicy, default_holdout, training_queries
from ml.recommenders.content_based import tfidf
from ml.recommenders.time_decay import fit_with_tuned_decay, is_decayed
from ml.reranking.candidate_pool import FirstStage
from ml.reranking.pair_features import PairFeatures
from ml.reranking.reranker_model import NO_TREES, RerankerModel

# The cross-entropy that bounds NDCG (Bruch, 2021). On the validation items of Amazon toys it ranks better than
# LambdaRank (NDCG@10 .0824 against .0806 with its best truncation, 60) and takes half the time.
OBJECTIVE = "rank_xendcg"
# Shares of the time budget by which the first and the final fit of the models should end.
FIRST_FIT_SHARE, FINAL_FIT_SHARE = 0.5, 0.95
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
        started = time.monotonic()
        candidates = {**self.models, **(self.repeat_models if train.allow_repeats else {})}
        policy = self.holdout or default_holdout(train)
        queries = training_queries(train, policy, self.holdout_share, resources.seed, self.holdout_events)
        histories, targets = queries[0]
        deadline = started + FIRST_FIT_SHARE * resources.seconds
        tuned, first_stage = self._fit_first_stage(candidates, histories, resources, deadline, targets)
        if time.monotonic() - started > (FIRST_FIT_SHARE + 0.1) * resources.seconds:
            return RerankerModel(first_stage, NO_TREES, "budget", self.diversity)
        trees = self._fit_trees(first_stage, queries, resources)
        deadline = started + FINAL_FIT_SHARE * resources.seconds
        _, final_stage = self._fit_first_stage(
            tuned, train, resources, deadline, initial_models=first_stage.models
        )
        return RerankerModel(final_stage, trees, diversity=self.diversity)

    def _fit_first_stage(
        self,
        candidates: Mapping[str, Candidate],
        train: Dataset,
        resources: FitResources,
        deadline: float = float("inf"),
        targets: pd.Series | None = None,
        initial_models: Mapping[str, Any] | None = None,
    ) -> tuple[Mapping[str, Candidate], FirstStage]:
        """Fit all candidates, each with the time left until the deadline (of `time.monotonic`).

        The candidates returned have their open decays tuned, if there are `targets`. Candidates that support it
        continue from their initial model.
        """
        tuned: dict[str, Candidate] = {}
        models: dict[str, Any] = {}
        for name, candidate in candidates.items():
            try:
                remaining = replace(resources, seconds=deadline - time.monotonic())
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
