"""How numbers and times are written is found from the cells, and the contract reads them as they are meant."""

import numpy as np
import pandas as pd
import pytest

from ml.data.casting import TEXT_DTYPE, cast_columns
from ml.drafting.draft import Draft
from ml.drafting.request import CaseKind, DraftRequest
from ml.drafting.table import draft_table
from ml.drafting.written import find_written

ROWS = 300
RNG = np.random.default_rng(0)
AMOUNTS = np.round(np.exp(RNG.normal(7, 1.5, ROWS)), 2)
RATES = np.round(RNG.random(ROWS) * 9, 2)
DAYS = pd.Series(pd.date_range("2023-01-01", periods=ROWS, freq="1D"))
TARGET = np.where(RNG.random(ROWS) < 0.3, "yes", "no")


def texts(cells: object) -> pd.Series:
    return pd.Series(cells, dtype=TEXT_DTYPE)


def written(numbers: np.ndarray, decimal: str, thousands: str) -> pd.Series:
    marks = str.maketrans({",": thousands, ".": decimal})
    return texts([f"{number:,.2f}".translate(marks) for number in numbers])


def drafted(frame: pd.DataFrame, separator: str = ",") -> Draft:
    read = {"files": ["t.csv"], "separator": separator}
    return draft_table(frame, DraftRequest(CaseKind("fintech-risk"), "t", read, target="bad"))


@pytest.mark.parametrize(
    ("decimal", "thousands"),
    [(".", ","), (",", "."), (",", " "), (",", ""), (".", "'"), (",", "\u00a0"), (".", "")],
)
def test_marks_are_found_and_the_contract_reads_the_numbers(decimal: str, thousands: str) -> None:
    frame = pd.DataFrame(
        {
            "amount": written(AMOUNTS, decimal, thousands),
            "rate": written(RATES, decimal, ""),
            "bad": texts(TARGET),
        }
    )
    read = drafted(frame).contract.read
    assert (read.decimal, read.thousands) == (decimal, thousands)
    assert read.columns == {"amount": "number", "rate": "number", "bad": "category"}
    typed, invalid = cast_columns(frame, read.columns, read)
    assert not invalid
    assert np.array_equal(typed["amount"], AMOUNTS)
    assert np.array_equal(typed["rate"], RATES)


def test_large_amounts_with_thousands_are_not_taken_for_invalid_cells() -> None:
    amounts = np.where(np.arange(ROWS) % 50 == 0, 1200.5, RATES)
    assert find_written(pd.DataFrame({"amount": written(amounts, ".", ",")})).read == {"thousands": ","}


def test_a_few_other_cells_change_no_marks() -> None:
    cells = written(RATES, ".", "")
    cells.iloc[:3] = "1,5"
    assert find_written(pd.DataFrame({"rate": cells})).read == {}
    # Neither do labels, versions, addresses and lists.
    others = {"version": "1.2.3", "address": "10.0.0.1", "list": "1,2,3", "label": "1 a"}
    frame = pd.DataFrame({name: texts([cell] * ROWS) for name, cell in others.items()})
    assert find_written(frame).read == {}


def test_groups_of_three_digits_after_a_comma_are_doubtful() -> None:
    frame = pd.DataFrame({"size": texts([f"{1 + i % 9},{i:03}" for i in range(ROWS)])})
    found = find_written(frame)
    assert found.read == {"thousands": ","}
    assert found.proposals[0].review
    assert find_written(frame, ";").read == {"decimal": ","}


def test_a_column_with_other_marks_is_a_category_with_a_doubt() -> None:
    frame = pd.DataFrame(
        {
            "a": written(AMOUNTS, ",", ""),
            "b": written(RATES, ",", ""),
            "c": written(RATES, ".", ""),
            "bad": texts(TARGET),
        }
    )
    draft = drafted(frame, ";")
    assert draft.contract.read.decimal == ","
    assert draft.contract.read.columns["c"] == "category"
    assert any(doubt.place == "read.columns.c" and "other marks" in doubt.reason for doubt in draft.doubts)


@pytest.mark.parametrize(
    "form",
    [
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%d.%m.%y",
        "%Y/%m/%d",
        "%d-%b-%Y",
        "%B %d, %Y",
        "%d/%m/%Y %H:%M",
        "%m/%d/%y %H:%M:%S",
    ],
)
def test_formats_of_dates_are_found(form: str) -> None:
    frame = pd.DataFrame(
        {"on": texts(DAYS.dt.strftime(form)), "rate": written(RATES, ".", ""), "bad": texts(TARGET)}
    )
    contract = drafted(frame).contract
    assert contract.read.date_formats == {"on": form}
    assert (contract.roles.time, contract.split.by) == ("on", "time")
    typed, invalid = cast_columns(frame, contract.read.columns, contract.read)
    assert not invalid
    assert (typed["on"] == DAYS).all()


def test_day_or_month_first_is_asked_where_both_fit() -> None:
    both = find_written(
        pd.DataFrame({"on": texts([f"{1 + i % 12:02}/{1 + i % 11:02}/2024" for i in range(ROWS)])})
    )
    assert both.read == {"date_formats": {"on": "%d/%m/%Y"}}
    assert both.proposals[0].doubt == 0.9
    # The first day of each month.
    monthly = find_written(
        pd.DataFrame({"on": texts([f"{1 + i % 12:02}/01/{2000 + i // 12}" for i in range(ROWS)])})
    )
    assert monthly.read == {"date_formats": {"on": "%m/%d/%Y"}}


def test_iso_dates_need_no_format() -> None:
    assert find_written(pd.DataFrame({"on": texts(DAYS.dt.strftime("%Y-%m-%d"))})).read == {}
