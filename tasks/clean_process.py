"""Let a saved model predict in a process that has imported none of our code: the model brings its own."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ml.errors import PackagingError
from tasks.tracking.logged_model import Latency

# Runs in that process: the model has its own copy of `ml`, and the output says which code ran.
# Top-level modules that the model's requirements do not provide are hidden, as they would be missing elsewhere.
CLEAN_PROCESS = """
import gc, json, os, sys, time
# Nothing that the libraries make is garbage.
gc.disable()
model, tables, params, hidden = sys.argv[1], *map(json.loads, sys.argv[2:])
hidden = frozenset(hidden)
class HidingFinder:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [HidingFinder(finder) for finder in sys.meta_path]
import numpy as np, pandas as pd, mlflow.pyfunc
model = mlflow.pyfunc.load_model(model)
gc.freeze()
gc.enable()
for rows, predictions in tables:
    # One table at a time: lists of recommendations have more rows than theirs.
    frame = pd.read_parquet(rows)
    model.predict(frame, params).to_parquet(predictions)
row = frame.head(1)
def milliseconds(action):
    # Processor time: other work on the machine does not count.
    started = time.process_time()
    action()
    return (time.process_time() - started) * 1000
def reference():
    # Work like that of a prediction, which takes about a millisecond.
    pd.DataFrame({str(n): [float(n)] for n in range(15)}).astype("float32").to_dict("records")
# In turn: a machine that slows down slows both down.
pairs = [(milliseconds(lambda: model.predict(row)), milliseconds(reference)) for _ in range(9)]
latency, unit = (sorted(values)[4] for values in zip(*pairs))
import ml
print(json.dumps({"code": ml.__file__, "milliseconds": latency, "latency": latency / unit}), flush=True)
# All files are written. Clearing the memory of the libraries first would take a fifth of the time of this process.
os._exit(0)
"""


def predict_in_clean_process(
    model: Path,
    frame: pd.DataFrame,
    params: Mapping[str, Any] | None = None,
    hidden_modules: Sequence[str] = (),
    python: Path = Path(sys.executable),
) -> tuple[pd.DataFrame, Latency]:
    """Return predictions of a saved model by its own code, and what the prediction of one row takes.

    `params` are those of the model's signature; `hidden_modules` cannot be imported in the process of `python`. Raises
    PackagingError if the process fails, or if it imported another `ml` than the model's own.
    """
    (predictions,), latency = predict_tables(model, [frame], params, hidden_modules, python)
    return predictions, latency


def predict_tables(
    model: Path,
    frames: Sequence[pd.DataFrame],
    params: Mapping[str, Any] | None = None,
    hidden_modules: Sequence[str] = (),
    python: Path = Path(sys.executable),
) -> tuple[list[pd.DataFrame], Latency]:
    """Return the predictions for each table, from one process: to import the libraries takes seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tables = [
            (str(folder / f"rows-{n}.parquet"), str(folder / f"predictions-{n}.parquet"))
            for n in range(len(frames))
        ]
        for frame, (rows, _) in zip(frames, tables, strict=True):
            frame.to_parquet(rows, index=False)
        command = [str(python), "-I", "-B", "-W", "ignore", "-c", CLEAN_PROCESS, str(model.resolve())]
        command += map(json.dumps, (tables, params, list(hidden_modules)))
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, check=False)
        if done.returncode:
            raise PackagingError(
                "a model that loads in a clean process",
                _describe_failure(done.stderr, done.returncode),
                "check the model's requirements",
            )
        output = json.loads(done.stdout.strip().splitlines()[-1])
        if not Path(output["code"]).resolve().is_relative_to(model.resolve()):
            raise PackagingError(
                "the model's own code", output["code"], "remove that `ml` from the Python path"
            )
        latency = Latency(output["milliseconds"], output["latency"])
        return [pd.read_parquet(predictions) for _, predictions in tables], latency


def _describe_failure(stderr: str, code: int) -> str:
    """Return type and place of the exception that ended a process; its text may quote cells of the rows.

    Only the text of a failed import is kept: a name that is no Python identifier is cut.
    """
    lines = stderr.strip().splitlines() or [""]
    kind = re.match(r"(?:\w+\.)*(\w+)(?::|$)", lines[-1])
    if kind is None:
        return f"exit code {code}"
    missing = re.match(r"ModuleNotFoundError: (No module named '[\w.]+')", lines[-1])
    places = re.findall(r'^  File "([^"]+)", line (\d+)', stderr, re.MULTILINE)
    place = f" at {Path(places[-1][0]).name}:{places[-1][1]}" if places else ""
    return missing[1] if missing else f"{kind[1]}{place}"
