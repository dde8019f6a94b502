"""An interval of a mean over users and seeds, where both vary."""

import numpy as np
from scipy import stats

from ml.evaluation.confidence_intervals import Interval


def seeds_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Compute the mean of values (seeds, users) with an interval for other users and other seeds.

    The variances of the mean over users and of that over seeds are added, which counts their interaction twice and is
    cautious; the quantile is Student's t with the degrees of freedom of Satterthwaite (1946). With one seed it is over
    users only.
    """
    seeds, users = values.shape
    variances = [values.mean(axis=0).var(ddof=1) / users]
    degrees = [users - 1]
    if seeds > 1:
        variances.append(values.mean(axis=1).var(ddof=1) / seeds)
        degrees.append(seeds - 1)
    total = sum(variances)
    value = float(values.mean())
    if not total:
        return Interval(value, value, value)
    effective = total**2 / sum(v**2 / d for v, d in zip(variances, degrees, strict=True))
    half = float(stats.t.ppf(0.5 + level / 2.0, effective) * np.sqrt(total))
    return Interval(value, value - half, value + half)
