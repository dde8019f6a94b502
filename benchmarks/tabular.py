"""How good tabular candidates are, and what they cost: `python -m benchmarks.tabular`. Needs STEWARD_DATA_DIR.

Repeated stratified outer folds (3 x 3; 10 x 3 below 2,000 rows; rows of a group stay together) judge procedures, never
a model that is registered. A candidate learns from the outer training rows only; where it wants a valid part, a
stratified fifth of these is it. Each fit is a process of its own. CPU seconds are those of the fit, children included;
imports and prediction are not in them. Peak memory is that of the process.

Measures are means over splits with the corrected resampled t interval (Nadeau and Bengio, 2003); differences are
paired over splits. Each result is a JSON line of the file given with --out as soon as it is there; one that is found
in it under the same key (rows, split, candidate, code of ml/, libraries, threads, seconds) is not made again.

    --protocol tabarena                    3 folds, once; rows outside of a contract's population stay, as published
    --peer autogluon --peer-python PATH    AutoGluon best quality on the same splits, in an environment of its own
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fits, leaderboard, peers
from benchmarks.datasets import SETS, BenchmarkTable, load
from benchmarks.outer import Results, Split, splits, valid_fifth
from ml.data.digest import digest_of
from ml.evaluation import binary_metrics

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("lightgbm", "scikit-learn", "torch", "numpy", "scipy", "pandas")
SMALL = 2000
AUTOGLUON = "AutoGluon"
MEASURES = ("roc_auc", "brier", "log_loss", "calibration_error", "calibration_slope")


def measure(
    data: BenchmarkTable, candidates: list[str], results: Results, run: fits.Fits, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """A line for each split and candidate, made or found."""
    few = len(data.part.frame) < SMALL
    repeats = asked.repeats or (1 if asked.protocol == "tabarena" else 10 if few else 3)
    lines = []
    for one in splits(data.part, data.grouped, asked.folds, repeats):
        for candidate in candidates:
            about = _about(data, one, candidate, asked)
            key = digest_of(about)
            if key not in results.known:
                sizes = {"train_rows": len(one.train), "test_rows": len(one.test)}
                found = _fit(data, one, candidate, run, asked)
                results.add({"key": key, **about, **sizes, **found})
                said = f"AUC {found['roc_auc']:.4f}, {found['cpu_seconds']:.2f} CPU s"
                place = f"{data.name}, repeat {one.repeat}, fold {one.fold}"
                print(f"{place}, {candidate}: {said}", file=sys.stderr, flush=True)
            lines.append(results.known[key])
    return lines


def _about(data: BenchmarkTable, one: Split, candidate: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Everything that a result hangs on."""
    peer = candidate == AUTOGLUON
    return {
        "set": data.name,
        "data": data.digest,
        "folds": asked.folds,
        "repeat": one.repeat,
        "fold": one.fold,
        "candidate": candidate,
        "code": code_of(candidate),
        "libraries": _peer(asked.peer_python) if peer else {name: version(name) for name in LIBRARIES},
        "threads": asked.threads,
        "seconds": asked.peer_seconds if peer else asked.seconds,
    }


