"""Outcomes that come late: what was not known is left out, and a run as of an instant sees what it would have seen."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.row_split import GAP, PURGED, TEST, TRAIN, VALID, assign_rows
from ml.errors import ContractError, LeakageError
from tasks.leakage_gate import check_late_outcomes, raise_if_leaking
from tasks.split import Datasets, _require_no_future_rows, split_rows
from tasks.unlabelled_rows import select_rows
from tasks.validate import apply_contract

ROWS = 900
NOW = datetime(2024, 6, 30)
DAYS = 90
COLUMNS = {"id": "integer", "granted": "time", "closed": "time", "income": "number", "defaulted": "category"}


def make_contract(
    known_at: str | None = "closed", split: dict[str, Any] | None = None, **roles: Any
) -> Contract:
    all_roles = {
        "target": {"column": "defaulted", "positive": ["yes"]},
        "id": "id",
        "time": "granted",
        **({"known_at": known_at} if known_at else {"ignored": ["closed"]}),
        **roles,
    }
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": COLUMNS},
        "roles": all_roles,
        "split": {"by": "time", **(split or {})},
    }
    return parse({"name": "toy.loans", "expectations": [], "meta": meta})


def loans(longest: int = DAYS) -> pd.DataFrame:
    """Return loans of two years, each with an outcome that is known 1 to `longest` days later."""
    generator = np.random.default_rng(0)
    granted = pd.Timestamp("2023-01-01") + pd.to_timedelta(
        np.sort(generator.integers(0, 730 * 24, ROWS)), unit="h"
    )
    delay = generator.integers(min(longest, 60), longest + 1, ROWS)
    income = generator.normal(size=ROWS)
    defaulted = generator.random(ROWS) < 1 / (1 + np.exp(-income))
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "granted": granted,
            "closed": granted + pd.to_timedelta(delay, unit="D"),
            "income": income,
            "defaulted": np.where(defaulted, "yes", "no"),
        }
    )


def as_it_was(table: pd.DataFrame, instant: datetime) -> pd.DataFrame:
    """Return the table as it was written at an instant: a loan without an outcome has not defaulted yet."""
    written = table[table["granted"] <= instant].copy()
    running = written["closed"] > instant
    written.loc[running, "closed"] = pd.NaT
    written.loc[running, "defaulted"] = "no"
    return written


def datasets_of(table: pd.DataFrame, contract: Contract, as_of: datetime | None) -> dict[str, pd.DataFrame]:
    clean, *_ = apply_contract(cells(table), contract, as_of=as_of)
    datasets, _ = split_rows(clean, contract)
    return {name: dataset.to_table().reset_index(drop=True) for name, dataset in datasets.items()}


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as it is read from a file."""
    return table.astype("str").where(table.notna())


def differing_rows(a: dict[str, pd.DataFrame], b: dict[str, pd.DataFrame]) -> int:
    """Count the rows of datasets that are not in the same dataset with the same cells."""
    together = [pd.concat([a[name], b[name]], ignore_index=True) for name in (TRAIN, VALID, TEST)]
    return int(sum((~table.duplicated(keep=False)).sum() for table in together))


@pytest.mark.parametrize("month", [3, 6, 12])
def test_a_run_as_of_an_instant_equals_one_that_saw_only_what_was_known_then(month: int) -> None:
    instant = datetime(2024, month, 15, 13)
    table, contract = loans(), make_contract()
    backfilled = datasets_of(table, contract, instant)
    then = datasets_of(as_it_was(table, instant), contract, None)
    for name in (TRAIN, VALID, TEST):
        pd.testing.assert_frame_equal(backfilled[name], then[name])
    # Where the contract does not say when outcomes were known, a backfill learns from what came later.
    naive = make_contract(known_at=None)
    assert (
        differing_rows(
            datasets_of(table, naive, instant), datasets_of(as_it_was(table, instant), naive, None)
        )
        > 10
    )


