"""Every fault of a simulated batch is stopped by the gate that should stop it, and no stage after that gate runs."""

import re

import pytest

from benchmarks.fault_matrix import (
    ALL_STAGES,
    DATA,
    MATRIX,
    STAGES_BEFORE,
    Catch,
    clean_file,
    faulty_batch,
    run_until_gate,
)
from ml.simulators.faults import FAULTS
from tasks.settings import ROOT


@pytest.mark.parametrize("fault", FAULTS)
def test_the_gate_of_a_fault_stops_it_and_no_later_stage_runs(fault: str) -> None:
    stages, gate = run_until_gate("lender", faulty_batch("lender", fault), with_history=True)
    assert gate == MATRIX[fault].gate
    assert stages == STAGES_BEFORE[gate]


@pytest.mark.parametrize("simulator", DATA)
def test_an_undamaged_batch_passes_all_gates(simulator: str) -> None:
    assert run_until_gate(simulator, clean_file(simulator), with_history=True) == (ALL_STAGES, None)


@pytest.mark.parametrize("fault", ["target-leak", "concept-drift"])
def test_a_first_batch_is_stopped_only_where_it_shows_the_fault_itself(fault: str) -> None:
    stages, gate = run_until_gate("lender", faulty_batch("lender", fault), with_history=False)
    assert gate == MATRIX[fault].without_history
    assert stages == (STAGES_BEFORE[gate] if gate else ALL_STAGES)


def test_the_matrix_has_every_fault_and_is_the_table_of_the_document() -> None:
    assert set(MATRIX) == set(FAULTS)
    page = (ROOT / "docs" / "faults.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| (\w+) \| (\w+) \|$", page, re.MULTILINE)
    documented = {fault: Catch(gate, None if first == "none" else first) for fault, gate, first in rows}
    assert documented == MATRIX