@cache
def code_of(candidate: str) -> str:
    """SHA-256 of what computes a result: a peer's own code, else `ml/`."""
    if candidate == AUTOGLUON:
        return hashlib.sha256(peers.AUTOGLUON.encode()).hexdigest()
    if candidate == "LightGBM defaults":
        return hashlib.sha256(Path(peers.__file__).read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted((ROOT / "ml").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _fit(
    data: BenchmarkTable, one: Split, candidate: str, run: fits.Fits, asked: argparse.Namespace
) -> dict[str, Any]:
    """The measures and costs of one candidate on one split."""
    peer = candidate == AUTOGLUON
    train, test = data.part.take(one.train), data.part.take(one.test)
    parts = {"train": train, "test": test}
    if not peer and fits.entry(candidate).wants_valid:
        teach, choose = valid_fifth(train, data.grouped, seed=one.repeat)
        parts |= {"train": teach, "valid": choose}
    spec = {
        "candidate": candidate,
        "seed": one.repeat,
        "threads": asked.threads,
        "seconds": asked.peer_seconds if peer else asked.seconds,
        "special": data.part.sentinel_values,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "spec.json").write_text(json.dumps(spec))
        for name, part in parts.items():
            # A peer sees columns under their own names.
            table = part.frame.assign(truth=part.truth, unit=part.units) if peer else part.to_table()
            table.to_parquet(folder / f"{name}.parquet", index=False)
        fitted = _peer_fit(asked.peer_python, folder, run.environment) if peer else run.run(folder)
        if fitted != 0:
            raise SystemExit(
                f"expected {candidate} to end well, got exit code {fitted}; see above for why. What was measured "
                "is kept with --out: say the same again to go on"
            )
        probability = np.load(folder / "probability.npy")
        costs: dict[str, Any] = json.loads((folder / "costs.json").read_text())
    return {**_measured(test.truth.to_numpy(), probability), **costs}


def _peer_fit(python: str, folder: Path, environment: Mapping[str, str]) -> int:
    """The exit code of AutoGluon on this folder; what went wrong stands on stderr."""
    command = [python, "-W", "ignore", "-c", peers.AUTOGLUON, str(folder)]
    return subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=False
    ).returncode


def _measured(truth: np.ndarray, probability: np.ndarray) -> dict[str, float | None]:
    """Every measure; None where these rows have no value of it."""
    measured: dict[str, float | None] = {}
    for name in MEASURES:
        try:
            measured[name] = getattr(binary_metrics, name)(truth, probability)
        except binary_metrics.UndefinedMeasureError:
            measured[name] = None
    return measured


@cache
def _peer(python: str) -> dict[str, str]:
    """AutoGluon's version in its own environment."""
    script = "from importlib.metadata import version; print(version('autogluon.tabular'))"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"expected AutoGluon in the environment of {python}, got none; install autogluon.tabular there "
            "with the extras lightgbm, catboost, xgboost and fastai, or leave --peer out"
        )
    return {"autogluon.tabular": done.stdout.strip()}


def processor() -> str:
    """The kind of machine, as Linux tells it."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def arguments() -> argparse.Namespace:
    """The command line, each name in it checked."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tabular",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--sets", default=",".join(SETS), help="names with commas between; by default all")
    parser.add_argument("--candidates", default=",".join(fits.NAMES), help="likewise")
    parser.add_argument("--protocol", choices=("repeated", "tabarena"), default="repeated")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--repeats", type=int, help="by default 3, and 10 below 2,000 rows")
    parser.add_argument("--threads", type=int, default=cores, help="of each fit; by default all cores")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a candidate may use; by default 60")
    parser.add_argument("--peer", choices=("autogluon",))
    parser.add_argument("--peer-python", help="the interpreter of the peer's environment")
    parser.add_argument("--peer-seconds", type=float, default=600.0, help="by default 600")
    parser.add_argument("--out", type=Path, help="file of JSON lines to go on with and to add to")
    asked = parser.parse_args()
    for names, known in ((asked.sets, SETS), (asked.candidates, fits.NAMES)):
        unknown = [name for name in names.split(",") if name not in known]
        if unknown:
            parser.error(f"expected some of {', '.join(known)}; got {', '.join(unknown)}")
    if asked.peer and not asked.peer_python:
        parser.error("expected --peer-python, the interpreter of the peer's environment; got none")
    return asked


def main() -> None:
    """Measure what is asked for, and print it with what it was measured on."""
    asked = arguments()
    candidates = asked.candidates.split(",") + ([AUTOGLUON] if asked.peer else [])
    results = Results(asked.out)
    print(f"python {platform.python_version()}, {asked.threads} of {os.cpu_count()} cores, {processor()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", ml/ {code_of('ensemble')[:12]}")
    if asked.peer:
        (known,) = _peer(asked.peer_python).values()
        print(f"AutoGluon {known}, best quality, {asked.peer_seconds:g} s")
    print(f"seed: the number of the repeat; at most {asked.seconds:g} s a fit; 95 % intervals over splits")
    with fits.Fits(asked.candidates.split(","), asked.threads) as run:
        for name in asked.sets.split(","):
            data = load(name, published=asked.protocol == "tabarena")
            lines = measure(data, candidates, results, run, asked)
            print(leaderboard.text(data, lines, asked.folds), flush=True)


if __name__ == "__main__":
    main()
