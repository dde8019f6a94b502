"""Faults of simulated tables: each changes what it says, from a seed, and leaves the rest of the table as it is."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ml.simulators import SIMULATORS
from ml.simulators.faults import (
    FAULTS,
    FILE_FAULTS,
    SIMULATORS_WITH_FAULTS,
    TABLE_FAULTS,
    faulty_file,
    faulty_table,
)
from ml.simulators.table_faults import COLUMNS


@pytest.fixture(params=SIMULATORS_WITH_FAULTS)
def simulator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def clean(simulator: str) -> pd.DataFrame:
    return SIMULATORS[simulator](400, 3).rows


@pytest.mark.parametrize("fault", TABLE_FAULTS)
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


def test_faults_of_files_are_bytes_that_cannot_be_read_as_they_are(simulator: str) -> None:
    assert set(FAULTS) == {*TABLE_FAULTS, *FILE_FAULTS}
    rows = clean(simulator)
    whole = rows.to_csv(index=False).encode()
    with pytest.raises(UnicodeDecodeError):
        faulty_file(rows, simulator, "encoding-damage", 0).decode()
    cut = faulty_file(rows, simulator, "truncated-file", 0)
    assert whole.startswith(cut)
    assert cut.splitlines()[-1].count(b",") < whole.splitlines()[0].count(b",")