def test_with_a_horizon_as_well() -> None:
    table, contract = loans(), make_contract(None, {"horizon": DAYS})
    then = as_it_was(table, NOW)
    found = datasets_of(table, contract, NOW)
    for name, expected in datasets_of(then, contract, NOW).items():
        pd.testing.assert_frame_equal(found[name], expected)
    assert differing_rows(found, datasets_of(table, make_contract(None), NOW)) > 10


@pytest.mark.parametrize("as_of", [None, NOW, NOW.replace(tzinfo=UTC)])
def test_rows_without_a_known_outcome_are_excluded_and_counted(as_of: datetime | None) -> None:
    table = as_it_was(loans(), datetime(2024, 11, 1))
    clean, _, excluded, facts = apply_contract(cells(table), make_contract(), as_of=as_of)
    assert facts["clean"] + facts["quarantined"] + facts["excluded"] == len(table)
    instant = NOW if as_of else datetime(2024, 11, 1)
    known = (table["closed"] <= instant) & (table["granted"] <= instant)
    assert len(clean) == known.sum()
    rule = next(rule for rule in facts["rules"] if rule["rule"] == "outcome_known(closed)")
    assert rule["violations"] == ((table["granted"] <= instant) & ~(table["closed"] <= instant)).sum()
    assert (excluded["rule"] == "outcome_known(closed)").sum() == rule["violations"] > 0


def test_with_a_horizon_the_last_days_of_the_table_are_left_out() -> None:
    table = loans()
    clean, *_ = apply_contract(cells(table), make_contract(None, {"horizon": DAYS}))
    assert clean["granted"].max() <= table["granted"].max() - pd.Timedelta(days=DAYS)
    assert len(clean) == (table["granted"] <= table["granted"].max() - pd.Timedelta(days=DAYS)).sum()


def test_invalid_and_impossible_times_of_outcomes_are_quarantined() -> None:
    table = cells(loans())
    table.loc[5, "closed"] = "soon"
    table.loc[6, "closed"] = "2001-01-01"
    # Written without a time of day, an outcome of the same day is not earlier.
    table.loc[7, "closed"] = table.loc[7, "granted"][:10]
    _, quarantine, _, _ = apply_contract(table, make_contract())
    assert dict(zip(quarantine["row"], quarantine["rule"], strict=True)) == {
        5: "type(closed)",
        6: "outcome_after_row(closed)",
    }


@pytest.mark.parametrize("split", [{}, {"horizon": DAYS}, {"horizon": 200}, {"test": 0.1, "valid": 0.4}])
def test_a_gap_stands_before_valid_and_test(split: dict[str, Any]) -> None:
    contract = make_contract(None if "horizon" in split else "closed", split)
    table = loans()
    labels = assign_rows(table, np.zeros(ROWS), np.arange(ROWS, dtype=np.uint64), contract)
    delay = pd.Timedelta(days=split["horizon"]) if "horizon" in split else table["closed"] - table["granted"]
    known, granted = table["granted"] + delay, table["granted"]
    assert (known[labels == TRAIN] < granted[labels == VALID].min()).all()
    assert (known[np.isin(labels, (TRAIN, VALID))] < granted[labels == TEST].min()).all()
    in_time = known < granted[labels == TEST].min()
    assert (labels == TEST).mean() == pytest.approx(contract.split.test, abs=0.01)
    share = contract.split.valid / (1 - contract.split.test)
    assert (labels == VALID).sum() / in_time.sum() == pytest.approx(share, abs=0.01)
    assert set(labels) == {TRAIN, VALID, TEST, GAP}
    assert (granted[labels == GAP] < granted[labels == TEST].min()).all()


def test_the_rows_of_an_entity_stay_together_also_with_a_gap() -> None:
    entity = np.arange(ROWS, dtype=np.uint64) % 300
    labels = assign_rows(loans(), np.zeros(ROWS), entity, make_contract())
    for first, second in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)):
        assert not set(entity[labels == first]) & set(entity[labels == second])
    assert PURGED in labels


def test_the_gap_is_a_fact_of_the_split() -> None:
    contract, table = make_contract(), loans()
    datasets, facts = split_rows(table, contract)
    assert sum(size["rows"] for size in facts["datasets"].values()) + facts["gap"] + facts["purged"] == ROWS
    assert check_late_outcomes(datasets, table, contract) == {"late_outcomes": {}}


