"""One fit and test of one recommender, in a process of its own: `python -m benchmarks.recommender_fit FOLDER`.

The folder has `spec.json`, the datasets `train.parquet` and `test.parquet`, and the attributes of items, `items.json`;
the metrics of each user (`users.parquet`) and `costs.json` are written to it.
"""

import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from flows.ecommerce_recommendation import CASE, POPULARITY_DAYS, RERANKER
from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources, Model
from ml.evaluation import beyond_accuracy, ranking_metrics
from ml.interactions.catalogue import Catalogue
from ml.interactions.holdout import hold_out
from ml.recommenders.ease import EASE
from ml.recommenders.markov import Markov, MarkovModel
from ml.recommenders.transformer.model import Transformer
from ml.reranking.reranker import Reranker

DEPTHS = (5, 10, 20)
USERS = "users.parquet"
WITH_TRANSFORMER = "reranker with transformer"
# EASE with a tuned penalty and without decay: for protocols that ignore the order of events.
TUNED_EASE = "EASE with tuned penalty"
PENALTIES = (100.0, 200.0, 400.0, 800.0)
# No candidate of the flow on its own: it is the slowest, and leads only in sessions.
TRANSFORMER = "transformer"
# Transitions are counted from later to earlier events: beside "Markov" it shows what the order in the log is worth.
REVERSED_MARKOV = "reversed Markov"
# The reranker with diversified lists; the diversity is the weight of redundancy in the marginal relevance.
DIVERSIFIED, DIVERSITY = "reranker with diversity", 0.3
MODELS = (*CASE.candidates, REVERSED_MARKOV, TRANSFORMER, TUNED_EASE, DIVERSIFIED)


@dataclass(frozen=True)
class ReversedMarkov(Markov):
    """Counts of what came up to `max_lag` events earlier instead of later."""

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> MarkovModel:
        """Fit as `Markov` does to histories whose events are in reverse order."""
        model = super().fit(train, valid, resources)
        items = train.frame["items"].map(lambda history: history[::-1])
        reversed_model = super().fit(replace(train, frame=train.frame.assign(items=items)), valid, resources)
        return replace(model, transition_shares=reversed_model.transition_shares)


def create_candidate(name: str, protocol: str, train: Dataset, resources: FitResources) -> Candidate:
    """Create the candidate of that name in `MODELS` for a protocol."""
    if name == TUNED_EASE:
        return _tune_ease(train, resources)
    if name == REVERSED_MARKOV:
        return ReversedMarkov(popularity_days=POPULARITY_DAYS)
    if name == TRANSFORMER:
        return Transformer(popularity_days=30)
    if name == DIVERSIFIED:
        return replace(_with_holdout(RERANKER, protocol), diversity=DIVERSITY)
    candidate = CASE.candidates[name]
    return _with_holdout(candidate, protocol) if isinstance(candidate, Reranker) else candidate


def _with_holdout(reranker: Reranker, protocol: str) -> Reranker:
    """Hold out the targets of the reranker in the same way as those of the test."""
    return replace(reranker, holdout="random", holdout_share=0.25) if protocol == "random" else reranker


def _tune_ease(train: Dataset, resources: FitResources) -> EASE:
    """Choose the penalty with the highest NDCG@10 on a random quarter of the training events."""
    before, targets = hold_out(train, "random", 0.25, resources.seed)
    rows = np.flatnonzero(targets.map(len).to_numpy() > 0)
    frame, truth = before.frame.iloc[rows], targets.iloc[rows]

    def ndcg(penalty: float) -> float:
        model = EASE(penalty, 1.0).fit(before, before, resources)
        metrics = ranking_metrics.per_user_metrics(truth, frame["user"], model.predict(frame), 10)
        return float(metrics["ndcg"].mean())

    return EASE(max(PENALTIES, key=ndcg), 1.0)


def fit_and_test(folder: Path) -> None:
    """Fit, predict, and write metrics and costs to the folder."""
    spec = json.loads((folder / "spec.json").read_text())
    items = json.loads((folder / "items.json").read_text())
    attributes = {item: tuple(names) for item, names in items.items()}
    train, test = (
        replace(
            Dataset.from_table(pd.read_parquet(folder / f"{name}.parquet")),
            allow_repeats=spec["allow_repeats"],
            never_recommend=tuple(spec["never_recommend"]),
            decay=spec["decay"],
            split_by=spec["split_by"],
            item_attributes=attributes,
        )
        for name in ("train", "test")
    )
    resources = FitResources(spec["seed"], spec["threads"], spec["seconds"])
    started, cpu_started = time.perf_counter(), time.process_time()
    model = create_candidate(spec["model"], spec["protocol"], train, resources).fit(train, train, resources)
    fitted, cpu_fitted = time.perf_counter(), time.process_time()
    prediction = model.predict(test.frame)
    predicted = time.perf_counter()
    metrics = {
        f"{name}@{k}": column.to_numpy()
        for k in DEPTHS
        for name, column in ranking_metrics.per_user_metrics(
            test.truth, test.frame["user"], prediction, k
        ).items()
    }
    pd.DataFrame(metrics, dtype=np.float32).to_parquet(folder / USERS)
    catalogue = Catalogue.from_frame(train.frame)
    popularity = dict(zip(catalogue.items, catalogue.popularity, strict=True))
    of_catalogue = prediction[prediction["item"].isin(catalogue.items)]
    costs = {
        "fit_seconds": fitted - started,
        "fit_cpu_seconds": cpu_fitted - cpu_started,
        "predict_seconds": predicted - fitted,
        "single_user_ms": _single_user_ms(model, test),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "model_mb": sum(map(len, model.files().values())) / 1e6,
        "coverage": ranking_metrics.coverage(of_catalogue, len(catalogue.items), 10),
        "diversity": beyond_accuracy.diversity(prediction, train.frame["items"], 10),
        "novelty": ranking_metrics.novelty(of_catalogue, popularity, len(train.frame), 10),
        "stopped_by": getattr(model, "stopped_by", None),
    }
    (folder / "costs.json").write_text(json.dumps(costs))


def _single_user_ms(model: Model, test: Dataset) -> float:
    """Measure the CPU milliseconds of one user's list, the median of up to a hundred."""
    seconds = []
    for row in range(min(100, len(test.frame))):
        user = test.frame.iloc[[row]]
        started = time.process_time()
        model.predict(user)
        seconds.append(time.process_time() - started)
    return float(np.median(seconds)) * 1000


if __name__ == "__main__":
    fit_and_test(Path(sys.argv[1]))
