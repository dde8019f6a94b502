"""Quality and costs of recommenders: `python -m benchmarks.recommendation`. Needs STEWARD_DATA_DIR.

All metrics are over the full catalogue, without items of the history (unless the contract allows repeats), ties counted
as half. `cover` is the share of the catalogue in any top ten, `novel` the mean self-information of the items there in
bits, `unlike` the mean of 1 - cosine between the items of a top ten. Each fit runs in a process of its own.

Protocols: `last` predicts the last event of each user (leave-one-out): "like for like" does not train on the event
before it, which is in the history, as in published results; "all before" trains on it too. `time` predicts what came
after an instant; `session` the last event of later sessions; `random_last_out` an item of each basket, chosen by a
hash; `random` a quarter of each user's events, as Microsoft Recommenders does.

Values are means over seeds of means over users, ± half of their 95 % intervals. The intervals add the variance between
users and that between seeds; with one seed they are over users only. Differences are paired by user and seed. A set
with `:no-attributes` hides the attributes of items from models; published models had none. A result in --out with the
same key (data, model, variant, seed, code of ml/ and libraries) is not computed again.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import recommender_fit
from benchmarks.next_item_splits import NO_ATTRIBUTES, SETS, NextItemSplit, load_split
from benchmarks.seed_intervals import seeds_interval
from benchmarks.tabular import code_of, processor
from flows import ecommerce_recommendation
from ml.data.dataset import Dataset
from ml.data.digest import json_digest

# Where candidates are declared: results depend on these files besides `ml/`.
DECLARATIONS = (str(recommender_fit.__file__), str(ecommerce_recommendation.__file__))
LIBRARIES = ("numpy", "scipy", "implicit", "lightgbm", "torch", "pandas")
# Models that depend on the seed.
RANDOM_MODELS = (
    "ALS",
    "reranker",
    recommender_fit.TRANSFORMER,
    recommender_fit.WITH_TRANSFORMER,
    recommender_fit.DIVERSIFIED,
)
# Not measured by default.
OPTIONAL_MODELS = (
    recommender_fit.WITH_TRANSFORMER,
    recommender_fit.REVERSED_MARKOV,
    recommender_fit.TUNED_EASE,
    recommender_fit.DIVERSIFIED,
)
METRICS = {
    f"{name}@{k}": f"{column}@{k}"
    for name, column in (("NDCG", "ndcg"), ("HR", "hit_rate"), ("MRR", "mrr"))
    for k in recommender_fit.DEPTHS
}
# NDCG@10 (HR@10) of others, in the same protocol; docs/results-recommendation.md names the tables.
PUBLISHED = {
    ("last", "movielens_1m"): (
        "BERT4Rec .1537 (.2843), eSASRec .1772 (.3133), SASRec with full cross-entropy "
        ".1821 (.3152), with 3,000 negatives .1857 (.3159)"
    ),
    ("last", "amazon_toys_games"): "SASRec with sampled softmax .0580 (.0970), eSASRec .0538 (.0939)",
    ("last", "amazon_sports_outdoors"): "eSASRec .0323 (.0560), SASRec with sampled softmax .0314 (.0569)",
    (
        "random",
        "movielens_100k",
    ): "BiVAE .4751, BPR .4420, LightGCN .4198, NCF .3961, SAR .3825, ALS on Spark .0442",
}


Results = dict[tuple[str, str], dict[str, Any]]


def measure(split: NextItemSplit, options: argparse.Namespace) -> Results:
    """Return by variant and model: metrics by seed and user in `users`, (seeds, users), and averaged costs."""
    results = {}
    for variant, train in split.train.items():
        if options.variant not in (None, variant):
            continue
        for model in options.models.split(","):
            seeds = range(options.seeds) if model in RANDOM_MODELS else range(1)
            all_runs = [_result(split, variant, train, model, seed, options) for seed in seeds]
            runs = [run for run in all_runs if run]
            if not runs:
                continue
            users = {name: np.stack([run["users"][name] for run in runs]) for name in runs[0]["users"]}
            costs = {
                name: float(np.mean([run[name] for run in runs]))
                for name, value in runs[0].items()
                if isinstance(value, float)
            }
            results[variant, model] = {"users": users, **costs, "seeds": len(runs)}
    return results


def _result(
    split: NextItemSplit, variant: str, train: Dataset, model: str, seed: int, options: argparse.Namespace
) -> dict[str, Any] | None:
    """Compute the result of one fit, or read it from --out; None if the candidate was skipped."""
    inputs = {
        "split": split.digest,
        "protocol": split.protocol,
        "variant": variant,
        "model": model,
        "seed": seed,
        "seconds": options.seconds,
        "code": code_of(model),
        "declarations": [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in DECLARATIONS],
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    folder = options.out / json_digest(inputs)[:24]
    if not (folder / "costs.json").exists():
        _fit(split, train, inputs, folder, options)
        costs = json.loads((folder / "costs.json").read_text())
        summary = costs.get("skipped") or f"{costs['fit_seconds']:.0f} s"
        print(f"{split.set}, {variant}, {model}, seed {seed}: {summary}", file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads((folder / "costs.json").read_text())
    if "skipped" in result:
        return None
    return {**result, "users": pd.read_parquet(folder / recommender_fit.USERS)}


def _fit(
    split: NextItemSplit, train: Dataset, inputs: dict[str, Any], result: Path, options: argparse.Namespace
) -> None:
    """Run a fit in a process of its own, and write its result to the folder `result`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train.to_table().to_parquet(folder / "train.parquet")
        split.test.to_table().to_parquet(folder / "test.parquet")
        settings = ("allow_repeats", "never_recommend", "decay", "split_by")
        spec = {
            **inputs,
            "threads": options.threads,
            **{name: getattr(split.test, name) for name in settings},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        (folder / "items.json").write_text(json.dumps(split.test.item_attributes))
        command = [sys.executable, "-m", "benchmarks.recommender_fit", str(folder)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        result.mkdir(parents=True, exist_ok=True)
        if process.returncode and "CandidateSkipped" in process.stderr:
            skipped = {"skipped": process.stderr.strip().splitlines()[-1]}
            (result / "costs.json").write_text(json.dumps(skipped))
            return
        if process.returncode:
            raise SystemExit(
                f"expected a fit of {inputs['model']}; got:\n{process.stderr[-2000:]}\nResults so far are in "
                f"{options.out}: repeat the command to continue"
            )
        for name in (recommender_fit.USERS, "costs.json"):
            (result / name).write_bytes((folder / name).read_bytes())


def format_results(split: NextItemSplit, results: Results, reference: str) -> str:
    """Format the table of one split, and paired differences to the reference model."""
    lines = [
        f"{split.set}, by {split.protocol}: {len(split.test.frame):,} test users; data {split.digest[:12]}"
    ]
    if published := PUBLISHED.get((split.protocol, split.set.partition(":")[0])):
        lines.append(f"  published, NDCG@10 (HR@10): {published}")
    for variant in dict.fromkeys(variant for variant, _ in results):
        by_model = {model: result for (name, model), result in results.items() if name == variant}
        lines.append(f"  {variant:<29}" + "".join(f"{name:<15}" for name in METRICS).rstrip())
        lines += [f"    {model:<27}{_format_metrics(result)}" for model, result in by_model.items()]
        lines.append(" " * 31 + "cover  novel  unlike  seeds  fit s  ask s  one ms  peak MB")
        lines += [f"    {model:<27}{_format_costs(result)}" for model, result in by_model.items()]
        if reference not in by_model:
            continue
        reference_ndcg = by_model[reference]["users"]["ndcg@10"]
        for model, result in by_model.items():
            if not _is_simple(model):
                # A model without randomness has one seed, which is that of each of the other's.
                gap = seeds_interval(result["users"]["ndcg@10"] - reference_ndcg[: result["seeds"]])
                interval = f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
                lines.append(f"    {model} less {reference}, NDCG@10: {interval}")
    return "\n".join(lines) + "\n"


def _format_metrics(result: dict[str, Any]) -> str:
    """Format each metric as its mean over users and half of its 95 % interval."""
    intervals = [seeds_interval(result["users"][column]) for column in METRICS.values()]
    return " ".join(f"{found.value:.4f} ±{(found.high - found.low) / 2:.4f}" for found in intervals)


def _format_costs(result: dict[str, Any]) -> str:
    return (
        f"{result['coverage']:5.2f}  {result['novelty']:5.1f}  {result['diversity']:6.3f}  "
        f"{result['seeds']:5d}  {result['fit_seconds']:5.0f}  {result['predict_seconds']:5.1f}  "
        f"{result['single_user_ms']:6.1f}  {result['peak_mb']:7.0f}"
    )


def _is_simple(model: str) -> bool:
    """Check that a model neither reranks nor is a network."""
    return not model.startswith(("reranker", "transformer"))


def best_simple_model(results: Results) -> str:
    """Return the simple model with the highest NDCG@10 of any variant; "" without simple models."""
    ndcg: dict[str, float] = {}
    for (_, model), result in results.items():
        if _is_simple(model):
            ndcg[model] = max(ndcg.get(model, 0.0), float(result["users"]["ndcg@10"].mean()))
    return max(ndcg, key=lambda model: ndcg[model], default="")


def arguments() -> argparse.Namespace:
    """Parse the command line and check the names in it."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recommendation",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    sets = [f"{protocol}/{name}" for protocol, names in SETS.items() for name in names]
    variants = [f"{name}:{NO_ATTRIBUTES}" for name in sets if ":" not in name]
    models = recommender_fit.MODELS
    default_models = [model for model in models if model not in OPTIONAL_MODELS]
    parser.add_argument(
        "--sets", default=",".join(sets), help="PROTOCOL/SET, separated by commas; by default all"
    )
    parser.add_argument(
        "--models", default=",".join(default_models), help="likewise; all: " + ", ".join(models)
    )
    parser.add_argument("--variant", help="'like for like' or 'all before'; by default both")
    parser.add_argument("--seeds", type=int, default=3, help="of models that depend on it; by default 3")
    parser.add_argument("--threads", type=int, default=cores, help="of each fit; by default all cores")
    parser.add_argument("--seconds", type=float, default=1200.0, help="time limit of a fit; by default 1200")
    parser.add_argument(
        "--out", type=Path, default=Path("recommendation"), help="folder of results to reuse and to add to"
    )
    options = parser.parse_args()
    for names, valid_names in ((options.sets, sets + variants), (options.models, models)):
        unknown = [name for name in names.split(",") if name not in valid_names]
        if unknown:
            parser.error(
                f"expected some of {', '.join(valid_names)}; got {', '.join(unknown)}; correct the names"
            )
    return options


def main() -> None:
    """Measure, and print results with versions and hardware."""
    options = arguments()
    print(f"python {platform.python_version()}, {options.threads} of {os.cpu_count()} cores, {processor()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", ml/ {code_of('ml')[:12]}")
    print(f"seeds 0 to {options.seeds - 1}; at most {options.seconds:g} s a fit\n")
    for name in options.sets.split(","):
        protocol, _, set_name = name.partition("/")
        split = load_split(protocol, set_name)
        results = measure(split, options)
        print(format_results(split, results, best_simple_model(results)), flush=True)


if __name__ == "__main__":
    main()
