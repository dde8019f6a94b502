"""Few positives: how often the 95 % interval of the AUC has the true one, for scores of four distributions."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from benchmarks.verdicts.figures import Figure, at_least, shown
from ml.evaluation.auc_intervals import auc_interval

ROWS = 300
POSITIVES = (5, 10, 20, 40)
AUCS = (0.6, 0.75, 0.9, 0.95)
# Scores of positives spread as much as those of negatives, twice as much, or half as much; or both are exponential.
SPREADS = {"normal": 1.0, "normal, positives spread twice as much": 2.0, "normal, half as much": 0.5}
COVERAGE = 0.93


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Simulate test sets with few positives."""
    generator, times = np.random.default_rng(seed), max(int(1000 * scale), 50)
    for positives in POSITIVES:
        for kind in (*SPREADS, "exponential"):
            covered = [_coverage(kind, auc, positives, times, generator) for auc in AUCS]
            subject = f"coverage with {positives} positives of {ROWS}, {kind}, mean over AUC .6 to .95"
            mean = float(np.mean(covered))
            yield at_least(9, subject, mean, COVERAGE) if positives >= 10 else shown(9, subject, mean)
            yield shown(9, "  the lowest of the four AUCs", min(covered))


def _coverage(kind: str, auc: float, positives: int, times: int, generator: np.random.Generator) -> float:
    truth = (np.arange(ROWS) < positives).astype(float)
    covered = 0
    for _ in range(times):
        interval = auc_interval(truth, _scores(kind, auc, truth, generator))
        covered += interval.low <= auc <= interval.high
    return covered / times


def _scores(kind: str, auc: float, truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if kind == "exponential":
        return generator.exponential(np.where(truth == 1.0, auc / (1.0 - auc), 1.0))
    spread = SPREADS[kind]
    distance = np.sqrt(1.0 + spread**2) * stats.norm.ppf(auc)
    scores: np.ndarray = generator.normal(size=len(truth)) * np.where(truth == 1.0, spread, 1.0)
    scores += distance * truth
    return scores
