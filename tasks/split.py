"""Split: parts that teach, choose and judge, and the gate that stops an exam from leaking."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.leakage import FORETELLS, foretelling, shared_entities
from ml.data.row_split import PURGED, TEST, TRAIN, VALID, answers, divide, entities
from ml.errors import LeakageError
from ml.interactions import event_log, next_item_split
from ml.interactions.datasets import about_users, judging_part, learning_part
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.stored_datasets import dataset_settings

Parts = dict[str, Dataset]
SplitFunction = Callable[[pd.DataFrame, Contract], tuple[Parts, dict[str, Any]]]


@task(name="split", cache_policy=NO_CACHE)
def split(
    clean: StoredResult, contract: Contract, how: SplitFunction, now: datetime, store: Store
) -> StoredResult:
    """Parts train, valid, test (and `refit`, where the final model may learn from more than train).

    A side table of items goes along as the part `items`. Raises LeakageError. The check against `now` (UTC) is made
    in every run: a day later it may pass.
    """
    key = key_of(
        "split",
        Path(__file__),
        ("pandas", "numpy"),
        clean=clean.digest,
        contract=contract.source,
        how=how.__name__,
    )

    def make() -> StageResult:
        begun = time.perf_counter()
        parts, facts = how(rows, contract)
        _refuse_empty(parts, contract)
        facts["policy"] = {**asdict(contract.split), "unit": _unit(contract)}
        facts |= dataset_settings(contract)
        facts["checks"] = {**facts.get("checks", {}), **_checks(parts, contract)}
        tables = {name: part.to_table() for name, part in parts.items()}
        if "items" in clean.table_names:
            tables["items"] = clean.table("items")
            facts["items"] = _listed(tables["items"], rows[str(contract.roles.item)])
        return StageResult(tables, {**facts, "seconds": time.perf_counter() - begun})

    rows = clean.table("clean")
    _refuse_future(rows, contract, now)
    stored = store.get_or_compute(key, make)
    _refuse_leaks(stored.facts)
    return stored


def split_rows(rows: pd.DataFrame, contract: Contract) -> tuple[Parts, dict[str, Any]]:
    """One row, one case: by hash, within classes, by time or by site, as the contract says."""
    truth = answers(rows, contract)
    entity = entities(rows, contract)
    labels = divide(rows, truth.to_numpy(), entity, contract)
    roles = contract.roles
    judging = list(dict.fromkeys(c for c in (*roles.sensitive, roles.site, roles.id) if c))

    def part(name: str) -> Dataset:
        mine = np.flatnonzero(labels == name)
        frame, about = rows[list(contract.features)].iloc[mine], rows[judging].iloc[mine]
        return Dataset(frame, truth.iloc[mine], entity[mine], about)

    parts = {name: part(name) for name in (TRAIN, VALID, TEST)}
    return parts, {**_sizes(parts), "purged": int((labels == PURGED).sum())}


def split_histories(rows: pd.DataFrame, contract: Contract) -> tuple[Parts, dict[str, Any]]:
    """The log divided by `ml.interactions.next_item_split` as the contract says: what is learned, and what has
    to be foretold from what.

    `refit` is all that may be known before the test, for the model that will be judged on the test part.
    """
    events = event_log.log(rows, contract)
    exams = next_item_split.divide(events, contract.split)
    about = about_users(rows, contract)
    parts = {
        TRAIN: learning_part(exams.valid.learned, contract),
        VALID: judging_part(exams.valid.shown, exams.valid.following, about, contract),
        TEST: judging_part(exams.test.shown, exams.test.following, about, contract),
        "refit": learning_part(exams.test.learned, contract),
    }
    asked = {VALID: exams.valid.following, TEST: exams.test.following}
    facts = {
        "cuts": [str(pd.Timestamp(s, unit="s")) for s in exams.cuts],
        "catalogue": int(events["item"].nunique()),
        "simultaneous_events": _simultaneous(rows, events, contract),
        # Users whose next items are all in their histories, where items do not return.
        "nothing_new": {name: int(e["user"].nunique()) - len(parts[name].frame) for name, e in asked.items()},
        "reaches_past_the_answers": contract.split.by in ("last", "any"),
        "checks": {"histories_reaching_into_the_test": _late(parts[TEST], events, exams.cuts, contract)},
    }
    return parts, {**_sizes(parts), **facts}


def _listed(items: pd.DataFrame, had: pd.Series) -> dict[str, int]:
    """How many items of the side table have attributes, how many of these nobody had, and how many have none."""
    known = set(items["item"][items["attribute"].notna()])
    return {
        "listed": int(items["item"].nunique()),
        "with_attributes": len(known),
        "new": len(known - set(had)),
        "had_without": len(set(had) - known),
    }


def _simultaneous(rows: pd.DataFrame, events: pd.DataFrame, contract: Contract) -> float:
    """The share of events whose order says nothing: among all where time divides them, else within their user."""
    if contract.split.by == "time":
        return float((events["seconds"].diff().iloc[1:] == 0).mean()) if len(events) > 1 else 0.0
    return event_log.together(rows, contract)


def _late(test: Dataset, events: pd.DataFrame, cuts: tuple[float, ...], contract: Contract) -> int:
    """Histories of the test that hold what has to be foretold: events after the cut, or as many as their user has."""
    if contract.split.by == "time":
        return int(sum(((t and t[-1]) or -np.inf) >= cuts[-1] for t in test.frame["times"]))
    had = events["user"].value_counts()
    return int((test.frame["items"].map(len).to_numpy() >= had.reindex(test.frame["user"]).to_numpy()).sum())


def _unit(contract: Contract) -> str:
    """The column whose values stay together; empty where rows stand for themselves."""
    roles = contract.roles
    return roles.user or roles.group or roles.id or ""


def _sizes(parts: Parts) -> dict[str, Any]:
    sizes: dict[str, dict[str, float]] = {
        name: {"rows": len(part.frame), "units": len(np.unique(part.units))} for name, part in parts.items()
    }
    for name, part in parts.items():
        if part.truth.dtype != object and len(part.truth):
            sizes[name]["mean"] = float(part.truth.mean())
    return {"parts": sizes}


def _checks(parts: Parts, contract: Contract) -> dict[str, Any]:
    """What any split function has to leave true of rows; users of a log are in several parts by intent."""
    if contract.is_recommendation:
        return {} if contract.roles.repeat else {"answers_in_their_histories": _known_answers(parts)}
    strong = {c: auc for c, auc in foretelling(parts[TRAIN], parts[VALID]).items() if auc > FORETELLS}
    return {
        "shared_entities": dict(shared_entities(parts)),
        "foretelling": {c: auc for c, auc in strong.items() if c not in contract.foretelling},
    }


def _known_answers(parts: Parts) -> int:
    """Users of valid and test with an answer that is in their own history."""
    return sum(
        not set(items).isdisjoint(answer)
        for part in (parts[VALID], parts[TEST])
        for items, answer in zip(part.frame["items"], part.truth, strict=True)
    )


def _refuse_future(rows: pd.DataFrame, contract: Contract, now: datetime) -> None:
    if contract.roles.time and contract.roles.time in rows.columns:
        instant = pd.Timestamp(now)
        instant = instant.tz_convert(None) if instant.tzinfo else instant
        late = int((rows[contract.roles.time] > instant).sum())
        if late:
            raise LeakageError(
                f"no {contract.roles.time} after now, {instant:%Y-%m-%d %H:%M} UTC",
                f"{late} of {len(rows)} rows",
                "correct the dates, or this machine's clock",
            )


def _refuse_empty(parts: Parts, contract: Contract) -> None:
    for name in (TRAIN, VALID, TEST):
        part = parts[name]
        kinds = part.truth.nunique() if part.truth.dtype != object else min(len(part.truth), 2)
        if not len(part.frame) or ((name != TRAIN or part.truth.dtype != object) and kinds < 2):
            raise LeakageError(
                f"rows with at least two different answers in {name}",
                f"{len(part.frame)} rows with {kinds}",
                f"bring more data, or change meta.split of {contract.name}",
            )


def _refuse_leaks(facts: Mapping[str, Any]) -> None:
    checks = facts["checks"]
    if checks.get("shared_entities"):
        raise LeakageError(
            "no entity in two parts", f"{checks['shared_entities']}", "set meta.roles.group", facts
        )
    if checks.get("histories_reaching_into_the_test"):
        count = checks["histories_reaching_into_the_test"]
        raise LeakageError(
            "histories that end before the test", f"{count} that do not", "check the times", facts
        )
    if checks.get("answers_in_their_histories"):
        count = checks["answers_in_their_histories"]
        raise LeakageError(
            "answers that are not in the history before them, as items do not return",
            f"{count} that are",
            "set meta.roles.repeat where items do return",
            facts,
        )
    strong = checks.get("foretelling", {})
    if strong:
        found = ", ".join(f"{column} (AUC {auc:.4f})" for column, auc in strong.items())
        raise LeakageError(
            f"no single column with an AUC above {FORETELLS}",
            found,
            "ignore the column in meta.roles, or allow it with a reason in meta.foretelling",
            facts,
        )
