"""Hostile contracts run nothing and end without a traceback; `python -m benchmarks.contract_fuzz` tries 10,000."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.contract_fuzz import audit_hook, run_case, warm_up, workshop
from benchmarks.contract_mutations import KINDS, Mutator
from tasks.settings import Settings


@pytest.fixture(scope="module")
def place() -> Iterator[Settings]:
    with workshop() as made:
        warm_up(made, contracts=3, cases=0)
        yield made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.integers(0, 10_000))
def test_hostile_contracts_run_nothing(place: Settings, seed: int) -> None:
    case = run_case(seed, place)
    assert case.traceback is None
    assert case.events == ()


def test_each_kind_of_contract_is_made() -> None:
    for kind in set(KINDS) - {"size"}:
        first, second = (KINDS[kind](Mutator(7, "x")) for _ in range(2))
        assert first == second


def test_the_audit_hook_finds_what_it_is_for(tmp_path: Path) -> None:
    hook = audit_hook()
    hook.folder, hook.events, hook.active = str(tmp_path), [], True
    (tmp_path / "inside").write_text("")
    (tmp_path / "inside").read_text()
    try:
        subprocess.run(["true"], check=True)
        eval("1 + 1")
        (tmp_path.parent / "outside").write_text("")
    finally:
        hook.active = False
    (tmp_path.parent / "outside").unlink()
    events = [event for event in hook.events if "/dev/null" not in event]
    assert "subprocess.Popen" in events
    assert "exec <string>" in events
    assert events[-1].endswith("outside'")
