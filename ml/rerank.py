"""Second stage of a recommender: trees that rank the pool of the first stage, each user's by itself."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import pandas as pd

from ml.bag import numbered, read_numbered
from ml.boost import without_traces
from ml.histories import Catalogue, Sequences
from ml.model import Candidate, Part, Resources
from ml.package import class_name
from ml.pool import Evidence, FirstStage, Pool
from ml.reasons import Scorer, contributions
from ml.refusal import Unsuitable

if TYPE_CHECKING:
    import lightgbm

# The cross-entropy that bounds NDCG (Bruch, 2021). On the validation items of Amazon toys it ranks better than
# LambdaRank (NDCG@10 .0824 against .0806 with its best truncation, 60) and takes half the time.
OBJECTIVE = "rank_xendcg"
HoldOut = Literal["time", "last", "random"]
NO_TREES = ""
# The shares of the time until which the first fit of the models should have ended, and the last one.
INNER, OUTER = 0.4, 0.95
FUSION = 60.0


@dataclass(frozen=True, eq=False)
class RerankedModel:
    """The trees of the second stage in LightGBM's text format over the first one.

    Where nothing that was held out came into a pool there are no trees, and the ranks of the first stage are fused: the
    score is the sum of 1 / (`FUSION` + rank) (Cormack, Clarke and Buettcher, 2009).
    """

    first: FirstStage
    trees: str = field(repr=False)
    stopped_by: Literal["models", "budget"] = "models"

    @property
    def catalogue(self) -> Catalogue:
        return self.first.catalogue

    @cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The best `LIST_LENGTH` of the pool of each user, in the form of `Catalogue.recommend`."""
        pool = self.first.pool(self.catalogue.sequences(frame))
        return self.catalogue.listed(frame["user"], pool.user, pool.code, self._score(pool))

    def contributions(self, history: Sequences, code: int) -> np.ndarray:
        """Those of the first-stage model that places the item highest, shape (events,); 0 for items not in the pool."""
        name = self.first.placed_by(history, code)
        if name is None:
            return np.zeros(len(history.items))
        return contributions(self.first.models[name], history, code)

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
            "stopped_by": self.stopped_by,
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
        )
        return cls(first, files["trees.txt"].decode(), own["stopped_by"])


@dataclass(frozen=True)
class Reranked:
    """The first stage is `models`, and those `returning` where items may repeat.

    Each puts `depth` items into the pool, or as many as `depths` says.

    The ranker learns what came after from pools of models that have not seen it. What is held out for it is the last
    `share` of the log (time), the last event of each user (last), or a `share` of each user's events (random); by
    default the first where times are known. Then the models learn again from everything.
    Of users with a hit in their pool, the only ones that teach a ranking, at most `users` are taken.
    """

    models: Mapping[str, Candidate]
    returning: Mapping[str, Candidate] = field(default_factory=dict)
    depth: int = 100
    depths: Mapping[str, int] = field(default_factory=dict)
    hold_out: HoldOut | None = None
    share: float = 0.15
    users: int = 20_000
    rounds: int = 200
    learning_rate: float = 0.05
    num_leaves: int = 15

    def fit(self, train: Part, valid: Part, resources: Resources) -> RerankedModel:
        """Two fits of each model and one of the ranker; `valid` is not looked at.

        Where time will not do for that, the first fit of the models is all there is, and their ranks are fused. Models
        that the table does not suit are left out. Errors as in `Catalogue.of`; Unsuitable where no model is left.
        """
        begun = time.monotonic()
        before, after = held_out(train, self._how(train), self.share, resources.seed)
        inner = self._first(before, resources, begun + INNER * resources.seconds, "without what is held out")
        if time.monotonic() - begun > (INNER + 0.1) * resources.seconds:
            return RerankedModel(inner, NO_TREES, "budget")
        trees = self._ranker(inner, before, after, resources)
        return RerankedModel(
            self._first(train, resources, begun + OUTER * resources.seconds, "on everything"), trees
        )

    def _how(self, train: Part) -> HoldOut:
        # From Parquet, an empty list comes as an array of objects.
        known = all(np.isfinite(np.asarray(times, np.float64)).all() for times in train.frame["times"])
        return self.hold_out or ("time" if known else "last")

    def _first(
        self, train: Part, resources: Resources, until: float = float("inf"), on: str = "on everything"
    ) -> FirstStage:
        """All models, of which the later ones get what is left until then (of `time.monotonic`); `on` is told."""
        models: dict[str, Any] = {}
        returning = self.returning if train.repeat else {}
        for name, candidate in {**self.models, **returning}.items():
            try:
                left = replace(resources, seconds=until - time.monotonic())
                models[name] = candidate.fit(train, train, left)
                resources.tell(f"{name}: fitted {on}")
            except Unsuitable as why:
                resources.tell(f"{name}: left out, {why}")
        if not models:
            raise Unsuitable(
                "a first stage of at least one model", "none that suits", "name another in models"
            )
        catalogue = next(iter(models.values())).catalogue
        depths = {name: self.depths.get(name, self.depth) for name in models}
        evidence = Evidence.of(catalogue.sequences(train.frame))
        return FirstStage(catalogue, models, depths, evidence, train.repeat)

    def _ranker(self, first: FirstStage, before: Part, after: pd.Series, resources: Resources) -> str:
        import lightgbm

        pools = list(self._lessons(first, before, after, resources))
        params = {
            "objective": OBJECTIVE,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": 50,
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

    def _lessons(
        self, first: FirstStage, before: Part, after: pd.Series, resources: Resources
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


def held_out(train: Part, how: HoldOut, share: float, seed: int) -> tuple[Part, pd.Series]:
    """The histories without what is held out, and what was held out of each, one list for each row.

    An item that is left in the history is no lesson unless items may repeat.
    """
    frame = train.frame
    lengths = frame["items"].map(len).to_numpy(np.int64)
    users = np.repeat(np.arange(len(frame)), lengths)
    if how == "time":
        times = np.concatenate([np.asarray(one, np.float64) for one in frame["times"]])
        out = times >= np.quantile(times, 1.0 - share)
        # A log of one instant has no end to hold out.
        out &= not out.all()
    elif how == "last":
        ends = np.cumsum(lengths)
        out = np.zeros(len(users), bool)
        # Whoever had one thing only would be left with nothing to tell from.
        out[ends[lengths > 1] - 1] = True
    else:
        out = np.random.default_rng(seed).random(len(users)) < share
    marks = np.split(out, np.cumsum(lengths)[:-1])
    kept = {
        name: pd.Series(
            [
                [v for v, o in zip(one, mark, strict=True) if not o]
                for one, mark in zip(frame[name], marks, strict=True)
            ],
            index=frame.index,
            dtype=object,
        )
        for name in ("items", "times")
    }
    after = [
        _new([v for v, o in zip(one, mark, strict=True) if o], left, train.repeat)
        for one, mark, left in zip(frame["items"], marks, kept["items"], strict=True)
    ]
    return replace(train, frame=frame.assign(**kept)), pd.Series(after, index=frame.index, dtype=object)


def _new(taken: list[str], left: list[str], repeat: bool) -> list[str]:
    known = set() if repeat else set(left)
    return [item for item in dict.fromkeys(taken) if item not in known]
