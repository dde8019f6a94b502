"""Every fault of a simulated batch is stopped by the gate that should stop it, and no stage after that gate runs."""

import re

import pytest

from benchmarks.fault_matrix import (
    ACCEPTED,
    ALL_STAGES,
    MATRIX,
    SIMULATED,
    STAGES_BEFORE,
    Catch,
    clean_file,
    faulty_batch,
    run_until_gate,
)
from ml.simulators.faults import FAULTS
from tasks.settings import ROOT

# Of the shop and the mailbox, one fault of each gate; the benchmark has all.
OF_OTHERS = [
    ("shop", "duplicated-days"),
    ("shop", "shifted-clock"),
    ("shop", "bot-events"),
    ("mailbox", "garbled-texts"),
    ("mailbox", "leaked-label"),
    ("mailbox", "other-language"),
]


@pytest.mark.parametrize(
    ("simulator", "fault"), [*(("lender", fault) for fault in FAULTS["lender"]), *OF_OTHERS]
)
def test_the_gate_of_a_fault_stops_it_and_no_later_stage_runs(simulator: str, fault: str) -> None:
    stages, gate = run_until_gate(simulator, faulty_batch(simulator, fault), "earlier batch")
    assert gate == MATRIX[simulator][fault].gate
    assert stages == STAGES_BEFORE[gate]


@pytest.mark.parametrize("simulator", SIMULATED)
def test_an_undamaged_batch_passes_all_gates(simulator: str) -> None:
    assert run_until_gate(simulator, clean_file(simulator), "earlier batch") == (ALL_STAGES, None)


@pytest.mark.parametrize("fault", ["target-leak", "concept-drift", "label-noise"])
def test_a_first_batch_is_stopped_only_where_it_shows_the_fault_itself(fault: str) -> None:
    stages, gate = run_until_gate("lender", faulty_batch("lender", fault), "first batch")
    assert gate == MATRIX["lender"][fault].without_history
    assert stages == (STAGES_BEFORE[gate] if gate else ALL_STAGES)


@pytest.mark.parametrize("fault", ACCEPTED)
def test_a_challenger_that_was_trained_on_accepted_damage_is_not_promoted(fault: str) -> None:
    stages, gate = run_until_gate("lender", faulty_batch("lender", fault), "accepted differences")
    assert gate == ACCEPTED[fault]
    assert stages == STAGES_BEFORE[gate]


def test_the_matrix_has_every_fault_and_is_the_table_of_the_document() -> None:
    assert {simulator: {*faults} for simulator, faults in MATRIX.items()} == {
        s: {*f} for s, f in FAULTS.items()
    }
    page = (ROOT / "docs" / "faults.md").read_text()
    heads = {"Loans and hospital stays": "lender", "Purchases": "shop", "Messages": "mailbox"}
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    for head, simulator in heads.items():
        rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| (\w+) \| (\w+) \|$", sections[head], re.MULTILINE)
        documented = {fault: Catch(gate, None if first == "none" else first) for fault, gate, first in rows}
        assert documented == MATRIX[simulator]
    # The quality gate depends on the rows that are left; the gates in front of it do not.
    assert {f: c.gate for f, c in MATRIX["lender"].items()} == {
        f: c.gate for f, c in MATRIX["hospital"].items()
    }
