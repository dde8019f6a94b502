"""Evaluate: valid rows choose the leader, test rows judge it once."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import Part
from ml.estimator import Model
from ml.evaluation.evaluator import Decision, Judge
from ml.evaluation.simulated_optimum import achieved, align
from ml.evaluation.subgroups import subgroups
from ml.serialization import load_model
from tasks.storage.content_store import Stored
from tasks.stored_datasets import part_of

# The share of runs in which a candidate may lead by chance alone.
ERRORS = 0.05


def model_of(fitted: Stored) -> Model:
    """The model that a fit left in the store."""
    files = {p.name: p.read_bytes() for p in fitted.folder.iterdir() if p.name != "manifest.json"}
    return load_model(fitted.facts["model"], files)


def contest(
    predictions: Mapping[str, pd.DataFrame], part: Part, judge: Judge
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Who leads, of `predictions` in their order, and what each later one was held against.

    One takes the lead only when the paired interval of its advantage over the leader lies above 0: the simplest that
    nothing beats wins. Each comparison is made at such a level, at least 95 %, that all of them together mistake chance
    for an advantage in at most one of twenty runs (Bonferroni; only one end of an interval can make a leader).
    """
    level = max(1.0 - ERRORS, 1.0 - 2.0 * ERRORS / max(len(predictions) - 1, 1))
    leader, *others = predictions
    held: dict[str, dict[str, Any]] = {}
    for name in others:
        difference = judge.difference(part, predictions[name], predictions[leader], level)
        held[name] = {"candidate": leader, **asdict(difference), "level": level}
        leader = name if difference.low > 0 else leader
    return leader, held


@task(name="choose", cache_policy=NO_CACHE)
def choose(fitted: Mapping[str, Stored], parts: Stored, judge: Judge) -> list[dict[str, Any]]:
    """The leaderboard on valid rows, from simple to complex; the line with `leads` is the one that `contest` chose."""
    valid = part_of(parts, "valid")
    lines: list[dict[str, Any]] = []
    predictions: dict[str, pd.DataFrame] = {}
    for name, stored in fitted.items():
        model = model_of(stored)
        begun = time.process_time()
        predictions[name] = model.predict(valid.frame)
        milliseconds = 1000 * (time.process_time() - begun)
        decision = judge.decide(valid, predictions[name])
        lines.append(
            {
                "candidate": name,
                **asdict(judge.interval(valid, predictions[name])),
                "metrics": judge.measure(valid, predictions[name], decision),
                "decision": dict(decision),
                "seconds": stored.facts["seconds"],
                "stopped_by": stored.facts["stopped_by"],
                "made_of": stored.facts["made_of"],
                "megabytes": sum(p.stat().st_size for p in stored.folder.iterdir()) / 1e6,
                "milliseconds_per_1000": 1000 * milliseconds / len(valid.frame),
                "reused": stored.reused,
            }
        )
    leader, held = contest(predictions, valid, judge)
    for line in lines:
        line["leads"] = line["candidate"] == leader
        if line["candidate"] in held:
            line["against"] = held[line["candidate"]]
    return lines


@task(name="judge", cache_policy=NO_CACHE)
def judge_on_test(
    final: Stored,
    baseline: Stored,
    parts: Stored,
    raw: Stored,
    judge: Judge,
    decision: Decision,
    sensitive: tuple[str, ...],
    seed: int,
) -> dict[str, Any]:
    """What the final model and the baseline are worth on rows that neither taught nor chose."""
    test, model = part_of(parts, "test"), model_of(final)
    prediction = model.predict(test.frame)
    metrics = judge.measure(test, prediction, decision)
    found = {
        "rows": len(test.frame),
        "primary": judge.primary,
        **asdict(judge.interval(test, prediction)),
        "metrics": metrics,
        "intervals": {
            name: asdict(i) for name, i in judge.intervals(test, prediction, decision, seed).items()
        },
        "curves": judge.curves(test, prediction),
        "groups": subgroups(test, prediction, judge, decision, sensitive),
        "importance": dict(final.facts["importance"]),
        "baseline": asdict(judge.interval(test, model_of(baseline).predict(test.frame))),
    }
    beside = {"about_data": judge.about_data(test), "shoppers": judge.examples(test, prediction, model)}
    found |= {name: told for name, told in beside.items() if told}
    if "oracle" in raw.parts:
        achievable = judge.interval(test, align(raw.part("oracle"), test)).value
        found["achievable"] = achievable
        found["achieved"] = achieved(metrics[judge.primary], judge.chance, achievable)
    return found
