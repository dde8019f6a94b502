"""Limits of chance agree with published values, and are exceeded as rarely as they promise."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, norm

from ml.drift.limits import Noise, correlation_noise, ks_noise, share_difference_low, total_variation_noise


def test_share_difference_is_that_of_newcombe() -> None:
    """Newcombe (1998), table II, example (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339."""
    noise = Noise(80, 70, float(norm.sf(1.959964)))
    assert share_difference_low(48 / 80, 56 / 70, noise) == pytest.approx(0.0524, abs=1e-4)


def test_ks_noise_is_the_asymptotic_limit_of_scipy() -> None:
    noise = Noise(4000, 4000, 0.01)
    a = np.arange(4000.0)
    b = a + ks_noise(noise) * 4000
    assert ks_2samp(a, b, method="asymp").pvalue == pytest.approx(0.01, abs=0.0015)


@pytest.mark.parametrize("units", [40, 300])
def test_limits_are_exceeded_as_rarely_as_their_level(units: int) -> None:
    rng, noise, repeats = np.random.default_rng(0), Noise(units, units, 0.05), 2000
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    p, q = (rng.multinomial(units, shares, repeats) / units for _ in range(2))
    assert (0.5 * np.abs(p - q).sum(axis=1) > total_variation_noise(shares, noise)).mean() <= 0.05
    lows = [share_difference_low(x, y, noise) for x, y in zip(p[:, 3], q[:, 3], strict=True)]
    assert np.mean(np.array(lows) > 0) <= 0.065
    z = np.arctanh([np.corrcoef(rng.normal(size=(2, units)))[0, 1] for _ in range(2 * repeats)])
    assert (z[:repeats] - z[repeats:] > correlation_noise(noise)).mean() <= 0.065
