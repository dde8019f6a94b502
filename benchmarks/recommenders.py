"""One fit and one examination of one recommender, in a process of its own: `python -m benchmarks.recommenders FOLDER`.

The folder holds `spec.json`, the parts `learn.parquet` and `test.parquet`, and the attributes of items, `items.json`;
`users.parquet` (measures of each user) and `costs.json` are left in it.
"""

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from flows.ecommerce_recommendation import CASE, RERANKED
from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources, Model
from ml.evaluation import beyond_accuracy, ranking_metrics
from ml.interactions.catalogue import Catalogue
from ml.interactions.holdout import held_out
from ml.recommenders.ease import EASE
from ml.recommenders.transformer.model import Transformer
from ml.reranking.reranker import Reranked

DEPTHS = (5, 10, 20)
USERS = "users.parquet"
# Penalties and decays that EASE is chosen from where no order of events is to be foretold.
PENALTIES = (100.0, 200.0, 400.0, 800.0)
WITH_TRANSFORMER = "re-ranked with transformer"
EASE_CHOSEN = "EASE with chosen penalty"
# Alone the network is no candidate of the flow: it takes the longest, and leads in sessions only.
TRANSFORMER = "transformer"
# What unlike items in a list cost: of the marginal relevance of each, so much is unlikeness.
DIVERSE, UNLIKENESS = "re-ranked and diverse", 0.3
MODELS = (*CASE.candidates, TRANSFORMER, EASE_CHOSEN, DIVERSE)


def candidate(name: str, protocol: str, learn: Dataset, resources: FitResources) -> Candidate:
    """The candidate of that name, as it is asked in that protocol."""
    if name == EASE_CHOSEN:
        return _ease_chosen(learn, resources)
    if name == TRANSFORMER:
        return Transformer(days=30)
    if name == DIVERSE:
        return replace(_held(RERANKED, protocol), diversity=UNLIKENESS)
    found = CASE.candidates[name]
    return _held(found, protocol) if isinstance(found, Reranked) else found


def _held(reranked: Reranked, protocol: str) -> Reranked:
    """What is held out for the ranker is like what it will be asked."""
    return replace(reranked, hold_out="random", share=0.25) if protocol == "random" else reranked


def _ease_chosen(learn: Dataset, resources: FitResources) -> EASE:
    """The penalty that does best on a quarter of what may be learned."""
    before, after = held_out(learn, "random", 0.25, resources.seed)
    asked = np.flatnonzero(after.map(len).to_numpy() > 0)
    exam = replace(before.take(asked), truth=after.iloc[asked])

    def worth(penalty: float) -> float:
        model = EASE(penalty, 1.0).fit(before, before, resources)
        return float(
            ranking_metrics.per_user(exam.truth, exam.frame["user"], model.predict(exam.frame), 10)[
                "ndcg"
            ].mean()
        )

    return EASE(max(PENALTIES, key=worth), 1.0)


def examine(folder: Path) -> None:
    """Fit, ask, and leave what was found in the folder."""
    spec = json.loads((folder / "spec.json").read_text())
    listed = json.loads((folder / "items.json").read_text())
    attributes = {item: tuple(names) for item, names in listed.items()}
    learn, test = (
        replace(
            Dataset.from_table(pd.read_parquet(folder / f"{name}.parquet")),
            allow_repeats=spec["repeat"],
            never_recommend=tuple(spec["blocked"]),
            decay=spec["decay"],
            split_by=spec["asked"],
            item_attributes=attributes,
        )
        for name in ("learn", "test")
    )
    resources = FitResources(spec["seed"], spec["threads"], spec["seconds"])
    begun, cpu = time.perf_counter(), time.process_time()
    model = candidate(spec["model"], spec["protocol"], learn, resources).fit(learn, learn, resources)
    fitted, cpu_fitted = time.perf_counter(), time.process_time()
    prediction = model.predict(test.frame)
    asked = time.perf_counter()
    values = {
        f"{name}@{k}": column.to_numpy()
        for k in DEPTHS
        for name, column in ranking_metrics.per_user(test.truth, test.frame["user"], prediction, k).items()
    }
    pd.DataFrame(values, dtype=np.float32).to_parquet(folder / USERS)
    known = Catalogue.of(learn.frame)
    popularity = dict(zip(known.items, known.popularity, strict=True))
    shown = prediction[prediction["item"].isin(known.items)]
    costs = {
        "fit_seconds": fitted - begun,
        "fit_cpu_seconds": cpu_fitted - cpu,
        "ask_seconds": asked - fitted,
        "one_ms": _one(model, test),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "model_mb": sum(map(len, model.files().values())) / 1e6,
        "coverage": ranking_metrics.coverage(shown, len(known.items), 10),
        "diversity": beyond_accuracy.diversity(prediction, learn.frame["items"], 10),
        "novelty": ranking_metrics.novelty(shown, popularity, len(learn.frame), 10),
        "stopped_by": getattr(model, "stopped_by", None),
    }
    (folder / "costs.json").write_text(json.dumps(costs))


def _one(model: Model, test: Dataset) -> float:
    """Milliseconds of processor time that one user's list takes, the median of a hundred."""
    spent = []
    for row in range(min(100, len(test.frame))):
        one = test.frame.iloc[[row]]
        begun = time.process_time()
        model.predict(one)
        spent.append(time.process_time() - begun)
    return float(np.median(spent)) * 1000


if __name__ == "__main__":
    examine(Path(sys.argv[1]))
