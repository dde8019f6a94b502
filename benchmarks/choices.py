"""What the flow chooses on each public table, and what that scores: `python -m benchmarks.choices`.

Needs STEWARD_DATA_DIR. In each division of a table a stratified fifth of the rows is the test (rows of a group stay
together). On the others, candidates of the use case are planned, fitted and compared by the functions of the flow: out
of fold where it would do so, otherwise fitted to three quarters and compared on the last. The time budget of a division
is that of the flow, unless --seconds gives each fit a limit of its own.

Scores are AUCs on test: of each candidate as the flow would evaluate it, and of the one that is chosen. Each division
is written as a JSON line to the file of --out; one that the file has under the same key is not computed again.
"""

import argparse
import hashlib
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.outer_folds import ResultFile, outer_folds
from benchmarks.tabular import LIBRARIES, ROOT, code_of, processor
from benchmarks.tabular_datasets import SETS, BenchmarkTable, load_table
from flows.fintech_risk import CASE as FINTECH_RISK
from flows.health_prediction import CASE as HEALTH_PREDICTION
from flows.use_case import UseCase
from ml.data.dataset import Dataset
from ml.data.digest import json_digest
from ml.estimator import FitResources, Model
from ml.evaluation.binary_metrics import roc_auc
from ml.evaluation.cross_fit import FOLDS, can_cross_fit, predict_out_of_fold
from ml.evaluation.mean_intervals import cross_validation_difference
from tasks.fit_plan import PlannedFit, plan_fits
from tasks.selection import reason_to_leave_out, select_leader

# Breast cancer, of scikit-learn, is a question about patients.
CASES = {
    "fintech-risk": FINTECH_RISK,
    "health-prediction": HEALTH_PREDICTION,
    "scikit-learn": HEALTH_PREDICTION,
}
# One of 5 parts is test, and one of the 4 others valid: shares of .6, .2 and .2, as in the contracts.
PARTS = 5
SPLITS = 12
# What decides the choice besides `ml/`.
CODE = ("tasks/selection.py", "tasks/fit_plan.py", "flows/fintech_risk.py", "flows/health_prediction.py")


@dataclass(frozen=True)
class Choice:
    """The model of each candidate that is fitted, the candidate that is chosen, and why others could not be."""

    models: dict[str, Model]
    chosen: str
    left_out: dict[str, str]
    cpu_seconds: dict[str, float]


def choose(
    case: UseCase,
    planned: Mapping[str, PlannedFit],
    train: Dataset,
    valid: Dataset | None,
    resources: FitResources,
) -> Choice:
    """Fit the candidates to `train` and choose one, as a run does: on `valid` or, without it, out of fold."""
    models, left_out = dict[str, Model](), dict[str, str]()
    predictions, cpu_seconds = dict[str, pd.DataFrame](), dict[str, float]()
    rows = train if valid is None else valid
    for name, plan in planned.items():
        if plan.reason:
            left_out[name] = plan.reason
            continue
        limited, started = replace(resources, seconds=plan.seconds), time.process_time()
        models[name] = plan.candidate.fit(train, train.take(np.arange(0)), limited)
        prediction = models[name].predict(rows.frame)
        compared, constant_folds = prediction, False
        if valid is None:
            found = predict_out_of_fold(plan.candidate, train, limited)
            compared, constant_folds = found.predictions, found.is_constant
        cpu_seconds[name] = time.process_time() - started
        # The first is the baseline, which may be a constant.
        if predictions and (reason := reason_to_leave_out(prediction, constant_folds)):
            left_out[name] = reason
        else:
            predictions[name] = compared
    return Choice(models, select_leader(predictions, rows, case.evaluator)[0], left_out, cpu_seconds)


def scores_on_test(choice: Choice, test: Dataset) -> dict[str, float]:
    """Return the AUC on test of each candidate that was fitted."""
    truth = test.truth.to_numpy()
    return {
        name: roc_auc(truth, model.predict(test.frame)["probability"].to_numpy())
        for name, model in choice.models.items()
    }


