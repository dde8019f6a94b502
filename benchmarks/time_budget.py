"""Whether the reranker keeps to its share of the time budget: `python -m benchmarks.time_budget`.

Fits the reranker as a run would plan it, to a simulated log of many items (a user's next item is near the last one, or
popular), or to a data set of STEWARD_DATA_DIR with --data. Prints the plan, and the processor seconds per thread of the
fit. Other work on the machine changes none of that, apart from a few per cent of the seconds.
"""

import argparse
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.tabular import processor
from flows.ecommerce_recommendation import CASE
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from tasks.data_access.locate import find_dataset
from tasks.fit_plan import plan_fits
from tasks.settings import load
from tasks.source import read_source
from tasks.split import split
from tasks.storage.content_store import Store
from tasks.stored_datasets import load_dataset
from tasks.validate import validate

SEED = 0
# The share of events that are near the user's last one; the others are drawn by popularity.
NEAR_SHARE = 0.6
NAME = "reranker"


def simulate(users: int, items: int, events: int) -> Dataset:
    """Return histories with a catalogue of `items`, whose popularity falls as that of a web shop."""
    rng = np.random.default_rng(SEED)
    popular = rng.choice(items, events, p=_popularity(items))
    near = rng.random(events) < NEAR_SHARE
    lists = []
    for positions in np.array_split(np.arange(events), users):
        codes = popular[positions]
        for n in range(1, len(codes)):
            if near[positions[n]]:
                codes[n] = (codes[n - 1] + rng.integers(1, 4)) % items
        lists.append([f"i{code}" for code in codes])
    frame = pd.DataFrame({"user": [f"u{n}" for n in range(users)], "items": lists})
    frame["times"] = [sorted(rng.uniform(0, 365 * 86_400, len(items)).tolist()) for items in lists]
    truth: pd.Series = pd.Series([[]] * users, dtype=object)
    return Dataset(frame, truth, np.arange(users, dtype=np.uint64))


def _popularity(items: int) -> np.ndarray:
    weights = 1.0 / (np.arange(items) + 10.0)
    return np.asarray(weights / weights.sum())


def read(name: str) -> Dataset:
    """Return the training histories of a data set."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        source = find_dataset(CASE.name, name, None, load())
        clean = validate.fn(read_source(source, store), source.contract, None, store)
        return load_dataset(split.fn(clean, source.contract, CASE.split, datetime.now(UTC), store), "train")


def main() -> None:
    """Plan and fit, and print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a data set of ecommerce-recommendation instead of the simulated log")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=24_000)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--seconds", type=float, default=CASE.time_budget)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    train = read(options.data) if options.data else simulate(options.users, options.items, options.events)
    resources = FitResources(SEED, options.threads, options.seconds)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "implicit", "lightgbm"))
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, Python {platform.python_version()}, {libraries}")
    size = f"{len(train.frame):,} users, {int(train.frame['items'].map(len).sum()):,} events"
    print(
        f"{options.data or 'simulated'}: {size}; {options.seconds:g} s, {options.threads} threads, seed {SEED}"
    )
    planned = plan_fits(CASE.candidates, train, resources)
    for name, plan in planned.items():
        print(f"  {name}: {plan.reason or f'at most {plan.seconds:.0f} s'}")
        for part, reason in plan.left_out.items():
            print(f"    without {part}: {reason}")
    plan = planned[NAME]
    if plan.reason:
        return
    limited = FitResources(
        SEED, options.threads, plan.seconds, log_progress=lambda message: print(f"    {message}")
    )
    spent = limited.deadline()
    model = plan.candidate.fit(train, train, limited)
    stopped_by = getattr(model, "stopped_by", None)
    print(f"{NAME}: {spent.elapsed:.0f} s of {plan.seconds:.0f} s, stopped by: {stopped_by}")


if __name__ == "__main__":
    main()
