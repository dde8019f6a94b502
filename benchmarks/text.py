"""Quality and costs of candidates for messages: `python -m benchmarks.text --set banking77`. Needs STEWARD_DATA_DIR.

Candidates are fitted on the training rows, of which they set a tenth aside that chooses penalties, temperatures, epochs
and weights. The test rows are scored once, at the end, and choose nothing. Of repeated splits (80/20, equal messages
once), accuracy is the mean over seeds; its interval is that of the test rows of one split (Wilson, 1927). Each fit runs
in a process of its own: CPU seconds are those of the fit with its imports, peak memory that of fit and predictions.
Messages a second are test messages by CPU seconds of one thread, without loading the model; p50 is the median of single
messages, in processor time too, as other work on the machine would lengthen it.

    --few-labels 10    banking77 with ten training rows a class, drawn anew for each seed
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.text_datasets import PUBLISHED, SETS, MessageSplit, few_labels
from ml.estimator import Candidate, FitResources
from ml.tabular.class_prior import ClassPrior
from ml.text.blend import Blend, unspaced_members
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.tfidf_linear import TfidfLinear

LIBRARIES = ("torch", "transformers", "tokenizers", "scikit-learn", "numpy")
CANDIDATES: dict[str, Callable[[], Candidate]] = {
    "prior": ClassPrior,
    "tf-idf": TfidfLinear,
    "frozen": FrozenEncoder,
    "frozen int8": partial(FrozenEncoder, int8=True),
    "fine-tuned": FineTunedEncoder,
    "blend": Blend,
    "tf-idf by class ratio": partial(TfidfLinear, by_class_ratio=True, unspaced_lengths=(1, 5)),
    "unspaced blend": partial(Blend, unspaced_members()),
}
SINGLE_MESSAGES = 100


def measure(split: MessageSplit, candidate: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fit one candidate in a process of its own and score the test rows."""
    arguments = (candidate, split, seed, options.threads, options.seconds)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return dict(pool.apply(_measure, arguments))


