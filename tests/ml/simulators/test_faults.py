"""Faults of simulated tables: each changes what it says, from a seed, and leaves the rest of the table as it is."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ml.simulators import SIMULATORS
from ml.simulators.faults import FAULTS, FILE_FAULTS, TABLE_FAULTS, faulty_file, faulty_table
from ml.simulators.table_faults import COLUMNS

FAULTS_OF_ROWS = [
    (simulator, f) for simulator in SIMULATORS for f in FAULTS[simulator] if f not in FILE_FAULTS
]


@pytest.fixture(params=COLUMNS)
def simulator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def clean(simulator: str) -> pd.DataFrame:
    return SIMULATORS[simulator](400, 3).rows


@pytest.mark.parametrize(("simulator", "fault"), FAULTS_OF_ROWS)
def test_a_fault_is_reproduced_by_its_seed_and_keeps_the_columns(simulator: str, fault: str) -> None:
    rows = clean(simulator)
    before = rows.copy()
    damaged = faulty_table(rows, simulator, fault, 5)
    assert_frame_equal(damaged, faulty_table(rows, simulator, fault, 5))
    assert_frame_equal(rows, before)
    assert list(damaged.columns) == list(rows.columns)
    assert not damaged.equals(rows)


def changed_columns(simulator: str, fault: str) -> set[str]:
    rows = clean(simulator)
    damaged = faulty_table(rows, simulator, fault, 0)
    assert len(damaged) == len(rows)
    return {column for column in rows if not damaged[column].equals(rows[column])}


def test_faults_of_one_column_change_no_other(simulator: str) -> None:
    columns = COLUMNS[simulator]
    target = {columns.target}
    assert {fault: changed_columns(simulator, fault) for fault in TABLE_FAULTS if fault not in OF_ROWS} == {
        "null-spike": {columns.required},
        "swapped-columns": {*columns.exchanged},
        "unit-change": {columns.amount},
        "shifted-decimal": {columns.bounded},
        "target-leak": {columns.leaking},
        "future-times": {columns.time},
        "late-column": {columns.rated},
        "stale-data": {columns.time},
        "infinities": {columns.bounded},
        "unbounded-categories": {columns.codes},
        **dict.fromkeys(
            ("label-noise", "flipped-labels", "one-class", "concept-drift", "biased-labels"), target
        ),
    }


OF_ROWS = ("duplicated-rows", "vanished-category", "vanished-group", "covariate-drift")


def test_faults_of_rows_add_copies_or_leave_rows_out(simulator: str) -> None:
    rows, columns = clean(simulator), COLUMNS[simulator]
    both = faulty_table(rows, simulator, "duplicated-rows", 0)
    assert len(both) == len(rows) + len(rows) // 3
    assert both[columns.ids[0]].is_unique
    assert both[columns.time].is_monotonic_increasing
    kept = [column for column in rows if column not in (*columns.ids, columns.time)]
    assert both[kept].duplicated().sum() >= len(rows) // 3
    assert set(faulty_table(rows, simulator, "vanished-group", 0)[columns.group]) == {"male"}
    fewer = faulty_table(rows, simulator, "vanished-category", 0)
    assert set(fewer[columns.category]) < set(rows[columns.category])
    older = faulty_table(rows, simulator, "covariate-drift", 0)
    assert older[columns.ageing].min() >= rows[columns.ageing].median()


def test_a_leak_keeps_the_values_of_its_column_and_nearly_separates_the_target(simulator: str) -> None:
    rows, columns = clean(simulator), COLUMNS[simulator]
    leaking = faulty_table(rows, simulator, "target-leak", 0)[columns.leaking]
    filled = rows[columns.leaking].fillna(rows[columns.leaking].median())
    assert np.array_equal(np.sort(leaking), np.sort(filled))
    positive = rows[columns.target] == columns.positive
    assert leaking[positive].median() > leaking[~positive].quantile(0.95)


def test_labels_keep_their_number_where_only_their_rows_change(simulator: str) -> None:
    rows, target = clean(simulator), COLUMNS[simulator].target
    for fault in ("label-noise", "concept-drift"):
        assert sorted(faulty_table(rows, simulator, fault, 0)[target]) == sorted(rows[target])
    assert faulty_table(rows, simulator, "one-class", 0)[target].nunique() == 1
    again = faulty_table(faulty_table(rows, simulator, "flipped-labels", 0), simulator, "flipped-labels", 0)
    assert again[target].equals(rows[target])


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_faults_of_files_are_bytes_that_cannot_be_read_as_they_are(simulator: str) -> None:
    assert {*FILE_FAULTS} <= {*FAULTS[simulator]}
    rows = clean(simulator)
    whole = rows.to_csv(index=False).encode()
    with pytest.raises(UnicodeDecodeError):
        faulty_file(rows, simulator, "encoding-damage", 0).decode()
    cut = faulty_file(rows, simulator, "truncated-file", 0)
    assert whole.startswith(cut)
    assert cut.splitlines()[-1] not in whole.splitlines()


def test_a_bot_buys_as_much_as_all_users_together() -> None:
    rows = clean("shop")
    both = faulty_table(rows, "shop", "bot-events", 0)
    bot = both[both["user"] == "U9999999"]
    assert len(bot) == len(rows) == len(both) // 2
    assert set(bot["bought_at"].diff().dropna().dt.total_seconds()) == {1.0}
    assert both["bought_at"].is_monotonic_increasing


def test_days_that_are_delivered_twice_are_two_whole_weeks_of_copies() -> None:
    rows = clean("shop")
    again = faulty_table(rows, "shop", "duplicated-days", 0)
    copies = again[again.duplicated()]
    assert len(copies) == len(again) - len(rows) > 0
    days = copies["bought_at"].max() - copies["bought_at"].min()
    assert days <= pd.Timedelta(days=14)


def test_sessions_are_merged_and_divided_without_losing_an_event() -> None:
    rows = clean("shop")
    merged = faulty_table(rows, "shop", "merged-sessions", 0)
    assert merged["user"].nunique() == -(-rows["user"].nunique() // 20)
    divided = faulty_table(rows, "shop", "divided-sessions", 0)
    assert divided["user"].nunique() == len(
        rows.assign(day=rows["bought_at"].dt.date)[["user", "day"]].drop_duplicates()
    )
    for changed in (merged, divided):
        assert changed.drop(columns="user").equals(rows.drop(columns="user"))


def test_the_clock_of_one_channel_alone_is_ahead() -> None:
    rows = clean("shop")
    shifted = faulty_table(rows, "shop", "shifted-clock", 0)
    assert set(shifted.loc[shifted["bought_at"].dt.year > 2090, "channel"]) == {"app"}
    assert (shifted["bought_at"].dt.year > 2090).sum() == (rows["channel"] == "app").sum()


def test_a_template_is_pasted_into_half_of_the_messages() -> None:
    rows = clean("mailbox")
    pasted = faulty_table(rows, "mailbox", "pasted-template", 0)
    assert pasted["message_id"].is_unique
    assert (pasted["text"] == rows["text"][0]).sum() >= len(rows) == len(pasted) // 2


def test_labels_of_messages_are_exchanged_or_in_the_text() -> None:
    rows = clean("mailbox")
    exchanged = faulty_table(rows, "mailbox", "exchanged-labels", 0)
    known = rows["intent"] != "out_of_scope"
    assert (exchanged["intent"] != rows["intent"]).equals(known)
    assert exchanged.groupby("intent").size().sum() == len(rows)
    leaked = faulty_table(rows, "mailbox", "leaked-label", 0)
    assert all(label in text for label, text in zip(rows["intent"], leaked["text"], strict=True))
