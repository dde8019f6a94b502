"""The last accepted batch is that of the last decision that was not rolled back."""

from typing import Any

import pytest

from tasks.accepted_batch import accepted_versions


def decision(verdict: str, version: int, champion: int | None, before: int | None) -> dict[str, Any]:
    return {"verdict": verdict, "version": version, "champion": champion, "before": before}


def rollback(before: int, champion: int) -> dict[str, Any]:
    return {"verdict": "rollback", "before": before, "champion": champion}


FIRST = decision("promote", 1, 1, None)


@pytest.mark.parametrize(
    ("entries", "versions"),
    [
        ([], []),
        ([FIRST], [1]),
        ([FIRST, decision("keep_champion", 2, 1, 1)], [2, 1]),
        ([FIRST, decision("promote", 2, 2, 1), rollback(2, 1)], [1]),
        ([FIRST, decision("promote", 2, 2, 1), rollback(2, 1), decision("promote", 2, 2, 1)], [2, 1]),
        ([FIRST, decision("inconclusive", 2, 1, 1), decision("keep_champion", 1, 1, 1)], [1, 2]),
        ([FIRST, {"verdict": "external", "before": 1, "champion": None}], [1]),
    ],
)
def test_accepted_versions(entries: list[dict[str, Any]], versions: list[int]) -> None:
    assert accepted_versions(entries) == versions
