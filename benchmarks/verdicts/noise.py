"""Noise: where nothing can be predicted, models score .5 and no candidate leads.

Tables have five numbers and a category that say nothing about the answer. Runs choose with the candidates and the
choice function of the flow; only the ensemble is smaller, so that hundreds of runs are affordable: two of its members
in three folds. The seed of a run is the number of its table.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.verdicts.figures import Figure, at_most, shown
from flows.fintech_risk import CASE
from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.data.stopping_rows import stopping_split
from ml.data.target import from_log_odds_scale
from ml.ensemble.bagging import BagBuilder, sort_by_unit
from ml.ensemble.presets import MEDIUM, SMALL, Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.estimator import Candidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.evaluation.cross_fit import predict_out_of_fold
from tasks.selection import select_leader

ROWS, RATE = 300, 0.3
RUNS = 500
FEW_MEMBERS = {name: SMALL.members[name] for name in ("linear", "randomised boosting")}
CANDIDATES: dict[str, Candidate] = {
    **CASE.candidates,
    "ensemble": Ensemble(presets=(Preset(float("inf"), 3, 1, FEW_MEMBERS),)),
}
# Tables for the AUC of members, by preset and number of rows.
MEMBER_TABLES = ((SMALL, 500, 12), (MEDIUM, 2500, 4))


def draw(rows: int, seed: int) -> Dataset:
    """Draw a table of noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{number}": rng.normal(size=rows) for number in range(5)})
    frame["town"] = pd.Series(rng.choice(list("abcdef"), rows), dtype="str")
    truth = pd.Series((rng.random(rows) < RATE).astype(float))
    return sort_by_unit(Dataset(frame, truth, rng.integers(0, 2**63, rows).astype(np.uint64)))


def lead_out_of_fold(rows: Dataset, seed: int) -> str:
    """Choose as a run on a small table does, and return the leader."""
    resources = FitResources(seed)
    predictions = {
        name: predict_out_of_fold(candidate, rows, resources).predictions
        for name, candidate in CANDIDATES.items()
    }
    return select_leader(predictions, rows, CASE.evaluator)[0]


def lead_on_valid(rows: Dataset, seed: int) -> str:
    """Choose as a run on a large table or by time does: on a quarter of the rows."""
    fit_rows, valid_rows = stopping_split(rows, "binary", 10_000 + seed)
    train, valid = rows.take(fit_rows), rows.take(valid_rows)
    predictions = {
        name: candidate.fit(train, valid, FitResources(seed)).predict(valid.frame)
        for name, candidate in CANDIDATES.items()
    }
    return select_leader(predictions, valid, CASE.evaluator)[0]


def member_aucs(preset: Preset, rows: int, tables: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each member of a preset with its out-of-fold AUC on each table."""
    for name, member in preset.members.items():
        aucs = []
        for number in range(tables):
            table = draw(rows, seed + number)
            truth = table.truth.to_numpy()
            fold = assign_folds(table.units, truth, preset.folds, seed)
            bag = BagBuilder(replace(member), "binary", rows)  # type: ignore[type-var]
            bag.fit_next_repeat(table, fold, FitResources(number), required=True)
            aucs.append(roc_auc(truth, from_log_odds_scale(bag.out_of_fold_scores, "binary")))
        yield name, np.array(aucs)


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Measure the AUC of members out of fold, and how often a candidate leads by chance."""
    for preset, rows, tables in MEMBER_TABLES:
        count = max(round(scale * tables), 2)
        for name, aucs in member_aucs(preset, rows, count, seed):
            error = aucs.std(ddof=1) / np.sqrt(count)
            subject = f"{name}: AUC of {count} tables of {rows} rows, less .5 (s.e. {error:.3f})"
            yield at_most(8, subject, abs(float(aucs.mean()) - 0.5), 0.02)
    runs = max(round(scale * RUNS), 2)
    for text, lead in (("out of fold", lead_out_of_fold), ("on valid", lead_on_valid)):
        led = np.array([lead(draw(ROWS, seed + 1000 + run), run) != "constant" for run in range(runs)])
        error = np.sqrt(led.mean() * (1 - led.mean()) / runs)
        yield shown(8, f"standard error of the share below, {runs} runs", f"{error:.3f}")
        yield at_most(8, f"share of runs with a leader over the prior, {text}", float(led.mean()), 0.05)
