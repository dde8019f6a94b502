"""Tuning of the decay: how much less an event counts than the next one of its user.

No decay suits every log. On MovieLens 1M, where recent films predict the next one, ALS reaches nearly three times the
NDCG@10 with 0.6 as with 1; in a shop where baskets are bought at once, EASE loses a third of it with 0.6. So the decay
is tuned for NDCG@10 on the end of the training log.
"""

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources, Model
from ml.evaluation import ranking_metrics
from ml.interactions.holdout import default_holdout, hold_out

# In order of preference among equal metrics; the first one is no decay.
DECAYS = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.4)
# The share of the log that is held out for tuning, and the number of users that a decay is tuned on.
HOLDOUT_SHARE = 0.15
MAX_USERS = 4000


@runtime_checkable
class HasDecay(Protocol):
    """A dataclass with a decay; None in a candidate means that it is tuned."""

    @property
    def decay(self) -> float | None: ...


def fit_with_tuned_decay(
    candidate: Candidate, train: Dataset, targets: pd.Series | None, resources: FitResources
) -> tuple[Candidate, Model]:
    """Fit a candidate on `train` once; tune its decay on `targets` if it is None.

    `targets` has the items that came next, one list per row of `train`. Without targets, a decay of None stays, and
    the candidate tunes it in its own fit. `train.decay` has priority over tuning. Returns the candidate and its model.
    """
    if isinstance(candidate, HasDecay) and candidate.decay is None and train.decay is not None:
        candidate = _with_decay(candidate, train.decay)
    if targets is None or not isinstance(candidate, HasDecay) or candidate.decay is not None:
        return candidate, candidate.fit(train, train, resources)
    model = _with_decay(candidate, DECAYS[0]).fit(train, train, resources)
    decay = tune_decay(model, train, targets)
    return _with_decay(candidate, decay), _with_decay(model, decay)


def is_decayed(model: Any) -> bool:
    """Check whether older events of a history count less in the model."""
    return isinstance(model, HasDecay) and model.decay != DECAYS[0]


def without_decay(model: Any) -> Any:
    """Return the model with all events of a history counting the same."""
    return _with_decay(model, DECAYS[0])


def with_tuned_decay(candidate: Any, train: Dataset, resources: FitResources) -> Any:
    """Tune the decay for NDCG@10 on a holdout of `train`; costs one extra fit. Returns the candidate with the decay.

    `train.decay` has priority over tuning. Without any event, the decay is 1.
    """
    if train.decay is not None:
        return _with_decay(candidate, train.decay)
    if not train.frame["items"].map(len).any():
        return _with_decay(candidate, DECAYS[0])
    before, targets = hold_out(train, default_holdout(train), HOLDOUT_SHARE, resources.seed)
    return fit_with_tuned_decay(candidate, before, targets, resources)[0]


def tune_decay(model: Model, train: Dataset, targets: pd.Series) -> float:
    """Return the decay of `DECAYS` with the highest NDCG@10 of the model, which was fitted on `train`.

    `targets` has the items that came next, one list per row of `train`. At most `MAX_USERS` users with targets are
    evaluated. Of decays with equal metrics the greatest is returned; without users it is 1.
    """
    rows = np.flatnonzero(targets.map(len).to_numpy() > 0)
    rows = rows[:: max(1, -(-len(rows) // MAX_USERS))]
    if not len(rows):
        return DECAYS[0]
    frame, truth = train.frame.iloc[rows], targets.iloc[rows]

    def ndcg(decay: float) -> float:
        prediction = _with_decay(model, decay).predict(frame)
        metrics = ranking_metrics.per_user_metrics(truth, frame["user"], prediction, 10)
        # The last bits of the mean depend on the order of the users.
        return round(float(metrics["ndcg"].mean()), 9)

    return max(DECAYS, key=ndcg)


def _with_decay(candidate_or_model: Any, decay: float) -> Any:
    return replace(candidate_or_model, decay=decay)
