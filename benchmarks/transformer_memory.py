"""Peak memory of fitting the sequence transformer, by events and items: `python -m benchmarks.transformer_memory`.

Each size is measured in a process of its own: histories of `LENGTH` events, items drawn by a Zipf-like law, and one
training step, which needs all that a fit holds at once (events, weights, their average and two moments, one batch). The
memory of the training dataset is subtracted. A linear formula is fitted to all sizes but the largest, which it then
predicts.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.recommenders.transformer.model import Transformer

LENGTH, SEED = 50, 0
SIZES = [
    (250_000, 5_000),
    (500_000, 5_000),
    (1_000_000, 5_000),
    (250_000, 20_000),
    (1_000_000, 20_000),
    (500_000, 45_000),
    (2_000_000, 45_000),
]


def create_log(events: int, items: int) -> Dataset:
    """Create users of `LENGTH` events each; the probability of item r is proportional to 1 / (r + 10)."""
    rng = np.random.default_rng(SEED)
    users = events // LENGTH
    weights = 1.0 / (np.arange(items) + 10.0)
    codes = rng.choice(items, (users, LENGTH), p=weights / weights.sum())
    names = np.array([f"i{n}" for n in range(items)], dtype=object)
    frame = pd.DataFrame(
        {
            "user": pd.Series([f"u{n}" for n in range(users)], dtype="str"),
            "items": pd.Series(list(names[codes]), dtype=object),
            "times": pd.Series([[float("nan")] * LENGTH] * users, dtype=object),
        }
    )
    return Dataset(
        frame, pd.Series([[]] * users, dtype=object), np.arange(users, dtype=np.uint64), allow_repeats=True
    )


def peak_mb() -> float:
    """Return the peak memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(events: int, items: int) -> None:
    """Print the MB that one step took above the dataset, as JSON."""
    # A small fit first, so that libraries are loaded before the baseline is measured.
    small = create_log(5_000, 100)
    Transformer().fit(small, small, FitResources(seconds=0.0))
    train = create_log(events, items)
    before = peak_mb()
    Transformer().fit(train, train, FitResources(seconds=0.0))
    print(json.dumps(peak_mb() - before))


def main() -> None:
    """Print all sizes and the formula."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transformer_memory", description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.size:
        measure(*options.size)
        return
    print(f"python {platform.python_version()}, torch {version('torch')}, numpy {version('numpy')}")
    print(f"dim {Transformer().dim}, histories of {LENGTH} events, seed {SEED}\n")
    measured = []
    for events, items in SIZES:
        command = [sys.executable, "-m", "benchmarks.transformer_memory", "--size", str(events), str(items)]
        measured.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(f"  {events:>9,} events, {items:>6,} items: {measured[-1]:7.0f} MB", flush=True)
    design = np.array([[1.0, events, items] for events, items in SIZES])
    (base, per_event, per_item), *_ = np.linalg.lstsq(design[:-1], np.array(measured[:-1]), rcond=None)
    predicted = float(design[-1] @ (base, per_event, per_item))
    print(
        f"\n  {base:.0f} MB + {per_event * 2**20:.0f} bytes per event + {per_item * 2**20:.0f} bytes per item"
    )
    print(f"  predicted for the largest size: {predicted:.0f} MB, measured: {measured[-1]:.0f} MB")


if __name__ == "__main__":
    main()
