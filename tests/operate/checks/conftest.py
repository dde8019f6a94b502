"""What the tests of single checks share."""

from collections.abc import Callable

import pytest

from operate.checks.finding import Finding
from operate.doctor import CHECKS, examine

Examine = Callable[..., list[Finding]]


@pytest.fixture
def found() -> Examine:
    """What the checks of these names find; each finding that is not ok names a fix."""

    def look(*names: str, fix: bool = False, deep: bool = False) -> list[Finding]:
        asked = [check for check in CHECKS if check.name in names]
        assert len(asked) == len(names)
        seen = list(examine(fix, deep, checks=asked))
        assert all(bool(finding.fix) == (finding.state != "ok") for finding in seen), seen
        return seen

    return look