def _measure(name: str, split: MessageSplit, seed: int, threads: int, seconds: float) -> dict[str, Any]:
    resources = FitResources(seed, threads, seconds, log_progress=partial(print, "   ", flush=True))
    started, wall = time.process_time(), time.perf_counter()
    model: Any = CANDIDATES[name]().fit(split.train, split.valid.take(np.arange(0)), resources)
    fit_seconds, wall_seconds = time.process_time() - started, time.perf_counter() - wall
    # A model as it is served: from its files, with a first message that loads what is loaded once.
    served = type(model).from_files(model.files())
    served.predict(split.test.frame.iloc[:1])
    started = time.process_time()
    predictions = served.predict(split.test.frame)
    predict_seconds = time.process_time() - started
    singles = []
    for row in range(min(SINGLE_MESSAGES, len(split.test.frame))):
        started = time.process_time()
        served.predict(split.test.frame.iloc[[row]])
        singles.append(time.process_time() - started)
    composition: dict[str, Any] = getattr(model, "composition", dict)()
    names = [member["name"] for member in composition.get("members", ()) if member["weight"]]
    return {
        **_metrics(predictions, split),
        "test_rows": len(predictions),
        "cpu_seconds": fit_seconds,
        "wall_seconds": wall_seconds,
        "messages_per_second": len(predictions) / max(predict_seconds, 1e-9),
        "p50_ms": 1000.0 * float(np.median(singles)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "model_mb": sum(map(len, model.files().values())) / 2**20,
        "stopped_by": getattr(model, "stopped_by", None),
        "members": composition.get("members", []),
        "accuracy_of_members": {
            name: _metrics(part.predict(split.test.frame), split)["accuracy"]
            for name, part in zip(names, getattr(model, "models", ()), strict=True)
        },
    }


def _metrics(predictions: pd.DataFrame, split: MessageSplit) -> dict[str, float]:
    from sklearn.metrics import f1_score

    P, truth = predictions.to_numpy(), split.test.truth.to_numpy().astype(int)
    P = P if split.test.classes else np.hstack([1.0 - P, P])

    predicted = P.argmax(axis=1)
    losses = -np.log(np.maximum(P[np.arange(len(P)), truth], 1e-12))
    confidence = P.max(axis=1)
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.bincount(bins, weights=(predicted == truth) - confidence, minlength=15)
    return {
        "accuracy": float((predicted == truth).mean()),
        "macro_f1": float(f1_score(truth, predicted, average="macro")),
        "log_loss": float(losses.mean()),
        "calibration_error": float(np.abs(gaps).sum() / len(P)),
    }


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of rows."""
    z2 = 1.959964**2
    centre, half = share + z2 / (2 * rows), np.sqrt(z2 * (share * (1 - share) / rows + z2 / (4 * rows**2)))
    return (centre - half) / (1 + z2 / rows), (centre + half) / (1 + z2 / rows)


def format_row(name: str, results: list[dict[str, Any]]) -> str:
    """Return a row of the table; means over splits."""

    def mean(key: str) -> float:
        return float(np.mean([result[key] for result in results]))

    low, high = wilson_interval(mean("accuracy"), int(mean("test_rows")))
    accuracies = ", ".join(f"{result['accuracy']:.4f}" for result in results)
    seeds = "" if len(results) == 1 else f" ({accuracies})"
    cells = [
        name,
        f"{mean('accuracy'):.4f} [{low:.4f}, {high:.4f}]{seeds}",
        f"{mean('macro_f1'):.4f}",
        f"{mean('log_loss'):.3f}",
        f"{mean('calibration_error'):.3f}",
        f"{mean('cpu_seconds'):.0f}",
        f"{mean('messages_per_second'):,.0f}",
        f"{mean('p50_ms'):.1f}",
        f"{mean('peak_mb'):.0f}",
        f"{mean('model_mb'):.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


COLUMNS = (
    *("candidate", "accuracy", "macro F1", "log loss", "calibration error"),
    *("CPU s", "messages/s", "p50 ms", "peak MB", "model MB"),
)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--set", choices=list(SETS), default="banking77")
    parser.add_argument(
        "--candidates", default="prior,tf-idf,frozen,fine-tuned,blend", help="separated by commas"
    )
    parser.add_argument("--seeds", type=int, help="by default 3 for repeated splits, 5 with --few-labels")
    parser.add_argument("--few-labels", type=int, help="training rows of each class of banking77")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="processor seconds per thread of a fit"
    )
    parser.add_argument("--out", type=Path, help="file of JSON lines to add results to")
    options = parser.parse_args()
    unknown = [name for name in options.candidates.split(",") if name not in CANDIDATES]
    if unknown:
        parser.error(f"expected some of {', '.join(CANDIDATES)}; got {', '.join(unknown)}; correct the names")
    return options


def main() -> None:
    """Measure, and print a table with versions and published figures."""
    options = arguments()
    title = options.set
    splits: Iterator[MessageSplit]
    if options.few_labels:
        title = f"banking77, {options.few_labels} a class"
        splits = few_labels(range(options.seeds or 5), options.few_labels)
    else:
        splits = SETS[options.set](range(options.seeds or 3))
    print(f"{title}: python {platform.python_version()}, {options.threads} threads of {os.cpu_count()} cores")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in options.candidates.split(",")}
    for seed, split in enumerate(splits):
        sizes = f"{len(split.train.frame)} rows, test {len(split.test.frame)}"
        print(f"seed {seed}: {sizes}, {split.copies} copies left out", flush=True)
        for name, measured in results.items():
            measured.append(measure(split, name, seed, options))
            print(f"  {name}: {json.dumps(measured[-1])}", flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(
                        json.dumps({"set": title, "seed": seed, "candidate": name, **measured[-1]}) + "\n"
                    )
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for name, measured in results.items():
        print(format_row(name, measured))
    print(f"published: {PUBLISHED.get(title, 'none known with this split')}")


if __name__ == "__main__":
    main()
