"""How good recommenders are, and what they cost: `python -m benchmarks.recommendation`. Needs STEWARD_DATA_DIR.

Every measure is over the full catalogue, items of the history left out (unless the contract lets them return), ties
counted as half. `cover` is the share of the catalogue that anyone is shown in ten, `novel` the mean self-information of
these in bits, `unlike` the mean of 1 - cosine between the ten of a list. Each fit is a process of its own.

Protocols: `last` foretells each user's last event (leave-one-out); "like for like" learns nothing from the event before
it and is shown it, as published models are, "all before" learns from it too. `time` foretells what came after an
instant; `session` the last event of later sessions; `any` a basket's item left out by a hash; `random` a quarter of
each user's events, as Microsoft Recommenders does.

Values are means over seeds of means over users, ± half of their 95 % intervals over users; differences are paired by
user. A result that is found under the same key in --out (data, model, variant, seed, code of ml/ and libraries) is not
made again.
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

from benchmarks import exams, recommenders
from benchmarks.tabular import code_of, processor
from flows import ecommerce_recommendation
from ml.data.digest import digest_of
from ml.evaluation.confidence_intervals import mean_difference, mean_interval

# Where models are declared, and how they are asked.
DECLARED = (str(recommenders.__file__), str(ecommerce_recommendation.__file__))
LIBRARIES = ("numpy", "scipy", "implicit", "lightgbm", "torch", "pandas")
# Those whose answer hangs on a seed.
CHANCE = ("ALS", "re-ranked", "transformer", recommenders.WITH_TRANSFORMER, recommenders.DIVERSE)
MEASURES = {
    f"{name}@{k}": f"{column}@{k}"
    for name, column in (("NDCG", "ndcg"), ("HR", "hit_rate"), ("MRR", "mrr"))
    for k in recommenders.DEPTHS
}
# NDCG@10 (HR@10) of others, in the same protocol.
PUBLISHED = {
    ("last", "movielens_1m"): (
        "BERT4Rec .1537 (.2843), gSASRec .1726 (.3003), eSASRec .1772 (.3133), SASRec with full cross-entropy "
        ".1821 (.3152), with 3,000 negatives .1857 (.3159)"
    ),
    ("last", "amazon_toys_games"): "SASRec with sampled softmax, and eSASRec .0580 (.0970)",
    ("last", "amazon_sports_outdoors"): "SASRec with sampled softmax, and eSASRec .0323 (.0569)",
    (
        "random",
        "movielens_100k",
    ): "BiVAE .4751, BPR .4420, LightGCN .4198, NCF .3961, SAR .3825, ALS on Spark .0442",
}


def measure(exam: exams.Exam, asked: argparse.Namespace) -> dict[tuple[str, str], dict[str, Any]]:
    """By variant and model: `users`, a measure of each user as its mean over seeds, and the costs, likewise."""
    found = {}
    for variant, learn in exam.learn.items():
        for model in asked.models.split(","):
            seeds = range(asked.seeds) if model in CHANCE else range(1)
            made = [_run(exam, variant, learn, model, seed, asked) for seed in seeds]
            runs = [run for run in made if run]
            if not runs:
                continue
            users = {name: np.mean([run["users"][name] for run in runs], axis=0) for name in runs[0]["users"]}
            costs = {
                name: float(np.mean([run[name] for run in runs]))
                for name, value in runs[0].items()
                if isinstance(value, float)
            }
            found[variant, model] = {"users": users, **costs, "seeds": len(runs)}
    return found


def _run(
    exam: exams.Exam, variant: str, learn: Any, model: str, seed: int, asked: argparse.Namespace
) -> dict[str, Any] | None:
    """One fit, made or found; None where the model does not suit the table."""
    about = {
        "exam": exam.digest,
        "protocol": exam.protocol,
        "variant": variant,
        "model": model,
        "seed": seed,
        "seconds": asked.seconds,
        "code": code_of(model),
        "declared": [hashlib.sha256(Path(one).read_bytes()).hexdigest() for one in DECLARED],
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    kept = asked.out / digest_of(about)[:24]
    if not (kept / "costs.json").exists():
        _fit(exam, learn, about, kept, asked)
        told = json.loads((kept / "costs.json").read_text())
        said = told.get("refused") or f"{told['fit_seconds']:.0f} s"
        print(f"{exam.set}, {variant}, {model}, seed {seed}: {said}", file=sys.stderr, flush=True)
    costs: dict[str, Any] = json.loads((kept / "costs.json").read_text())
    if "refused" in costs:
        return None
    return {**costs, "users": pd.read_parquet(kept / recommenders.USERS)}


def _fit(exam: exams.Exam, learn: Any, about: dict[str, Any], kept: Path, asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        learn.table().to_parquet(folder / "learn.parquet")
        exam.test.to_table().to_parquet(folder / "test.parquet")
        told = {name: getattr(exam.test, name) for name in ("repeat", "blocked", "decay", "asked")}
        spec = {**about, "threads": asked.threads, **told}
        (folder / "spec.json").write_text(json.dumps(spec))
        (folder / "items.json").write_text(json.dumps(exam.test.item_attributes))
        command = [sys.executable, "-m", "benchmarks.recommenders", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        kept.mkdir(parents=True, exist_ok=True)
        if done.returncode and "CandidateSkipped" in done.stderr:
            (kept / "costs.json").write_text(json.dumps({"refused": done.stderr.strip().splitlines()[-1]}))
            return
        if done.returncode:
            raise SystemExit(
                f"expected {about['model']} to end well, got:\n{done.stderr[-2000:]}\nWhat was measured is kept in "
                f"{asked.out}: say the same again to go on"
            )
        for name in (recommenders.USERS, "costs.json"):
            (kept / name).write_bytes((folder / name).read_bytes())


def text(exam: exams.Exam, found: dict[tuple[str, str], dict[str, Any]], reference: str) -> str:
    """The table of one exam, and the paired differences to the reference model."""
    users = len(exam.test.frame)
    lines = [f"{exam.set}, by {exam.protocol}: {users:,} users asked; data {exam.digest[:12]}"]
    if published := PUBLISHED.get((exam.protocol, exam.set)):
        lines.append(f"  published, NDCG@10 (HR@10): {published}")
    for variant in exam.learn:
        own = {model: line for (of, model), line in found.items() if of == variant}
        lines.append(f"  {variant:<29}" + "".join(f"{name:<15}" for name in MEASURES).rstrip())
        lines += [f"    {model:<27}{_measures(line)}" for model, line in own.items()]
        lines.append(" " * 31 + "cover  novel  unlike  seeds  fit s  ask s  one ms  peak MB")
        lines += [f"    {model:<27}{_costs(line)}" for model, line in own.items()]
        best = found.get((variant, reference))
        for (of, model), line in found.items():
            if of == variant and best and model != reference and model.startswith(("re-ranked", "trans")):
                gap = mean_difference(line["users"]["ndcg@10"], best["users"]["ndcg@10"])
                told = f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] p {gap.p_value:.3f}"
                lines.append(f"    {model} less {reference}, NDCG@10: {told}")
    return "\n".join(lines) + "\n"


def _measures(line: dict[str, Any]) -> str:
    """Each measure as a mean over users, and half of its 95 % interval."""
    own = [mean_interval(line["users"][column]) for column in MEASURES.values()]
    return " ".join(f"{one.value:.4f} ±{(one.high - one.low) / 2:.4f}" for one in own)


def _costs(line: dict[str, Any]) -> str:
    return (
        f"{line['coverage']:5.2f}  {line['novelty']:5.1f}  {line['diversity']:6.3f}  {line['seeds']:5d}  "
        f"{line['fit_seconds']:5.0f}  {line['ask_seconds']:5.1f}  {line['one_ms']:6.1f}  {line['peak_mb']:7.0f}"
    )


def best_simple(found: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The model of most NDCG@10 that neither ranks anew nor is a network."""
    worth: dict[str, float] = {}
    for (_, model), line in found.items():
        if not model.startswith(("re-ranked", "trans")):
            worth[model] = max(worth.get(model, 0.0), float(line["users"]["ndcg@10"].mean()))
    return max(worth, key=lambda model: worth[model], default="")


