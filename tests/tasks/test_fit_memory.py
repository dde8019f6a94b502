"""A fit under a limit of memory is skipped with a reason; it neither ends the process nor waits for ever."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.errors import CandidateSkipped
from tasks import fit_memory
from tasks.fit_memory import MEGABYTE, is_out_of_memory, require_memory
from tests.guard import GUARD

ROOT = Path(__file__).resolve().parents[2]
# Fits candidates to a table of 16 MB, under limits of address space, and prints how each ended.
CHILD = """
import os, resource, sys
from pathlib import Path
import numpy as np, pandas as pd
import lightgbm, sklearn.ensemble, sklearn.linear_model, torch
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.tabular.extra_trees import ExtraTrees
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.tabm import TabM
from tasks import fit_memory
from tasks.storage.content_store import StageResult, Store
from tasks.train import SKIPPED, train

def rows(count, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{n}": rng.normal(size=count) for n in range(20)})
    return Dataset(frame, pd.Series((frame["x0"] > 0).astype(float)), np.arange(count, dtype=np.uint64))

store = Store(Path(sys.argv[1]))
splits = store.get_or_compute(
    "split", lambda: StageResult({"train": rows(100_000, 1).to_table(), "valid": rows(100, 2).to_table()}, {})
)
candidates = {
    "linear": Linear(), "trees": ExtraTrees(), "boosting": GradientBoosting(max_rounds=5), "tabm": TabM(max_epochs=1)
}

def fit(name):
    result = train.fn(name, candidates[name], splits, FitResources(0, 2, 20.0), store)
    print(name, getattr(result, "name", "fitted"), getattr(result, "message", ""), flush=True)

def limit(megabytes):
    space = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (space + megabytes * 2**20, resource.RLIM_INFINITY))

limit(120)
for name in candidates:
    fit(name)
# Without an estimate, a fit of one thread ends by itself (OpenMP ends the process where it cannot start its threads).
fit_memory.RESERVE_BYTES = fit_memory.THREAD_BYTES = fit_memory.TABLE_COPIES = 0
limit(20)
fit("linear")
limit(100_000)
fit("boosting")
# Libraries may not be able to end their threads without memory.
os._exit(0)
"""


def test_candidates_without_enough_memory_are_skipped(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    names = ["linear", "trees", "boosting", "tabm", "linear"]
    assert [line.split()[:2] for line in lines[:-1]] == [[name, "Skipped"] for name in names], lines
    assert all("MB of memory for a fit to 100,000 rows with 2 threads" in line for line in lines[:4])
    assert "expected enough memory for a fit to the dataset train" in lines[4]
    # The process can go on.
    assert lines[-1].split() == ["boosting", "fitted"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (np.exceptions.AxisError("axis"), False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (RuntimeError("can't start new thread"), True),
        (ValueError("std::bad_alloc"), True),
        (ValueError("a wrong value"), False),
    ],
)
def test_errors_of_memory_are_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_without_a_limit_every_fit_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"x": np.zeros(10**6)})
    monkeypatch.setattr(fit_memory, "free_address_space", lambda: None)
    require_memory(frame, 1000)
    monkeypatch.setattr(fit_memory, "free_address_space", lambda: 300 * MEGABYTE)
    require_memory(frame, 1)
    with pytest.raises(CandidateSkipped, match="fewer threads"):
        require_memory(frame, 3)
