"""Fixtures of the tests of single checks."""

from collections.abc import Callable

import pytest

from operate.checks.finding import Finding
from operate.doctor import CHECKS, run_checks

RunChecks = Callable[..., list[Finding]]


@pytest.fixture
def check() -> RunChecks:
    """Return a function that runs checks by name; it asserts that each finding that is not ok has a fix."""

    def run(*names: str, fix: bool = False, deep: bool = False) -> list[Finding]:
        selected = [check for check in CHECKS if check.name in names]
        assert len(selected) == len(names)
        findings = list(run_checks(fix, deep, checks=selected))
        assert all(bool(finding.fix) == (finding.status != "ok") for finding in findings), findings
        return findings

    return run
