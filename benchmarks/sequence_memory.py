"""Memory of the transformer over histories, by events and items: `python -m benchmarks.sequence_memory`.

Each size is a process of its own: histories of `LENGTH` events, items drawn by a Zipf-like law, one step of training
(what a whole fit holds at once: all events, weights, their average and two moments, one batch), and the largest memory
beyond that of the part that it learns from. The formula is fitted by least squares to all sizes but the largest, which
it then has to foretell.
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


def log(events: int, items: int) -> Dataset:
    """Users of `LENGTH` events each; the chance of item r is proportional to 1 / (r + 10)."""
    rng = np.random.default_rng(SEED)
    users = events // LENGTH
    chance = 1.0 / (np.arange(items) + 10.0)
    codes = rng.choice(items, (users, LENGTH), p=chance / chance.sum())
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


def peak() -> float:
    """Largest memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(events: int, items: int) -> None:
    """Print the MB that one step took beyond the part, as JSON."""
    # Once small, so that libraries are loaded before the baseline is taken.
    small = log(5_000, 100)
    Transformer().fit(small, small, FitResources(seconds=0.0))
    part = log(events, items)
    before = peak()
    Transformer().fit(part, part, FitResources(seconds=0.0))
    print(json.dumps(peak() - before))


def main() -> None:
    """All sizes, and the formula."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequence_memory", description=__doc__)
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        measure(*asked.one)
        return
    print(f"python {platform.python_version()}, torch {version('torch')}, numpy {version('numpy')}")
    print(f"dim {Transformer().dim}, histories of {LENGTH} events, seed {SEED}\n")
    found = []
    for events, items in SIZES:
        command = [sys.executable, "-m", "benchmarks.sequence_memory", "--one", str(events), str(items)]
        found.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(f"  {events:>9,} events, {items:>6,} items: {found[-1]:7.0f} MB", flush=True)
    design = np.array([[1.0, events, items] for events, items in SIZES])
    (base, event, item), *_ = np.linalg.lstsq(design[:-1], np.array(found[:-1]), rcond=None)
    told = float(design[-1] @ (base, event, item))
    print(f"\n  {base:.0f} MB + {event * 2**20:.0f} bytes an event + {item * 2**20:.0f} bytes an item")
    print(f"  foretold for the largest {told:.0f} MB, measured {found[-1]:.0f}")


if __name__ == "__main__":
    main()
