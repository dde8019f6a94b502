"""A batch against the summary of an earlier one: each kind of damage is found and named, clean batches are not."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.drift.compare import Scope, compare
from ml.drift.summary import BatchSummary, from_json, summarize

Change = Callable[[pd.DataFrame], pd.DataFrame]


def make_contract(**drift: Any) -> Contract:
    columns = {
        "id": "category",
        "day": "time",
        "income": "number",
        "age": "integer",
        "score": "number",
        "grade": "category",
        "region": "category",
        "bad": "integer",
    }
    roles = {"target": {"column": "bad", "positive": ["1"]}, "id": "id", "time": "day"}
    meta = {"schema_version": 2, "read": {"files": ["x.csv"], "columns": columns}, "roles": roles}
    return parse({"name": "toy.loans", "expectations": [], "meta": {**meta, "drift": drift}})


def loans(seed: int, rows: int = 1500) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    income, age = rng.lognormal(10.0, 0.6, rows), rng.integers(18, 80, rows).astype(float)
    grade = rng.choice(["A", "B", "C"], rows, p=[0.5, 0.3, 0.2])
    risk = -1.0 - 1.2 * (np.log(income) - 10) + pd.Series(grade).map({"A": -1, "B": 0, "C": 1.5}).to_numpy()
    return pd.DataFrame(
        {
            "id": pd.Series([f"{seed}-{i}" for i in range(rows)], dtype="str"),
            "day": pd.Timestamp("2025-01-01")
            + pd.to_timedelta(seed * 30 + rng.integers(0, 30, rows), unit="D"),
            "income": income,
            "age": age,
            "score": 0.5 * age + rng.normal(size=rows),
            "grade": pd.Series(grade, dtype="str"),
            "region": pd.Series(rng.choice(["north", "south", "east"], rows), dtype="str"),
            "bad": (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(float),
        }
    )


@pytest.fixture(scope="module")
def reference() -> BatchSummary:
    return summarize(loans(0), make_contract())


def found(
    reference: BatchSummary, batch: pd.DataFrame, contract: Contract | None = None
) -> dict[tuple[str, str], bool]:
    """Return kind and column of each finding, and whether it is severe."""
    findings = compare(reference, batch, contract or make_contract())
    return {(finding.kind, finding.column): finding.severe for finding in findings}


def mostly_missing(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(income=frame["income"].mask(np.arange(len(frame)) % 5 < 3))


def flipped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(bad=1 - frame["bad"])


@pytest.mark.parametrize(
    ("kind", "column", "change"),
    [
        ("missing_values", "income", mostly_missing),
        ("unit_change", "income", lambda f: f.assign(income=f["income"] * 100)),
        ("distribution", "age", lambda f: f.assign(age=f["age"] % 5)),
        (
            "out_of_range",
            "income",
            lambda f: f.assign(income=f["income"].where(np.arange(len(f)) % 9 > 0, 1e9)),
        ),
        ("constant", "age", lambda f: f.assign(age=40.0)),
        ("constant", "grade", lambda f: f.assign(grade="A")),
        ("constant", "day", lambda f: f.assign(day=f["day"].max())),
        ("swapped_columns", "income", lambda f: f.rename(columns={"income": "score", "score": "income"})),
        ("swapped_columns", "grade", lambda f: f.rename(columns={"grade": "region", "region": "grade"})),
        ("category_spelling", "region", lambda f: f.assign(region=f["region"].str.upper())),
        ("category_spelling", "region", lambda f: f.assign(region=f["region"] + " ")),
        ("new_categories", "grade", lambda f: f.assign(grade=f["grade"].replace("A", "AAA"))),
        ("vanished_categories", "region", lambda f: f[f["region"] != "north"]),
        ("column_relations", "score", lambda f: f.assign(score=f["score"].to_numpy()[::-1])),
        ("row_count", "", lambda f: f.head(100)),
        ("inverted_labels", "bad", flipped),
        ("label_relation", "bad", lambda f: f.assign(bad=f["bad"].to_numpy()[::-1])),
        ("target_shares", "bad", lambda f: f.assign(bad=f["bad"].where(np.arange(len(f)) % 9 > 6, 1.0))),
        ("time_range", "day", lambda f: f.assign(day=f["day"] - pd.Timedelta(days=20_000))),
        ("time_range", "day", lambda f: f.assign(day=f["day"] - pd.Timedelta(days=120))),
    ],
)
def test_severe_damage_is_found(reference: BatchSummary, kind: str, column: str, change: Change) -> None:
    assert found(reference, change(loans(1))).get((kind, column)) is True


@pytest.mark.parametrize(
    ("kind", "column", "change"),
    [
        ("missing_values", "income", lambda f: f.assign(income=f["income"].mask(np.arange(len(f)) % 7 == 0))),
        ("distribution", "income", lambda f: f.assign(income=f["income"] * 1.6)),
        ("category_shares", "region", lambda f: f[(f["region"] != "north") | (np.arange(len(f)) % 7 == 0)]),
        (
            "new_categories",
            "grade",
            lambda f: f.assign(grade=f["grade"].mask(np.arange(len(f)) % 9 == 0, "D")),
        ),
        ("row_count", "", lambda f: f.head(500)),
        ("time_range", "day", lambda f: f.assign(day=f["day"] - pd.Timedelta(days=50))),
    ],
)
def test_moderate_differences_are_reported(
    reference: BatchSummary, kind: str, column: str, change: Change
) -> None:
    assert found(reference, change(loans(1))).get((kind, column)) is False


@pytest.mark.parametrize("rows", [40, 200, 1500])
def test_clean_batches_have_no_findings(rows: int) -> None:
    for seed in range(4):
        before = summarize(loans(2 * seed, rows), make_contract())
        assert compare(before, loans(2 * seed + 1, rows), make_contract()) == []


def test_a_small_batch_is_compared_with_a_large_one(reference: BatchSummary) -> None:
    small = loans(1, 40)
    assert found(reference, small) == {("row_count", ""): True}
    assert compare(reference, small, make_contract(), Scope(rows=False)) == []
    damaged = compare(reference, mostly_missing(small), make_contract(), Scope(rows=False))
    assert [(finding.kind, finding.severe) for finding in damaged] == [("missing_values", True)]


def test_rows_to_score_need_no_labels(reference: BatchSummary) -> None:
    batch = loans(1).drop(columns="bad")
    assert compare(reference, batch, make_contract(), Scope(labels=False, rows=False)) == []


def test_exceptions_and_ignored_kinds_are_not_compared(reference: BatchSummary) -> None:
    damaged = loans(1).assign(income=1.0, grade="A")
    assert {column for _, column in found(reference, damaged)} >= {"income", "grade"}
    contract = make_contract(exceptions={"income": "changes every month"}, actions={"constant": "ignore"})
    assert not {("constant", "income"), ("constant", "grade")} & set(found(reference, damaged, contract))


def test_a_summary_survives_json_and_has_no_rows() -> None:
    rows = loans(0, 300)
    summary = summarize(rows, make_contract())
    data = summary.to_json()
    assert from_json(data) == summary
    assert len(data) < 20_000
    text = data.decode()
    assert not any(f'"{name}"' in text for name in rows["id"])
    assert set(json.loads(text)["numbers"]["income"]["cuts"]).isdisjoint(rows["income"])


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": 2}', b"\xff"])
def test_other_bytes_are_no_summary(data: bytes) -> None:
    assert from_json(data) is None


def test_findings_quote_no_cells(reference: BatchSummary) -> None:
    batch = loans(1).assign(region="secret town", age=987654.0)
    assert not any(
        cell in finding.text
        for finding in compare(reference, batch, make_contract())
        for cell in ("secret", "987654")
    )


def purchases(seed: int, users: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    counts = rng.geometric(0.15, users)
    user = np.repeat([f"{seed}-{i}" for i in range(users)], counts)
    item = rng.choice([f"i{n}" for n in range(40)], len(user), p=np.arange(40, 0, -1) / 820)
    at = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 30 * 86_400, len(user)), unit="s")
    return pd.DataFrame(
        {"user": pd.Series(user, dtype="str"), "item": pd.Series(item, dtype="str"), "at": at}
    )


LOG = parse(
    {
        "name": "toy.log",
        "expectations": [],
        "meta": {
            "schema_version": 2,
            "read": {"files": ["x.csv"], "columns": {"user": "category", "item": "category", "at": "time"}},
            "roles": {"user": "user", "item": "item", "time": "at"},
        },
    }
)


@pytest.mark.parametrize(
    ("kind", "column", "severe", "change"),
    [
        ("events_per_user", "user", True, lambda f: f.assign(user=[f"u{i}" for i in range(len(f))])),
        (
            "events_per_user",
            "user",
            True,
            lambda f: f.assign(user=f["user"].mask(np.arange(len(f)) % 2 == 0, "x")),
        ),
        ("new_items", "item", True, lambda f: f.assign(item="n" + f["item"])),
        (
            "new_items",
            "item",
            False,
            lambda f: f.assign(item=f["item"].mask(np.arange(len(f)) % 3 == 0, "new")),
        ),
        ("silent_period", "at", True, lambda f: f[~f["at"].dt.day.between(10, 23)]),
        ("silent_period", "at", False, lambda f: f[~f["at"].dt.day.isin([10])]),
        ("distribution", "at", False, lambda f: f.assign(at=f["at"].dt.normalize() + pd.Timedelta(hours=3))),
    ],
)
def test_damage_of_logs_is_found(kind: str, column: str, severe: bool, change: Change) -> None:
    findings = compare(summarize(purchases(0), LOG), change(purchases(1)), LOG)
    assert (kind, column, severe) in [(f.kind, f.column, f.severe) for f in findings]


def test_clean_logs_have_no_findings() -> None:
    for seed in range(4):
        assert compare(summarize(purchases(2 * seed), LOG), purchases(2 * seed + 1), LOG) == []


def test_a_log_with_more_or_fewer_events_has_no_silent_period() -> None:
    """The longest pause of few events is long, and not a fault: it is compared in units of the mean one too."""
    reference = summarize(purchases(0), LOG)
    for users in (20, 3000):
        kinds = {finding.kind for finding in compare(reference, purchases(1, users), LOG)}
        assert kinds <= {"row_count"}


def many_items(seed: int) -> pd.DataFrame:
    """Return a log of 120 items whose shares differ by a factor of 120."""
    rng = np.random.default_rng(seed)
    log = purchases(seed, 1500)
    items = rng.choice([f"i{n}" for n in range(120)], len(log), p=np.arange(120, 0, -1) / 7260)
    return log.assign(item=pd.Series(items, dtype="str"))


def exchanged_items(log: pd.DataFrame) -> pd.DataFrame:
    items = np.sort(log["item"].unique())
    return log.assign(
        item=log["item"].map(dict(zip(items, np.random.default_rng(0).permutation(items), strict=True)))
    )


def test_items_that_exchanged_their_numbers_are_found() -> None:
    reference = summarize(many_items(0), LOG)
    assert compare(reference, many_items(1), LOG) == []
    (finding,) = compare(reference, exchanged_items(many_items(1)), LOG)
    assert (finding.kind, finding.column, finding.severe) == ("item_shares", "item", True)


def test_items_whose_order_is_chance_are_not_compared() -> None:
    """Of equally frequent items every order is chance: neither their number nor their shares show an exchange."""
    rng = np.random.default_rng(3)
    for items in (10, 400):
        logs = [
            purchases(seed).assign(item=lambda f: pd.Series(rng.integers(0, items, len(f)), dtype="str"))  # noqa: B023
            for seed in (0, 1)
        ]
        assert "item_shares" not in {
            finding.kind for finding in compare(summarize(logs[0], LOG), logs[1], LOG)
        }


def test_log_summaries_of_earlier_versions_are_compared_by_what_they_have() -> None:
    earlier = json.loads(summarize(many_items(0), LOG).to_json())
    del earlier["pauses"], earlier["log"]["shares"]
    read = from_json(json.dumps(earlier).encode())
    assert read
    batch = exchanged_items(many_items(1))
    kinds = {finding.kind for finding in compare(read, batch[~batch["at"].dt.day.between(10, 23)], LOG)}
    assert kinds == {"events_per_user"}
