"""Quality and costs of tabular candidates: `python -m benchmarks.tabular`. Needs STEWARD_DATA_DIR.

Repeated stratified outer folds (3 x 3; 10 x 3 below 2,000 rows; rows of a group stay together) evaluate procedures,
never a registered model. A candidate is fitted on the outer training rows only, and takes the rows that stop it out of
them. Each fit runs in a process of its own. CPU seconds include child processes of the fit, but not
imports and predictions. Peak memory is that of the process.

Metrics are means over splits with the corrected resampled t interval (Nadeau and Bengio, 2003); differences are paired
over splits. Each result is written as a JSON line to the file given with --out. A result that the file has under the
same key (rows, split, candidate, code of ml/, libraries, threads, seconds) is not computed again.

    --protocol tabarena                    3 folds, once; rows that a contract excludes stay, as in published results
    --peer autogluon --peer-python PATH    AutoGluon best quality on the same splits, in an environment of its own
    --predictions FOLDER                   keep predictions, and compare with the peer within each fold by DeLong's test
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
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.fit_server import CANDIDATES, FitServer
from benchmarks.fold_differences import format_fold_differences, write_predictions
from benchmarks.outer_folds import OuterFold, ResultFile, outer_folds
from benchmarks.tabular_datasets import SETS, BenchmarkTable, load_table
from benchmarks.tabular_report import format_results
from ml.data.digest import json_digest
from ml.evaluation import binary_metrics

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("lightgbm", "scikit-learn", "torch", "numpy", "scipy", "pandas")
# Tables of fewer rows get more repeats.
MIN_LARGE_TABLE_ROWS = 2000
AUTOGLUON = "AutoGluon"
METRICS = ("roc_auc", "brier_score", "log_loss", "calibration_error", "calibration_slope")


def measure(
    data: BenchmarkTable,
    candidates: list[str],
    stored: ResultFile,
    server: FitServer,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Return a result for each fold and candidate, computed or read from the file."""
    is_small = len(data.dataset.frame) < MIN_LARGE_TABLE_ROWS
    repeats = options.repeats or (1 if options.protocol == "tabarena" else 10 if is_small else 3)
    results = []
    for fold in islice(outer_folds(data.dataset, data.grouped, options.folds, repeats), options.first_folds):
        for candidate in candidates:
            inputs = _inputs(data, fold, candidate, options)
            key = json_digest(inputs)
            predictions = options.predictions and options.predictions / f"{key}.npz"
            if key not in stored.results or (predictions and not predictions.exists()):
                sizes = {"train_rows": len(fold.train), "test_rows": len(fold.test)}
                result, probability = _fit(data, fold, candidate, server, options)
                if predictions:
                    write_predictions(predictions, data.dataset.take(fold.test), probability)
                stored.add({"key": key, **inputs, **sizes, **result})
                print(
                    f"{data.name}, repeat {fold.repeat}, fold {fold.fold}, {candidate}: "
                    f"AUC {result['roc_auc']:.4f}, {result['cpu_seconds']:.2f} CPU s",
                    file=sys.stderr,
                    flush=True,
                )
            results.append(stored.results[key])
    return results


