"""Evaluate: valid rows choose the leader, test rows judge it once."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import Dataset
from ml.estimator import Model
from ml.evaluation.evaluator import Decision, Evaluator
from ml.evaluation.simulated_optimum import achieved, align
from ml.evaluation.subgroups import subgroups
from ml.serialization import load_model
from tasks.storage.content_store import StoredResult
from tasks.stored_datasets import load_dataset

# The share of runs in which a candidate may lead by chance alone.
FAMILY_ERROR_RATE = 0.05


def load_fitted_model(fitted: StoredResult) -> Model:
    """The model that a fit left in the store."""
    files = {p.name: p.read_bytes() for p in fitted.folder.iterdir() if p.name != "manifest.json"}
    return load_model(fitted.facts["model"], files)


def select_leader(
    predictions: Mapping[str, pd.DataFrame], valid: Dataset, evaluator: Evaluator
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Who leads, of `predictions` in their order, and what each later one was held against.

    One takes the lead only when the paired interval of its advantage over the leader lies above 0: the simplest that
    nothing beats wins. Each comparison is made at such a level, at least 95 %, that all of them together mistake chance
    for an advantage in at most one of twenty runs (Bonferroni; only one end of an interval can make a leader).
    """
    level = max(1.0 - FAMILY_ERROR_RATE, 1.0 - 2.0 * FAMILY_ERROR_RATE / max(len(predictions) - 1, 1))
    leader, *others = predictions
    held: dict[str, dict[str, Any]] = {}
    for name in others:
        difference = evaluator.paired_difference(valid, predictions[name], predictions[leader], level)
        held[name] = {"candidate": leader, **asdict(difference), "level": level}
        leader = name if difference.low > 0 else leader
    return leader, held


@task(name="choose", cache_policy=NO_CACHE)
def choose(
    fitted: Mapping[str, StoredResult], splits: StoredResult, evaluator: Evaluator
) -> list[dict[str, Any]]:
    """The leaderboard on valid rows, from simple to complex; the line with `leads` is the one that `contest` chose."""
    valid = load_dataset(splits, "valid")
    lines: list[dict[str, Any]] = []
    predictions: dict[str, pd.DataFrame] = {}
    for name, stored in fitted.items():
        model = load_fitted_model(stored)
        begun = time.process_time()
        predictions[name] = model.predict(valid.frame)
        milliseconds = 1000 * (time.process_time() - begun)
        decision = evaluator.decision(valid, predictions[name])
        lines.append(
            {
                "candidate": name,
                **asdict(evaluator.primary_interval(valid, predictions[name])),
                "metrics": evaluator.metrics(valid, predictions[name], decision),
                "decision": dict(decision),
                "seconds": stored.facts["seconds"],
                "stopped_by": stored.facts["stopped_by"],
                "made_of": stored.facts["made_of"],
                "megabytes": sum(p.stat().st_size for p in stored.folder.iterdir()) / 1e6,
                "milliseconds_per_1000": 1000 * milliseconds / len(valid.frame),
                "reused": stored.reused,
            }
        )
    leader, held = select_leader(predictions, valid, evaluator)
    for line in lines:
        line["leads"] = line["candidate"] == leader
        if line["candidate"] in held:
            line["against"] = held[line["candidate"]]
    return lines


@task(name="judge", cache_policy=NO_CACHE)
def evaluate_on_test(
    final: StoredResult,
    baseline: StoredResult,
    splits: StoredResult,
    raw: StoredResult,
    evaluator: Evaluator,
    decision: Decision,
    sensitive: tuple[str, ...],
    seed: int,
) -> dict[str, Any]:
    """What the final model and the baseline are worth on rows that neither taught nor chose."""
    test, model = load_dataset(splits, "test"), load_fitted_model(final)
    prediction = model.predict(test.frame)
    metrics = evaluator.metrics(test, prediction, decision)
    found = {
        "rows": len(test.frame),
        "primary": evaluator.primary,
        **asdict(evaluator.primary_interval(test, prediction)),
        "metrics": metrics,
        "intervals": {
            name: asdict(i)
            for name, i in evaluator.metric_intervals(test, prediction, decision, seed).items()
        },
        "curves": evaluator.curves(test, prediction),
        "groups": subgroups(test, prediction, evaluator, decision, sensitive),
        "importance": dict(final.facts["importance"]),
        "baseline": asdict(evaluator.primary_interval(test, load_fitted_model(baseline).predict(test.frame))),
    }
    beside = {
        "about_data": evaluator.data_diagnostics(test),
        "shoppers": evaluator.user_examples(test, prediction, model),
    }
    found |= {name: told for name, told in beside.items() if told}
    if "oracle" in raw.table_names:
        achievable = evaluator.primary_interval(test, align(raw.table("oracle"), test)).value
        found["achievable"] = achievable
        found["achieved"] = achieved(metrics[evaluator.primary], evaluator.chance, achievable)
    return found
