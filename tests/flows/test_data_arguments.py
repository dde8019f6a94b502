"""What Prefect records of data that a flow is called with: paths of private files, and addresses without passwords."""

from pathlib import Path

import pandas as pd

from flows.data_arguments import recordable_arguments
from flows.fintech_risk import fintech_risk
from tasks.data_access.extracts import is_extract


def test_a_table_becomes_a_private_file_in_the_state_directory(home: Path) -> None:
    arguments = recordable_arguments(fintech_risk.fn, (pd.DataFrame({"a": [1]}),), {"contract": "own.json"})
    assert arguments is not None
    path = Path(arguments["data"])
    assert arguments["contract"] == "own.json"
    assert is_extract(path)
    assert path.is_relative_to(home)
    assert pd.read_parquet(path)["a"].tolist() == [1]


def test_an_address_loses_its_password() -> None:
    address = "postgresql://me:Secret4711@host/shop"
    arguments = recordable_arguments(fintech_risk.fn, (), {"data": address, "query": "SELECT 1"})
    assert arguments == {"data": "postgresql://me@host/shop", "query": "SELECT 1"}


def test_paths_become_texts_and_other_calls_are_left_as_they_are() -> None:
    function = fintech_risk.fn
    assert recordable_arguments(function, ([Path("a.csv"), "b.csv"],), {}) == {"data": ["a.csv", "b.csv"]}
    assert recordable_arguments(function, (Path("a.csv"),), {}) == {"data": "a.csv"}
    assert recordable_arguments(function, ("simulated",), {"seed": 1}) == {"data": "simulated", "seed": 1}
    assert recordable_arguments(function, (), {"seed": 1}) is None
    assert recordable_arguments(function, (), {"unknown": 1}) is None
