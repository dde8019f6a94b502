"""All simulators: seeds, sizes, types, and an oracle in the form of predictions."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ml.simulators import SIMULATORS

ALLOWED_TYPES = {"str", "int64", "float64", "datetime64[s]"}


@pytest.fixture(params=sorted(SIMULATORS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_there_is_one_simulator_per_use_case() -> None:
    assert set(SIMULATORS) == {"hospital", "lender", "mailbox", "shop"}


def test_tables_are_reproduced_by_their_seed_and_differ_between_seeds(name: str) -> None:
    simulate = SIMULATORS[name]
    first, again, other = simulate(300, 7), simulate(300, 7), simulate(300, 8)
    assert_frame_equal(first.rows, again.rows)
    assert_frame_equal(first.oracle, again.oracle)
    assert not first.rows.equals(other.rows)
    assert not first.oracle.equals(other.oracle)


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 61, 1000])
def test_the_number_of_rows_is_exact(name: str, rows: int) -> None:
    simulation = SIMULATORS[name](rows, 1)
    assert len(simulation.rows) == rows
    assert simulation.rows.index.equals(pd.RangeIndex(rows))
    assert {str(dtype) for dtype in simulation.rows.dtypes} <= ALLOWED_TYPES
    assert {str(dtype) for dtype in simulation.oracle.dtypes} <= ALLOWED_TYPES


def test_types_do_not_depend_on_the_number_of_rows(name: str) -> None:
    simulate = SIMULATORS[name]
    assert simulate(1, 0).rows.dtypes.equals(simulate(500, 0).rows.dtypes)


def test_zero_rows_are_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1 row"):
        SIMULATORS[name](0, 0)


def test_the_oracle_covers_every_row_or_user(name: str) -> None:
    simulation = SIMULATORS[name](500, 3)
    key = simulation.oracle.columns[0]
    if name == "shop":
        assert set(simulation.oracle[key]) == set(simulation.rows[key])
    else:
        assert simulation.oracle[key].is_unique
        assert simulation.oracle[key].equals(simulation.rows[key])
        probability = simulation.oracle.filter(like="probability")
        assert len(probability.columns)
        assert probability.to_numpy().min() >= 0.0
        assert probability.to_numpy().max() <= 1.0
