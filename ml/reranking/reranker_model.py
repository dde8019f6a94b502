"""A fitted two-stage recommender: candidates of several models, ranked by gradient-boosted trees."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import pandas as pd

from ml.estimator import requirements_of
from ml.explanations.history_attribution import ItemScorer, event_contributions
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.reranking.candidate_pool import CandidatePool, FirstStage
from ml.reranking.diversification import maximal_marginal_relevance
from ml.reranking.pair_features import PairFeatures
from ml.serialization import class_name, models_from_files, models_to_files

if TYPE_CHECKING:
    import lightgbm

NO_TREES = ""
RANK_FUSION_CONSTANT = 60.0
# Fewer rows are predicted on one thread: starting the others takes longer than they save.
MIN_ROWS_FOR_THREADS = 5000


@dataclass(frozen=True, eq=False)
class RerankerModel:
    """A fitted first stage and the trees that rank its candidates, in LightGBM's text format.

    Without trees, the ranks of the first stage are fused: the score is the sum of 1 / (`RANK_FUSION_CONSTANT` + rank)
    over its scorers (Cormack, Clarke and Buettcher, 2009). With `diversity` above 0, the score is the marginal
    relevance (`ml.reranking.diversification`). `stopped_by` is "budget" if there was no time to train trees.
    """

    first_stage: FirstStage
    trees: str = field(repr=False)
    stopped_by: Literal["models", "budget"] = "models"
    diversity: float = 0.0

    @property
    def catalogue(self) -> Catalogue:
        return self.first_stage.catalogue

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its trees and the models of its first stage need to predict."""
        return tuple(sorted({"lightgbm", *requirements_of(self.first_stage.models.values())}))

    @cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """List the best `LIST_LENGTH` candidates of each user, in the form of `Catalogue.recommend`."""
        pool = self.first_stage.candidate_pool(self.catalogue.encode(frame))
        score = self._score(pool)
        if self.diversity:
            similarity = self.first_stage.pair_features.user_similarity
            score = maximal_marginal_relevance(pool.user, score, pool.code, similarity, self.diversity)
        return self.catalogue.lists_from_candidates(frame["user"], pool.user, pool.code, score)

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return the contributions to the score of the first-stage model that ranks the item highest, shape (events,).

        They are 0 for items outside of the candidate pool.
        """
        name = self.first_stage.best_scorer(history, code)
        if name is None:
            return np.zeros(len(history.items))
        return event_contributions(self.first_stage.scorers[name], history, code)

    def _score(self, pool: CandidatePool) -> np.ndarray:
        if not len(pool.user):
            return np.empty(0, np.float32)
        if self.trees == NO_TREES:
            reciprocal_ranks = 1.0 / (RANK_FUSION_CONSTANT + self.first_stage.ranks(pool))
            return np.asarray(reciprocal_ranks.sum(axis=1), np.float32)
        threads = 1 if len(pool.user) < MIN_ROWS_FOR_THREADS else 0
        return np.asarray(self._booster.predict(pool.features, num_threads=threads), np.float32)

    def files(self) -> dict[str, bytes]:
        """Serialise `reranker.json`, the catalogue, the trees, the pair features and the first-stage models."""
        first_stage = self.first_stage
        settings = {
            "names": list(first_stage.models),
            "classes": [class_name(model) for model in first_stage.models.values()],
            "depths": dict(first_stage.depths),
            "allow_repeats": first_stage.allow_repeats,
            "long_term": first_stage.long_term,
            "stopped_by": self.stopped_by,
            "diversity": self.diversity,
        }
        models = cast(Any, list(first_stage.models.values()))
        pair_features = first_stage.pair_features.files()
        return {
            "reranker.json": json.dumps(settings).encode(),
            "catalogue.json": self.catalogue.to_json(),
            "trees.txt": self.trees.encode(),
            **models_to_files(models),
            **{f"pair_features.{name}": content for name, content in pair_features.items()},
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` returned."""
        settings = json.loads(files["reranker.json"])
        models = cast(tuple[ItemScorer, ...], models_from_files(settings["classes"], files))
        prefix = "pair_features."
        pair_features = PairFeatures.from_files(
            {name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)}
        )
        first_stage = FirstStage(
            Catalogue.from_json(files["catalogue.json"]),
            dict(zip(settings["names"], models, strict=True)),
            settings["depths"],
            pair_features,
            settings["allow_repeats"],
            tuple(settings["long_term"]),
        )
        return cls(first_stage, files["trees.txt"].decode(), settings["stopped_by"], settings["diversity"])
