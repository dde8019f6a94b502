"""How large differences between two samples of one process may be by chance.

Every function takes the probability `level` of exceeding its limit by chance, which the caller has divided by the
number of checks (Bonferroni), so that a batch without any difference raises an alarm with at most the level of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Noise:
    """The independent units of both samples, and the level of one check."""

    reference_units: int
    batch_units: int
    level: float

    @property
    def inverse_units(self) -> float:
        """Return the sum of the inverse numbers of units, to which variances are proportional."""
        return 1.0 / max(self.reference_units, 1) + 1.0 / max(self.batch_units, 1)

    @property
    def deviations(self) -> float:
        """Return the one-sided normal quantile of the level."""
        return float(norm.isf(self.level))


def share_difference_low(reference: float, batch: float, noise: Noise) -> float:
    """Return the lower limit of `batch - reference`, for shares.

    Method 10 of R. G. Newcombe (1998), "Interval estimation for the difference between independent proportions":
    Wilson's limits of both shares, combined.
    """
    low, _ = _wilson(batch, noise.batch_units, noise.deviations)
    _, high = _wilson(reference, noise.reference_units, noise.deviations)
    return batch - reference - float(np.hypot(batch - low, high - reference))


def _wilson(share: float, units: int, z: float) -> tuple[float, float]:
    units = max(units, 1)
    center = (share + z**2 / (2 * units)) / (1 + z**2 / units)
    half = z / (1 + z**2 / units) * np.sqrt(share * (1 - share) / units + z**2 / (4 * units**2))
    return float(center - half), float(center + half)


def ks_noise(noise: Noise) -> float:
    """Return the Kolmogorov-Smirnov distance that two samples of one distribution exceed with the level.

    The asymptotic two-sample limit, which is conservative for distributions with ties.
    """
    return float(np.sqrt(-np.log(noise.level / 2) / 2) * np.sqrt(noise.inverse_units))


def total_variation_noise(shares: Sequence[float] | np.ndarray, noise: Noise) -> float:
    """Return the total variation distance that two samples of the given category shares exceed with the level.

    A bound of the expected distance plus McDiarmid's inequality.
    """
    p = np.asarray(shares, np.float64)
    expected = 0.5 * np.sqrt(p * (1 - p) * noise.inverse_units).sum()
    return float(expected + np.sqrt(-np.log(noise.level) / 2 * noise.inverse_units))


def correlation_noise(noise: Noise) -> float:
    """Return the difference of Fisher's z of two rank correlations that chance exceeds with the level.

    The variance 1.06 / (n - 3) is that of E. C. Fieller, H. O. Hartley, E. S. Pearson (1957).
    """
    variance = 1.06 / max(noise.reference_units - 3, 1) + 1.06 / max(noise.batch_units - 3, 1)
    return noise.deviations * float(np.sqrt(variance))