def arguments() -> argparse.Namespace:
    """The command line, each name in it checked."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recommendation",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    every = ",".join(f"{protocol}/{name}" for protocol, names in exams.SETS.items() for name in names)
    usual = [
        m
        for m in recommenders.MODELS
        if m not in (recommenders.WITH_TRANSFORMER, recommenders.EASE_CHOSEN, recommenders.DIVERSE)
    ]
    parser.add_argument("--sets", default=every, help="protocol/set with commas between; by default all")
    parser.add_argument(
        "--models", default=",".join(usual), help="likewise; all: " + ", ".join(recommenders.MODELS)
    )
    parser.add_argument("--seeds", type=int, default=3, help="of models that have chance; by default 3")
    parser.add_argument("--threads", type=int, default=cores, help="of each fit; by default all cores")
    parser.add_argument("--seconds", type=float, default=1200.0, help="that a fit may use; by default 1200")
    parser.add_argument("--out", type=Path, default=Path("recommendation"), help="folder to go on with")
    asked = parser.parse_args()
    for names, known in ((asked.sets, every.split(",")), (asked.models, recommenders.MODELS)):
        unknown = [name for name in names.split(",") if name not in known]
        if unknown:
            parser.error(f"expected some of {', '.join(known)}; got {', '.join(unknown)}")
    return asked


def main() -> None:
    """Measure what is asked for, and print it with what it was measured on."""
    asked = arguments()
    print(f"python {platform.python_version()}, {asked.threads} of {os.cpu_count()} cores, {processor()}")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES) + f", ml/ {code_of('ml')[:12]}")
    print(f"seeds 0 to {asked.seeds - 1}; at most {asked.seconds:g} s a fit\n")
    for one in asked.sets.split(","):
        exam = exams.load(*one.split("/"))
        found = measure(exam, asked)
        print(text(exam, found, best_simple(found)), flush=True)


if __name__ == "__main__":
    main()
