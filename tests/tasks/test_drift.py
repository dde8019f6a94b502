"""The drift gate: what it refuses, warns of and accepts, and that it says where it had nothing to compare with."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.drift.summary import summarize
from ml.errors import DriftError
from ml.simulators import SIMULATORS
from tasks.data_facts import DriftFacts
from tasks.drift import (
    NO_EARLIER_BATCH,
    SUMMARY_FILE,
    Reference,
    compare_batch,
    drift_summary,
    require_no_damage,
    summarize_batch,
)
from tasks.storage.content_store import StageResult, Store

COLUMNS = {"application_id": "category", "age": "number", "loan_amount": "number", "defaulted": "integer"}


def make_contract(**drift: Any) -> Contract:
    roles = {"target": {"column": "defaulted", "positive": ["1"]}, "id": "application_id"}
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": COLUMNS},
        "roles": roles,
        "drift": drift,
    }
    return parse({"name": "toy.loans", "expectations": [], "meta": meta})


def loans(seed: int) -> pd.DataFrame:
    rows = SIMULATORS["lender"](800, seed).rows[list(COLUMNS)]
    return rows.astype({"age": "float64", "loan_amount": "float64", "defaulted": "float64"})


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference("the batch of version 1", summarize(loans(0), make_contract()).to_json())


def compared(rows: pd.DataFrame, reference: Reference, **drift: Any) -> DriftFacts:
    return compare_batch.fn(rows, make_contract(**drift), reference)


def damaged() -> pd.DataFrame:
    rows = loans(1)
    return rows.assign(loan_amount=rows["loan_amount"] * 100, age=rows["age"] + 12)


def test_severe_differences_are_refused_and_moderate_ones_reported(reference: Reference) -> None:
    facts = compared(damaged(), reference)
    assert [(f["column"], f["kind"], f["action"]) for f in facts["findings"]] == [
        ("loan_amount", "unit_change", "refuse"),
        ("age", "distribution", "warn"),
    ]
    message = (
        "expected a batch like the batch of version 1; got loan_amount: unit change, the values are 100 times the"
        " earlier values; correct the data, accept it for once with --accept-drift REASON, or set meta.drift"
    )
    with pytest.raises(DriftError, match=message):
        require_no_damage(facts, None)
    require_no_damage(facts, "pence since June")


def test_the_contract_decides_what_is_refused(reference: Reference) -> None:
    warned = compared(damaged(), reference, actions={"unit_change": "warn"})
    assert [f["action"] for f in warned["findings"]] == ["warn", "warn"]
    require_no_damage(warned, None)
    exceptions = {"loan_amount": "in pence since June"}
    assert [f["column"] for f in compared(damaged(), reference, exceptions=exceptions)["findings"]] == ["age"]


def test_a_clean_batch_and_the_same_batch_pass(reference: Reference) -> None:
    facts = compared(loans(1), reference)
    assert (facts["compared"], facts["findings"], facts["rows_before"]) == (True, [], 800)
    assert drift_summary(facts) == "no difference beyond chance from the batch of version 1"
    same = compare_batch.fn(loans(0), make_contract(), reference, summary=reference.summary)
    assert same["unchanged"]
    assert drift_summary(same) == "the same rows as the batch of version 1"


def test_a_first_batch_is_not_compared() -> None:
    facts = compared(damaged(), NO_EARLIER_BATCH)
    assert (facts["compared"], drift_summary(facts)) == (False, "no earlier batch")
    require_no_damage(facts, None)


def test_a_summary_of_another_format_is_named() -> None:
    facts = compared(damaged(), Reference("the batch of version 1", b'{"format": 2}'))
    assert not facts["compared"]
    assert drift_summary(facts) == "the batch of version 1, whose summary this version cannot read"


def test_a_summary_is_stored_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    clean = store.get_or_compute("clean", lambda: StageResult({"clean": loans(0)}, {}))
    first = summarize_batch.fn(clean, make_contract(), store)
    assert first.file(SUMMARY_FILE) == summarize(loans(0), make_contract()).to_json()
    assert summarize_batch.fn(clean, make_contract(), store).reused
