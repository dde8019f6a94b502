"""Randomly damaged results of a real pipeline: none is used, and each is computed again."""

from pathlib import Path

from benchmarks.store_damage import CANDIDATES, CRASHED, HARMLESS, USED, damage_kinds, run


def test_no_damaged_result_is_used_and_all_are_healed(tmp_path: Path) -> None:
    count = 110
    outcomes = run(tmp_path, count, 0, {name: CANDIDATES[name] for name in ("constant", "linear")})
    assert len(damage_kinds()) < sum(counts.total() for counts in outcomes.values()) == count
    assert {kind: counts for kind, counts in outcomes.items() if counts[USED] or counts[CRASHED]} == {}
    assert sum(counts[HARMLESS] for counts in outcomes.values()) < 5
