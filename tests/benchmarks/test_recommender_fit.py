"""The transitions that the recommendation benchmark counts backwards."""

import numpy as np
import pandas as pd

from benchmarks.recommender_fit import ReversedMarkov
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.recommenders.markov import Markov, transition_counts


def test_reversed_transitions_are_the_transposed_counts_and_the_histories_stay() -> None:
    histories = [["x", "y", "z"], ["x", "y"], ["z", "w", "x"]]
    times = [[float(day) for day in range(len(history))] for history in histories]
    frame = pd.DataFrame({"user": ["a", "b", "c"], "items": histories, "times": times})
    train = Dataset(frame, pd.Series(histories), np.arange(3, dtype=np.uint64))
    forward, backward = (
        kind(max_lag=2, lag_decay=0.5, shrinkage=1.0).fit(train, train, FitResources(0))
        for kind in (Markov, ReversedMarkov)
    )
    counts = transition_counts(forward.catalogue.encode(frame), 2, 0.5).toarray()
    for model, expected in ((forward, counts), (backward, counts.T)):
        shares = expected / (expected.sum(axis=1, keepdims=True) + 1.0)
        np.testing.assert_allclose(model.transition_shares.toarray(), shares, rtol=1e-6)
    assert not np.array_equal(counts, counts.T)
    assert backward.catalogue == forward.catalogue
    assert list(train.frame["items"]) == histories
