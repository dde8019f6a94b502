"""More than ranking: probabilities that became worse are not promoted, and the quality gate asks for lower limits.

Each row has two known causes; a champion sees one of them, a challenger a part of the other as well.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from benchmarks.verdicts.figures import Figure, at_least, at_most, shown
from flows.fintech_risk import CASE
from ml.data.dataset import Dataset
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.quality_gate import QualityThresholds, check_quality, stops
from ml.evaluation.recalibration import recalibration_intervals
from tasks.ledger import PROMOTE
from tasks.promote import compare_with_champion

# All log odds of the challenger are too high by this.
SHIFT = 0.45
ROWS = 6000
EVALUATOR = BinaryEvaluator()


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Simulate comparisons and quality gates."""
    generator = np.random.default_rng(seed)
    yield from _comparisons(max(int(400 * scale), 20), generator)
    yield from _calibration(max(int(400 * scale), 20), generator)
    yield from _lower_limit(max(int(2000 * scale), 50), generator)


def _comparisons(times: int, generator: np.random.Generator) -> Iterator[Figure]:
    models = Models(generator, gain=0.33)
    promoted = {"shifted": 0, "calibrated": 0, "by ranking alone": 0}
    advantages, losses = [], []
    for _ in range(times):
        test, champion, challenger = models.draw(ROWS, generator)
        shifted = special.expit(special.logit(challenger) + SHIFT)
        verdicts = {
            "shifted": compare_with_champion.fn(EVALUATOR, test, _frame(shifted), _frame(champion), 0),
            "calibrated": compare_with_champion.fn(EVALUATOR, test, _frame(challenger), _frame(champion), 0),
        }
        for name, verdict in verdicts.items():
            promoted[name] += verdict.verdict == PROMOTE
        difference, loss = verdicts["shifted"].difference, verdicts["shifted"].loss
        assert difference
        assert loss
        promoted["by ranking alone"] += difference["low"] > 0
        advantages.append(difference["value"])
        losses.append(loss["value"])
    means = f"{np.mean(advantages):+.4f} AUC, {np.mean(losses):+.4f} log loss"
    subject = f"log odds all {SHIFT} too high ({means}), {ROWS:,} rows: promoted"
    yield at_most(4, subject, promoted["shifted"] / times, 0.05)
    yield shown(4, "  promoted by ranking alone", promoted["by ranking alone"] / times)
    yield shown(4, "  the same challenger with calibrated log odds", promoted["calibrated"] / times)
    for rows in (500, 2000, 6000):
        yield from _power(rows, times, generator)


def _power(rows: int, times: int, generator: np.random.Generator) -> Iterator[Figure]:
    """Choose a challenger that is better by three standard errors, and compare it with both conditions."""
    gain = _gain_of(3.0, rows, generator)
    models = Models(generator, gain)
    both = ranking = 0
    for _ in range(times):
        test, champion, challenger = models.draw(rows, generator)
        verdict = compare_with_champion.fn(EVALUATOR, test, _frame(challenger), _frame(champion), 0)
        both += verdict.verdict == PROMOTE
        ranking += bool(verdict.difference and verdict.difference["low"] > 0)
    yield at_least(4, f"calibrated challenger of +3 SE on {rows:,} rows: promoted", both / times, 0.7)
    yield shown(4, "  by ranking alone", ranking / times)


def _gain_of(errors: float, rows: int, generator: np.random.Generator) -> float:
    """Find the gain by which a challenger is better by so many standard errors of the difference of AUCs."""
    low, high = 0.0, 2.0
    for _ in range(8):
        gain = (low + high) / 2.0
        models, found = Models(generator, gain, 50_000), []
        for _ in range(20):
            test, champion, challenger = models.draw(rows, generator)
            difference = EVALUATOR.paired_difference(test, _frame(challenger), _frame(champion))
            found.append(1.96 * difference.value / (difference.high - difference.value))
        low, high = (gain, high) if np.mean(found) < errors else (low, gain)
    return (low + high) / 2.0


