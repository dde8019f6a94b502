"""Measure which share of a run the verification of stored results and registered models takes.

    python -m benchmarks.store_verification --rows 20000

Each case runs twice in a new state directory on simulated data: a first run, and one that reuses all stages. The last
line of a case scores a file with the champion. Seconds are wall clock, with those of the clean processes.

"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

BOUND = 0.03
SIMULATORS = {"fintech-risk": "lender", "ecommerce-recommendation": "shop", "health-prediction": "hospital"}


class Stopwatch:
    """Sums up the seconds of wrapped functions; one inside another is counted once."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.depth = 0.0, 0, 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added to `seconds`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            self.depth += 1
            try:
                return function(*arguments, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - started
                    self.calls += 1

        return timed


def install_stopwatch() -> Stopwatch:
    """Time everything that compares stored bytes with digests, or copies a model to compare it."""
    from tasks.storage import content_store, object_folder
    from tasks.tracking import model_folder, registry

    stopwatch = Stopwatch()
    for module, name in (
        (content_store, "find_damage"),
        (content_store, "read_manifest"),
        (object_folder, "sha256"),
        (model_folder, "copy_verified"),
        (registry, "write_file_list"),
    ):
        setattr(module, name, stopwatch.wrap(getattr(module, name)))
    return stopwatch


@contextmanager
def smaller_contracts(rows: int) -> Iterator[None]:
    """Set the number of simulated rows in a copy of the contracts."""
    from tasks.settings import ROOT

    with tempfile.TemporaryDirectory() as scratch:
        for case in SIMULATORS:
            path = ROOT / "expectations" / case.replace("-", "_") / "simulated.json"
            content = json.loads(path.read_text())
            content["meta"]["read"]["rows"] = rows
            target = Path(scratch) / path.relative_to(ROOT / "expectations")
            target.parent.mkdir(parents=True)
            target.write_text(json.dumps(content))
        os.environ["STEWARD_CONTRACTS"] = scratch
        yield


def measure(case: str, budget: float, stopwatch: Stopwatch, scratch: Path) -> Iterator[dict[str, Any]]:
    """Yield one row for each run of a case."""
    flow = getattr(import_module(f"flows.{case.replace('-', '_')}"), case.replace("-", "_"))
    for run in ("first run", "repeated run"):
        stopwatch.seconds, stopwatch.calls, started = 0.0, 0, time.perf_counter()
        flow.fn(time_budget=budget)
        yield _row(case, run, stopwatch, time.perf_counter() - started)
    from flows.scoring import score
    from ml.simulators import SIMULATORS as ROWS_BY_SIMULATOR

    ROWS_BY_SIMULATOR[SIMULATORS[case]](1000, 1).rows.to_parquet(scratch / f"{case}.parquet")
    stopwatch.seconds, stopwatch.calls, started = 0.0, 0, time.perf_counter()
    score.fn(case, str(scratch / f"{case}.parquet"), str(scratch / f"{case}-scores.parquet"))
    yield _row(case, "score 1,000 rows", stopwatch, time.perf_counter() - started)


def _row(case: str, run: str, stopwatch: Stopwatch, seconds: float) -> dict[str, Any]:
    return {
        "case": case,
        "run": run,
        "seconds": round(seconds, 1),
        "verification": round(stopwatch.seconds, 3),
        "calls": stopwatch.calls,
        "share": f"{stopwatch.seconds / seconds:.2%}",
        "within the bound": stopwatch.seconds <= BOUND * seconds,
    }


def main() -> None:
    """Print the share of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--time-budget", type=float, default=60)
    parser.add_argument("--cases", nargs="+", default=list(SIMULATORS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, smaller_contracts(arguments.rows):
        os.environ["STEWARD_HOME"] = str(Path(scratch) / "home")
        from tasks.settings import load, prepare_libraries

        prepare_libraries(load())
        stopwatch, table = install_stopwatch(), []
        for case in arguments.cases:
            with contextlib.redirect_stdout(io.StringIO()):
                table += list(measure(case, arguments.time_budget, stopwatch, Path(scratch)))
        print(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    main()