def test_a_split_without_a_gap_is_refused() -> None:
    """The leakage gate counts by itself, whichever function made the split."""
    contract, table = make_contract(), loans()
    datasets, facts = split_rows(table, make_contract(known_at=None))
    checks: Any = check_late_outcomes(datasets, table, contract)
    times, known = table["granted"], table["closed"]
    starts = {name: times[datasets[name].frame.index].min() for name in (VALID, TEST)}
    late = {
        f"{a} and {b}": int((known[datasets[a].frame.index] >= starts[b]).sum())
        for a, b in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST))
    }
    assert checks["late_outcomes"] == {pair: count for pair, count in late.items() if count}
    assert late["train and valid"] > 0
    with pytest.raises(LeakageError, match="outcomes that were known before the first row of the next"):
        raise_if_leaking({**facts, "checks": checks})


def test_an_outcome_that_is_known_when_the_next_dataset_begins_is_late() -> None:
    contract = make_contract()
    table = loans().head(3).assign(granted=pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01"]))
    table["closed"] = pd.to_datetime(["2024-02-01", "2024-02-29", "2024-03-02"])

    def dataset(row: int) -> Dataset:
        frame = table[["income"]].iloc[[row]]
        return Dataset(frame, pd.Series([0.0], index=frame.index), np.array([row], dtype=np.uint64))

    datasets: Datasets = {TRAIN: dataset(0), VALID: dataset(1), TEST: dataset(2)}
    assert check_late_outcomes(datasets, table, contract) == {"late_outcomes": {"train and valid": 1}}


def test_other_splits_have_no_gap() -> None:
    contract = make_contract(split={"by": "hash"})
    _, facts = split_rows(loans(), contract)
    assert "gap" not in facts
    assert check_late_outcomes({}, loans(), contract) == {}


def test_outcomes_of_the_future_stop_a_run() -> None:
    with pytest.raises(LeakageError, match="no closed after now"):
        _require_no_future_rows(loans(), make_contract(), datetime(2024, 12, 31, tzinfo=UTC))


def test_models_do_not_see_when_an_outcome_was_known() -> None:
    contract = make_contract()
    assert contract.inputs == ("income",)
    assert "closed" not in select_rows(loans(), contract, 10)
    assert len(
        apply_contract(cells(loans()).drop(columns=["closed", "defaulted"]), contract, scoring=True).clean
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": {"horizon": 90}}, "either the role known_at or meta.split.horizon; got both"),
        ({"known_at": "income"}, "the type time or epoch for the known_at 'income'"),
        ({"split": {"by": "hash"}, "time": None}, "a column with the role time beside known_at"),
        ({"known_at": None, "split": {"horizon": 0}}, "above 0|greater than 0"),
        ({"known_at": None, "split": {"horizon": 1e9}}, "36525"),
    ],
)
def test_contracts_that_do_not_say_when_outcomes_are_known_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        make_contract(**changes)


def test_no_feature_is_computed_from_when_an_outcome_was_known() -> None:
    source = dict(make_contract().source)
    features = {"days": {"kind": "days_between", "columns": ["granted", "closed"]}}
    with pytest.raises(ContractError, match=r"no column with the role known_at in meta\.features"):
        parse({**source, "meta": {**source["meta"], "features": features}})


def test_logs_have_no_late_outcomes() -> None:
    columns = {"user": "category", "item": "category", "at": "time"}
    roles = {"user": "user", "item": "item", "time": "at"}
    for more, message in (
        ({"roles": {**roles, "known_at": "at"}}, "known_at in meta.roles of a table only"),
        ({"roles": roles, "split": {"by": "time", "horizon": 90}}, "only the keys by, test, valid"),
    ):
        meta = {"schema_version": 2, "read": {"files": ["x.csv"], "columns": columns}, **more}
        with pytest.raises(ContractError, match=message):
            parse({"name": "toy.log", "expectations": [], "meta": meta})