def measure(data: BenchmarkTable, stored: ResultFile, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a result for each division, computed or read from the file."""
    results = []
    folds = outer_folds(data.dataset, data.grouped, PARTS, -(-options.splits // PARTS))
    for number, fold in enumerate(islice(folds, options.splits)):
        inputs = {
            "set": data.name,
            "data": data.digest,
            "split": number,
            "code": _code(),
            "libraries": {name: version(name) for name in LIBRARIES},
            "threads": options.threads,
            "time_budget": options.time_budget,
            "seconds": options.seconds,
        }
        key = json_digest(inputs)
        if key not in stored.results:
            train, test = data.dataset.take(fold.train), data.dataset.take(fold.test)
            result = _measure_split(CASES[SETS[data.name]], data.grouped, train, test, number, options)
            stored.add({"key": key, **inputs, **result})
            scores = ", ".join(f"{name} {auc:.4f}" for name, auc in result["roc_auc"].items())
            print(
                f"{data.name}, division {number}: {result['chosen']} of {scores}", file=sys.stderr, flush=True
            )
        results.append(stored.results[key])
    return results


def _measure_split(
    case: UseCase, grouped: bool, rows: Dataset, test: Dataset, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Choose on the rows of one division; compare the choice with the strongest candidate on its test rows."""
    resources = FitResources(seed, options.threads, options.time_budget)
    is_out_of_fold = can_cross_fit(rows)
    train, valid = rows, None
    if not is_out_of_fold:
        (inner, *_) = outer_folds(rows, grouped, PARTS - 1, 1)
        train, valid = rows.take(inner.train), rows.take(inner.test)
    planned = plan_fits(case.candidates, train, resources, FOLDS + 1 if is_out_of_fold else 1)
    if options.seconds:
        planned = {name: PlannedFit(fit, options.seconds) for name, fit in case.candidates.items()}
    choice = choose(case, planned, train, valid, resources)
    *_, strongest = choice.models
    predictions = {name: choice.models[name].predict(test.frame) for name in (choice.chosen, strongest)}
    paired = case.evaluator.paired_difference(test, predictions[choice.chosen], predictions[strongest])
    return {
        "train_rows": len(train.frame),
        "test_rows": len(test.frame),
        "out_of_fold": is_out_of_fold,
        "chosen": choice.chosen,
        "roc_auc": scores_on_test(choice, test),
        "left_out": choice.left_out,
        "cpu_seconds": choice.cpu_seconds,
        "seconds_per_fit": {name: plan.seconds for name, plan in planned.items()},
        "stopped_by": {name: getattr(model, "stopped_by", None) for name, model in choice.models.items()},
        "strongest": strongest,
        "less_strongest": [paired.value, paired.low, paired.high],
    }


def _code() -> str:
    """Hash the code that a choice depends on."""
    texts = [code_of("ensemble").encode(), *((ROOT / path).read_bytes() for path in CODE)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def format_choices(data: BenchmarkTable, results: list[dict[str, Any]]) -> str:
    """Format the mean AUC of each candidate and of the choice, and the difference of the choice to the strongest.

    Its interval is over divisions, corrected for the overlap of training rows; of one division, over its test rows.
    """
    names = list(dict.fromkeys(name for result in results for name in result["roc_auc"]))
    chosen = Counter(result["chosen"] for result in results)
    rows = "out of fold" if results[0]["out_of_fold"] else "on validation rows"
    count = f"{len(results)} division{'s' * (len(results) > 1)}"
    lines = [
        f"\n{data.name}: {len(data.dataset.frame):,} rows, {count}, compared {rows}; data {data.digest[:12]}"
    ]
    for name in names:
        values = [result["roc_auc"][name] for result in results if name in result["roc_auc"]]
        seconds = np.mean([result["cpu_seconds"].get(name, 0.0) for result in results])
        cut_short = sum(result["stopped_by"].get(name) == "budget" for result in results)
        lines.append(
            f"  {name:<20} AUC {np.mean(values):.4f}, chosen {chosen[name]} times, {seconds:.1f} CPU s"
            + (f", cut short by its time {cut_short} times" if cut_short else "")
        )
    selected = np.array([result["roc_auc"][result["chosen"]] for result in results])
    strongest = np.array([result["roc_auc"][result["strongest"]] for result in results])
    value, low, high = results[0]["less_strongest"]
    if len(results) > 1:
        over_splits = cross_validation_difference(selected, strongest, 1.0 / (PARTS - 1))
        value, low, high = over_splits.value, over_splits.low, over_splits.high
    lines.append(f"  {'the choice':<20} AUC {selected.mean():.4f}")
    lines.append(f"  the choice less the strongest candidate: {value:+.4f} [{low:+.4f}, {high:+.4f}]")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Parse the command line and check the names in it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.choices",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--sets", default=",".join(SETS), help="names separated by commas; by default all")
    parser.add_argument("--splits", type=int, default=SPLITS, help=f"divisions of each; by default {SPLITS}")
    parser.add_argument(
        "--time-budget", type=float, default=FINTECH_RISK.time_budget, help="as of `steward run`"
    )
    parser.add_argument("--seconds", type=float, help="the limit of each fit, instead of what the flow plans")
    parser.add_argument("--threads", type=int, default=1, help="of each fit; by default one")
    parser.add_argument("--out", type=Path, help="file of JSON lines with results to reuse and to add to")
    options = parser.parse_args()
    if unknown := [name for name in options.sets.split(",") if name not in SETS]:
        parser.error(f"expected some of {', '.join(SETS)}; got {', '.join(unknown)}; correct the names")
    return options


def main() -> None:
    """Choose on each division of each table, and print what is chosen."""
    options = arguments()
    stored = ResultFile(options.out)
    limit = f"{options.seconds:g} s a fit" if options.seconds else f"{options.time_budget:g} s a division"
    print(f"python {platform.python_version()}, {options.threads} of {os.cpu_count()} cores, {processor()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", code {_code()[:12]}; {limit}")
    for name in options.sets.split(","):
        data = load_table(name)
        print(format_choices(data, measure(data, stored, options)), flush=True)


if __name__ == "__main__":
    main()
