"""Drafts of public data sets pass the other half of their rows, and agree with contracts written by hand."""

import os
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.dirty_cells import CORRUPTIONS, corrupt
from benchmarks.doors import SETS, agreement, as_read, false_alarms, found_cells, read_halves
from operate.contract import draft_cells
from tasks.data_access.locate import load_contract
from tasks.settings import load


def test_corrupted_cells_are_those_that_are_named() -> None:
    cells = pd.DataFrame(
        {"a": ["1", "2.5", "", None] * 50, "b": ["north", "South", "x", "y"] * 50}, dtype="str"
    )
    dirty, made = corrupt(cells, ["a", "b"], 0.5, seed=0)
    changed = (dirty != cells) & cells.notna()
    assert changed.to_numpy().tolist() == (made != "").to_numpy().tolist()
    assert {*made["a"], *made["b"]} <= {"", *CORRUPTIONS}
    again, _ = corrupt(cells, ["a", "b"], 0.5, seed=0)
    assert again.equals(dirty)


@pytest.mark.skipif("STEWARD_DATA_DIR" not in os.environ, reason="needs STEWARD_DATA_DIR")
@pytest.mark.parametrize("name", ["german_credit", "groceries_baskets"])
def test_a_draft_of_one_half_passes_the_other(name: str) -> None:
    chosen = SETS[name]
    halves = read_halves(chosen, Path(os.environ["STEWARD_DATA_DIR"]))
    draft = draft_cells(halves.first, halves.request)
    second = as_read(halves.second, draft.contract)
    quarantined, refused = false_alarms(draft, second)
    assert quarantined <= 0.02
    assert not refused
    points = agreement(draft.contract, load_contract(chosen.case, name, load()))
    assert points["codes"][0] == points["codes"][1]
    assert points["types"][0] >= 0.9 * points["types"][1]
    made, found, wrong = found_cells(draft, second, seed=0)
    if made:
        assert found.total() >= 0.8 * made.total()
        assert found.total() >= 0.8 * (found.total() + wrong)
