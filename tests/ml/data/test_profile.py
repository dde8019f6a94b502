"""Profile of a table: robust ranges, odd values, and nothing that identifies a person."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.roles import Roles
from ml.data.profile import ColumnProfile, profile_columns
from ml.data.role_notes import role_notes

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(100.0, 10.0, 2000)
TOWNS = RNG.choice(["Bath", "York", "Ely"], 2000)


def profile(
    values: Any, kind: str = "number", codes: tuple[float, ...] = (), key: bool = False
) -> ColumnProfile:
    frame = pd.DataFrame({"c": pd.Series(values, dtype="str" if kind == "category" else None)})
    return profile_columns(frame, {"c": kind}, {"c": codes}, ["c"] if key else [])[0]


def test_a_range_hides_at_least_ten_rows_on_each_side() -> None:
    for rows in (50, 500, 2000):
        found = profile(NUMBERS[:rows])
        assert found.low is not None
        assert found.high is not None
        assert min((NUMBERS[:rows] < found.low).sum(), (NUMBERS[:rows] > found.high).sum()) >= 9
        assert found.median == pytest.approx(np.median(NUMBERS[:rows]), rel=1e-4)
        # An odd number of rows has the value of one row as its median.
        odd = profile(NUMBERS[: rows + 1])
        assert not {odd.low, odd.median, odd.high} & set(NUMBERS)
    assert profile(NUMBERS[:40]).low is None


def test_of_texts_only_lengths_are_measured() -> None:
    texts = pd.Series([f"my name is Jane-Doe-{n} " + "x" * (n % 50) for n in range(2000)], dtype="str")
    (found,) = profile_columns(pd.DataFrame({"c": texts}), {"c": "category"}, {}, texts=["c"])
    assert (found.type, found.distinct, found.notes) == ("text", 2000, [])
    assert found.median == pytest.approx(texts.str.len().median(), abs=1)
    assert "Jane" not in json.dumps(asdict(found))


def test_classes_without_rows_or_with_few_are_noted() -> None:
    roles = Roles.model_validate({"target": {"column": "y", "labels": ["a", "b", "c", 7, "d"]}})
    rows = pd.DataFrame({"y": pd.Series(["a"] * 50 + ["b"] * 9 + ["7"] * 10, dtype="str")})
    assert role_notes(rows, roles) == {"y": ["of 5 classes, without a row: 2, with fewer than 10 rows: 1"]}
    two = Roles.model_validate({"target": {"column": "y", "labels": ["a", 7]}})
    assert role_notes(rows, two) == {}


def test_no_value_of_a_category_or_a_key_is_part_of_the_profile() -> None:
    words = pd.Series(TOWNS).mask(pd.Series(range(2000)) < 3, "Jane-Doe-4711")
    text = json.dumps(asdict(profile(words, "category")))
    assert not any(word in text for word in ("Jane", "Bath", "York"))
    assert profile(range(5000, 7000), "integer", key=True).low is None


@pytest.mark.parametrize(
    ("values", "kind", "note"),
    [
        (np.where(RNG.random(2000) < 0.05, -999.0, NUMBERS), "number", "-999 in"),
        (np.where(RNG.random(2000) < 0.05, 9999.0, NUMBERS), "number", "9999 in"),
        (np.where(RNG.random(2000) < 0.3, 100.0, 1.0) * NUMBERS, "number", "two scales"),
        (np.full(2000, 7.0), "number", "the same value in all rows"),
        (np.where(np.arange(2000) < 4, 3.0, 7.0), "number", "all but fewer than 10 rows"),
        (np.where(np.arange(2000) < 1500, np.nan, NUMBERS), "number", "75% missing"),
        ([None] * 2000, "category", "no value at all"),
        (np.where(RNG.random(2000) < 0.2, "bath", TOWNS), "category", "1 values are spelt in several ways"),
        (np.where(RNG.random(2000) < 0.2, "York ", TOWNS), "category", "case or white space"),
        ([f"note {i}" for i in range(2000)], "category", "an identifier or free text?"),
        (np.where(np.arange(2000) < 40, "x", "17"), "category", "are numbers, the others text"),
    ],
)
def test_odd_values_are_noted(values: Any, kind: str, note: str) -> None:
    assert any(note in found for found in profile(values, kind).notes)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NUMBERS, "number"),
        (np.exp(RNG.normal(7, 1, 2000)), "number"),
        (RNG.integers(18, 100, 2000), "integer"),
        (RNG.poisson(1.0, 2000), "integer"),
        (np.where(RNG.random(2000) < 0.5, 0.0, np.exp(RNG.normal(7, 1, 2000))), "number"),
        (TOWNS, "category"),
        (RNG.integers(0, 20, 2000).astype(str), "category"),
        ([], "number"),
        ([], "category"),
    ],
)
def test_usual_columns_have_no_notes(values: Any, kind: str) -> None:
    assert [note for note in profile(values, kind).notes if "no value" not in note] == []


def test_declared_codes_and_keys_are_not_odd() -> None:
    coded = np.where(RNG.random(2000) < 0.05, -999.0, NUMBERS)
    assert profile(coded, codes=(-999.0,)).notes == []
    assert profile([f"P{i}" for i in range(2000)], "category", key=True).notes == []


def test_equal_columns_are_noted() -> None:
    frame = pd.DataFrame({"a": NUMBERS, "b": NUMBERS, "c": NUMBERS[::-1], "d": 1.0, "e": 1.0})
    found = profile_columns(frame, dict.fromkeys("abcde", "number"), {})
    assert [p.column for p in found if any("equal to the column a" in note for note in p.notes)] == ["b"]


def roles(**given: Any) -> Roles:
    return Roles.model_validate(given)


def test_default_dates_and_third_labels_are_noted() -> None:
    times = pd.Series(pd.date_range("2024-01-01", periods=200, freq="D"))
    table = roles(target={"column": "y", "positive": ["1"]}, time="day")
    clean = pd.DataFrame({"day": times, "y": np.tile([0, 1], 100)})
    assert role_notes(clean, table) == {}
    odd = pd.DataFrame(
        {"day": times.mask(times.index < 5, pd.Timestamp("1900-01-01")), "y": np.arange(200) % 3}
    )
    notes = role_notes(odd, table)
    assert "before 1971" in notes["day"][0]
    assert "3 values" in notes["y"][0]
    old = clean.assign(day=pd.date_range("1920-01-01", periods=200, freq="D"))
    assert role_notes(old, table) == {}


def test_copied_histories_and_programs_are_noted() -> None:
    rng = np.random.default_rng(0)
    log = pd.DataFrame(
        {"user": np.repeat([f"U{i}" for i in range(60)], 6), "item": rng.integers(0, 50, 360).astype(str)}
    )
    log["at"] = pd.date_range("2024-01-01", periods=360, freq="h")
    shop = roles(user="user", item="item", time="at")
    assert role_notes(log, shop) == {}
    copies = log[log["user"].isin(["U0", "U1", "U2"])].assign(user=lambda f: f["user"] + "x")
    assert "exactly the history of another user" in role_notes(pd.concat([log, copies]), shop)["user"][0]
    assert (
        "a program?" in role_notes(log.assign(user=log["user"].where(log.index > 90, "U59")), shop)["user"][0]
    )