def _inputs(
    data: BenchmarkTable, fold: OuterFold, candidate: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Collect everything that a result depends on."""
    is_peer = candidate == AUTOGLUON
    return {
        "set": data.name,
        "data": data.digest,
        "folds": options.folds,
        "repeat": fold.repeat,
        "fold": fold.fold,
        "candidate": candidate,
        "code": code_of(candidate),
        "libraries": _peer_versions(options.peer_python)
        if is_peer
        else {name: version(name) for name in LIBRARIES},
        "threads": options.threads,
        "seconds": options.peer_seconds if is_peer else options.seconds,
    }


@cache
def code_of(candidate: str) -> str:
    """Hash the code that computes a result: that of a peer, otherwise all of `ml/`; SHA-256."""
    if candidate == AUTOGLUON:
        return hashlib.sha256(peers.AUTOGLUON.encode()).hexdigest()
    if candidate == "LightGBM defaults":
        return hashlib.sha256(Path(peers.__file__).read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted((ROOT / "ml").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _fit(
    data: BenchmarkTable, fold: OuterFold, candidate: str, server: FitServer, options: argparse.Namespace
) -> tuple[dict[str, Any], np.ndarray]:
    """Measure metrics and costs of one candidate on one fold; return its probabilities for the test rows too."""
    is_peer = candidate == AUTOGLUON
    train, test = data.dataset.take(fold.train), data.dataset.take(fold.test)
    datasets = {"train": train, "test": test}
    spec = {
        "candidate": candidate,
        "seed": fold.repeat,
        "threads": options.threads,
        "seconds": options.peer_seconds if is_peer else options.seconds,
        "sentinel_values": data.dataset.sentinel_values,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "spec.json").write_text(json.dumps(spec))
        for name, dataset in datasets.items():
            table = dataset.to_table()
            if is_peer:  # a peer gets columns under their original names
                table = dataset.frame.assign(truth=dataset.truth, unit=dataset.units)
            table.to_parquet(folder / f"{name}.parquet", index=False)
        if is_peer:
            exit_code = _fit_peer(options.peer_python, folder, server.environment)
        else:
            exit_code = server.fit(folder)
        if exit_code != 0:
            raise SystemExit(
                f"expected a fit of {candidate}; got exit code {exit_code}; see its traceback above. Results so far "
                "are in the file of --out: repeat the command to continue"
            )
        probability = np.load(folder / "probability.npy")
        costs: dict[str, Any] = json.loads((folder / "costs.json").read_text())
    return {**_metrics(test.truth.to_numpy(), probability), **costs}, probability


def _fit_peer(python: str, folder: Path, environment: Mapping[str, str]) -> int:
    """Run AutoGluon on a folder and return its exit code; its traceback is printed to stderr."""
    command = [python, "-W", "ignore", "-c", peers.AUTOGLUON, str(folder)]
    return subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=False
    ).returncode


def _metrics(truth: np.ndarray, probability: np.ndarray) -> dict[str, float | None]:
    """Compute all metrics; None where one is undefined for these rows."""
    metrics: dict[str, float | None] = {}
    for name in METRICS:
        try:
            metrics[name] = getattr(binary_metrics, name)(truth, probability)
        except binary_metrics.UndefinedMetricError:
            metrics[name] = None
    return metrics


@cache
def _peer_versions(python: str) -> dict[str, str]:
    """Read the version of AutoGluon in its own environment."""
    script = "from importlib.metadata import version; print(version('autogluon.tabular'))"
    process = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(
            f"expected AutoGluon in the environment of {python}; got none; install autogluon.tabular there "
            "with the extras lightgbm, catboost, xgboost and fastai, or leave --peer out"
        )
    return {"autogluon.tabular": process.stdout.strip()}


def processor() -> str:
    """Return the model name of the processor, on Linux only; otherwise the architecture."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def arguments() -> argparse.Namespace:
    """Parse the command line and check the names in it."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tabular",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--sets", default=",".join(SETS), help="names separated by commas; by default all")
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="likewise")
    parser.add_argument("--protocol", choices=("repeated", "tabarena"), default="repeated")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--repeats", type=int, help="by default 3, and 10 below 2,000 rows")
    parser.add_argument("--first-folds", type=int, help="measure only the first folds; by default all")
    parser.add_argument("--threads", type=int, default=cores, help="of each fit; by default all cores")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of a fit; by default 60")
    parser.add_argument("--peer", choices=("autogluon",))
    parser.add_argument("--peer-python", help="the interpreter of the peer's environment")
    parser.add_argument(
        "--peer-seconds", type=float, default=600.0, help="time limit of the peer; by default 600"
    )
    parser.add_argument("--predictions", type=Path, help="folder for a file of each fit's test predictions")
    parser.add_argument("--out", type=Path, help="file of JSON lines with results to reuse and to add to")
    options = parser.parse_args()
    for names, valid_names in ((options.sets, SETS), (options.candidates, CANDIDATES)):
        unknown = [name for name in names.split(",") if name not in valid_names]
        if unknown:
            parser.error(
                f"expected some of {', '.join(valid_names)}; got {', '.join(unknown)}; correct the names"
            )
    if options.peer and not options.peer_python:
        parser.error("expected --peer-python, the interpreter of the peer's environment; got none; name it")
    return options


def main() -> None:
    """Measure, and print results with versions and hardware."""
    options = arguments()
    candidates = options.candidates.split(",") + ([AUTOGLUON] if options.peer else [])
    stored = ResultFile(options.out)
    print(f"python {platform.python_version()}, {options.threads} of {os.cpu_count()} cores, {processor()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", ml/ {code_of('ensemble')[:12]}")
    if options.peer:
        (peer_version,) = _peer_versions(options.peer_python).values()
        print(f"AutoGluon {peer_version}, best quality, {options.peer_seconds:g} s")
    print(f"seed: the number of the repeat; at most {options.seconds:g} s a fit; 95 % intervals over splits")
    with FitServer(options.candidates.split(","), options.threads) as server:
        for name in options.sets.split(","):
            data = load_table(name, whole_population=options.protocol == "tabarena")
            results = measure(data, candidates, stored, server, options)
            print(format_results(data, results, options.folds), flush=True)
            if options.predictions and options.peer:
                print(format_fold_differences(results, options.predictions, AUTOGLUON), flush=True)


if __name__ == "__main__":
    main()
