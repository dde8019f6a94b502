"""Measure which share of a run the verification of stored results and registered models takes.

    python -m benchmarks.store_verification --rows 20000

The stages of a case run twice in a new store on simulated data: first all are computed, then all are reused. Neither
Prefect nor MLflow's tracking takes part, so that the share is above that of a real run. Seconds are those of the
processor, in this process and its clean processes: other work on the machine does not count.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from flows.run_context import RunContext, build_package, final_model, split_batch, validate_batch
from flows.use_case import RunParameters, UseCase
from ml.contract.parser import parse
from ml.errors import CandidateSkipped
from tasks import packaging
from tasks.clean_process import predict_in_clean_process
from tasks.data_access.locate import DatasetSource
from tasks.evaluate import (
    EvaluationSettings,
    FinalFit,
    build_leaderboard,
    evaluate_on_test,
    leaderboard_entries,
)
from tasks.settings import ROOT, load
from tasks.source import read_source
from tasks.storage import content_store, object_folder
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import load_dataset
from tasks.tracking import model_folder
from tasks.tracking.model_folder import ModelDigests
from tasks.train import fit

BOUND = 0.03
CASES = ("fintech-risk", "ecommerce-recommendation", "health-prediction")


class Stopwatch:
    """Sums up the processor seconds of wrapped functions; one inside another is counted once."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.depth = 0.0, 0, 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added to `seconds`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            self.depth += 1
            try:
                return function(*arguments, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.process_time() - started
                    self.calls += 1

        return timed


def install_stopwatch() -> Stopwatch:
    """Time everything that compares stored bytes with digests, or copies a model to compare it."""
    stopwatch = Stopwatch()
    for module, name in (
        (content_store, "find_damage"),
        (content_store, "read_manifest"),
        (object_folder, "sha256"),
        (model_folder, "copy_verified"),
        (model_folder, "write_file_list"),
    ):
        setattr(module, name, stopwatch.wrap(getattr(module, name)))
    return stopwatch


class Listener:
    """Ignores the results of stages."""

    def stage_completed(self, name: str, result: StoredResult) -> None:
        """Do nothing."""


def processor_seconds() -> float:
    """Return the processor time of this process and of the clean processes that have ended."""
    return sum(os.times()[:4])


def run_stages(case: UseCase, source: DatasetSource, budget: float, folder: Path) -> None:
    """Run all stages of a case, package its model, and predict with a verified copy as the next run would."""
    params = RunParameters(time_budget=budget)
    context = RunContext(case, params, source, load(), Store(folder / "store"), Listener(), as_tasks=False)
    raw = read_source(source, context.store)
    splits = split_batch(context, validate_batch(context, raw))
    fitted: dict[str, StoredResult] = {}
    for name, candidate in case.candidates.items():
        # Some candidates need columns that the simulated data have not.
        with suppress(CandidateSkipped):
            fitted[name] = fit(name, candidate, splits, context.fit_resources(), context.store)
    leaderboard = build_leaderboard.fn(fitted, {}, splits, case.evaluator, context.store)
    leader = next(entry for entry in leaderboard_entries(leaderboard, fitted) if entry["leads"])
    name = leader["candidate"]
    model = final_model(context, name, case.candidates[name], fitted[name], splits)
    final = FinalFit(name, model, next(iter(fitted.values())), leader["decision"])
    settings = EvaluationSettings(case.evaluator, source.contract.roles.sensitive)
    evaluate_on_test.fn(final, splits, raw, settings, context.store)
    with tempfile.TemporaryDirectory() as scratch:
        test, registered, copy = load_dataset(splits, "test"), Path(scratch) / "model", Path(scratch) / "copy"
        package = build_package(context, final, splits, None)
        packaged = packaging.package_model.fn(package, test, registered, context.store)
        copy.mkdir()
        digests = ModelDigests(packaged.digest, model_folder.write_file_list(registered))
        model_folder.copy_verified(registered, copy, digests)
        predict_in_clean_process(copy, test.frame)


def measure(name: str, rows: int, budget: float, without: list[str]) -> list[dict[str, Any]]:
    """Return one row for each run of a case."""
    case: UseCase = import_module(f"flows.{name.replace('-', '_')}").CASE
    candidates = {key: value for key, value in case.candidates.items() if key not in without}
    case = replace(case, candidates=candidates)
    content = json.loads((ROOT / "expectations" / name.replace("-", "_") / "simulated.json").read_text())
    content["meta"]["read"]["rows"] = rows
    source, table = DatasetSource("simulated", parse(content), ()), []
    with tempfile.TemporaryDirectory() as scratch:
        for run in ("all computed", "all reused"):
            stopwatch.seconds, stopwatch.calls, started = 0.0, 0, processor_seconds()
            run_stages(case, source, budget, Path(scratch))
            seconds = processor_seconds() - started
            table.append(
                {
                    "case": name,
                    "run": run,
                    "seconds": round(seconds, 2),
                    "verification": round(stopwatch.seconds, 3),
                    "calls": stopwatch.calls,
                    "share": f"{stopwatch.seconds / seconds:.2%}",
                    "within the bound": stopwatch.seconds <= BOUND * seconds,
                }
            )
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--time-budget", type=float, default=60)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--without", nargs="+", default=["ensemble", "reranker with transformer"])
    arguments = parser.parse_args()
    stopwatch = install_stopwatch()
    lines: list[dict[str, Any]] = []
    for case_name in arguments.cases:
        lines += measure(case_name, arguments.rows, arguments.time_budget, arguments.without)
    print(pd.DataFrame(lines).to_string(index=False))