class Models:
    """A champion and a challenger with calibrated probabilities."""

    def __init__(self, generator: np.random.Generator, gain: float, rows: int = 200_000) -> None:
        self.gain = gain
        truth, seen, _ = self._draw(rows, generator)
        self._fits = [LogisticRegression(C=np.inf).fit(columns, truth) for columns in seen]

    def _draw(
        self, rows: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        first, second = generator.normal(size=(2, rows))
        log_odds = -1.6 + 0.9 * first + self.gain * second
        truth = (generator.random(rows) < special.expit(log_odds)).astype(float)
        return truth, [first[:, None], np.stack([first, second], axis=1)], log_odds

    def draw(self, rows: int, generator: np.random.Generator) -> tuple[Dataset, np.ndarray, np.ndarray]:
        """Draw a test dataset with the probabilities of the champion and of the challenger."""
        truth, seen, _ = self._draw(rows, generator)
        champion, challenger = (
            fit.predict_proba(columns)[:, 1] for fit, columns in zip(self._fits, seen, strict=True)
        )
        units = np.arange(rows, dtype=np.uint64)
        return Dataset(pd.DataFrame({"x": truth}), pd.Series(truth), units), champion, challenger


def _calibration(times: int, generator: np.random.Generator) -> Iterator[Figure]:
    """Pass probabilities through the bounds of calibration in the large and slope of `fintech-risk`."""
    thresholds = replace(CASE.thresholds, min_primary=0.0, max_calibration_error=None, max_subgroup_gap=None)
    kinds = {
        "calibrated": (0.0, 1.0),
        f"log odds {SHIFT} too high": (SHIFT, 1.0),
        "twice too extreme": (0.0, 2.0),
    }
    for rows in (500, 3000):
        for name, (shift, factor) in kinds.items():
            refused = 0
            for _ in range(times):
                log_odds = -1.4 + 0.9 * generator.normal(size=rows)
                truth = (generator.random(rows) < special.expit(log_odds)).astype(float)
                probability = special.expit(factor * log_odds + shift)
                refused += not _passes(thresholds, truth, probability)
            subject = f"{name}, {rows:,} rows: refused by the quality gate"
            share = refused / times
            yield at_most(4, subject, share, 0.05) if name == "calibrated" else shown(4, subject, share)


def _lower_limit(times: int, generator: np.random.Generator) -> Iterator[Figure]:
    thresholds = QualityThresholds(min_primary=0.6)
    for positives in (0.1, 0.2, 0.5):
        for auc in (0.58, 0.75):
            passed = 0
            for _ in range(times):
                truth = (np.arange(200) < 200 * positives).astype(float)
                score = generator.normal(size=200) + np.sqrt(2.0) * stats.norm.ppf(auc) * truth
                passed += _passes(thresholds, truth, special.expit(score))
            subject = f"true AUC {auc} passes .6 with 200 rows, {positives:.0%} positive"
            yield (
                at_most(4, subject, passed / times, 0.05) if auc < 0.6 else shown(4, subject, passed / times)
            )


def _passes(thresholds: QualityThresholds, truth: np.ndarray, probability: np.ndarray) -> bool:
    """Return whether the quality gate lets pass what these probabilities are."""
    test = Dataset(pd.DataFrame({"x": truth}), pd.Series(truth), np.arange(len(truth), dtype=np.uint64))
    interval = EVALUATOR.primary_interval(test, _frame(probability))
    intervals = recalibration_intervals(truth, probability)
    evaluation = {
        "primary": "roc_auc",
        "low": interval.low,
        "high": interval.high,
        "metrics": {"roc_auc": interval.value},
        "intervals": {name: {"low": each.low, "high": each.high} for name, each in intervals.items()},
        "groups": [],
        "rarer_class": int(min(truth.sum(), len(truth) - truth.sum())),
    }
    return not any(stops(check) for check in check_quality(thresholds, evaluation, 0.0, 0.0))


def _frame(probability: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"probability": probability})
