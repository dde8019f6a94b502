"""How lists of recommendations are judged: see `ml.judge`."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml import exposure, intervals, order, ranking, slices
from ml.digest import row_hashes
from ml.histories import Catalogue
from ml.intervals import Difference, Interval
from ml.judge import Decision
from ml.model import Model, Part
from ml.shoppers import shoppers


@dataclass(frozen=True)
class RankingJudge:
    """Lists of items for users, over the full catalogue; ties count as half. Paired over users.

    Measures are named with their depth, as in `ndcg_at_10`. `leading` is the one that chooses and promotes.
    """

    k: int = 10
    leading: str = "ndcg"
    chance: float = 0.0

    @property
    def primary(self) -> str:
        return f"{self.leading}_at_{self.k}"

    def decide(self, part: Part, prediction: pd.DataFrame) -> Decision:
        return {}

    def measure(self, part: Part, prediction: pd.DataFrame, decision: Decision) -> dict[str, float]:
        histories, users = part.frame["items"], len(part.frame)
        popular = exposure.owners(histories)
        shown, taken = _within(prediction, self.k), part.truth.explode().dropna()
        # What is listed below the depth is known to the catalogue as well.
        catalogue = len(set(popular.index) | set(taken) | set(prediction["item"]))
        ranks = ranking.ranks(part.truth, part.frame["user"], prediction)
        beside = {
            "coverage": ranking.coverage(prediction, catalogue, self.k),
            "novelty": ranking.novelty(
                prediction, {str(item): int(n) for item, n in popular.items()}, users, self.k
            ),
            "gini": exposure.gini(shown.value_counts().to_numpy(), catalogue),
            "diversity": exposure.diversity(prediction, histories, self.k),
            "serendipity": exposure.serendipity(ranks, histories, popular, self.k, part.repeat),
            "popularity": exposure.mean_popularity(shown, popular, users),
        }
        found = {
            **{str(name): float(value) for name, value in self._per_user(part, prediction).mean().items()},
            **{f"{name}_at_{self.k}": value for name, value in beside.items()},
            "popularity_taken": exposure.mean_popularity(taken, popular, users),
        }
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def interval(self, part: Part, prediction: pd.DataFrame) -> Interval:
        return intervals.mean_interval(self._per_user(part, prediction)[self.primary].to_numpy())

    def intervals(
        self, part: Part, prediction: pd.DataFrame, decision: Decision, seed: int
    ) -> dict[str, Interval]:
        values = self._per_user(part, prediction)
        return {str(name): intervals.mean_interval(values[name].to_numpy()) for name in values.columns}

    def difference(
        self, part: Part, one: pd.DataFrame, other: pd.DataFrame, level: float = 0.95
    ) -> Difference:
        mine, theirs = (self._per_user(part, p)[self.primary].to_numpy() for p in (one, other))
        return intervals.mean_difference(mine, theirs, level=level)

    def curves(self, part: Part, prediction: pd.DataFrame) -> dict[str, Any]:
        """The primary measure by length of history and by other slices, and who is shown and taken by popularity."""

        def measured(some: Part) -> np.ndarray:
            values: np.ndarray = self._per_user(some, prediction)[self.primary].to_numpy()
            return values

        popular = exposure.owners(part.frame["items"])
        shown, taken = _within(prediction, self.k), part.truth.explode().dropna()
        return {
            "history_length": slices.by_length(part, measured(part)),
            "slices": slices.by_popularity(part, measured, popular)
            + slices.by_newness(part, measured, popular),
            "popularity": exposure.by_popularity(shown, taken, popular),
        }

    def about_data(self, part: Part) -> dict[str, Any]:
        """`order`: whether the order of events is the users' own."""
        if not part.frame["items"].map(len).any():
            return {}
        return {"order": order.evidence(Catalogue.of(part.frame).sequences(part.frame))}

    def examples(self, part: Part, prediction: pd.DataFrame, model: Model) -> list[dict[str, Any]]:
        """Three shoppers; see `ml.shoppers`."""
        return shoppers(part, prediction, model)

    def learned(self, part: Part) -> np.ndarray:
        """Pairs of user and item: a user's next item may be asked for as long as it was not learned."""
        return np.unique(_pairs(part.units, part.frame["items"])[1])

    def unseen(self, part: Part, learned: np.ndarray) -> np.ndarray:
        rows, pairs = _pairs(part.units, part.truth)
        return np.setdiff1d(np.arange(len(part.units)), rows[np.isin(pairs, learned)])

    def _per_user(self, part: Part, prediction: pd.DataFrame) -> pd.DataFrame:
        values = ranking.per_user(part.truth, part.frame["user"], prediction, self.k)
        return values.add_suffix(f"_at_{self.k}")


def _within(prediction: pd.DataFrame, k: int) -> pd.Series:
    """The items that are shown, as often as they are."""
    return prediction.loc[prediction["rank"] <= k, "item"]


def _pairs(units: np.ndarray, items: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """For each item of each list: the position of its row, and a hash of user and item."""
    rows = np.repeat(np.arange(len(units)), items.map(len).to_numpy(np.int64))
    flat = items.explode().dropna().astype("str")
    return rows, row_hashes(pd.DataFrame({"unit": units[rows], "item": flat.to_numpy()}))
