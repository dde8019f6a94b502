"""Candidates whose fit is a constant: a run names them in its outcome, and a reproduction fits them again."""

from types import SimpleNamespace
from typing import Any

from flows.recording.run_facts import constants_note
from flows.reproduction import _recorded_fits

SKIPPED: Any = [
    {"candidate": "slow", "reason": "too little time", "constant": False},
    {"candidate": "stump", "reason": "got the same", "constant": True},
    {"candidate": "old", "reason": "recorded before constants were named"},
]


def test_the_note_names_constants_only() -> None:
    facts: Any = {"skipped": SKIPPED}
    assert constants_note(facts) == "Left out, because every row gets the same prediction: stump."
    facts["skipped"] = SKIPPED[:1]
    assert constants_note(facts) == ""


def test_a_left_out_fit_is_repeated_with_the_limit_that_stopped_it() -> None:
    """It has no entry in the leaderboard, so what stopped it is known from its stage."""
    entry = {"candidate": "linear", "stopped_by": None, "composition": {}}
    stages = {
        "train linear": {"seconds": 1.0, "time_limit": 5.0},
        "train stump": {"seconds": 4.0, "time_limit": 4.0, "stopped_by": "budget"},
        "train flat": {"seconds": 4.0, "time_limit": 4.0, "stopped_by": "valid"},
    }
    record = SimpleNamespace(facts={"leaderboard": [entry]}, stages=stages)
    context: Any = SimpleNamespace(
        listener=SimpleNamespace(record=record),
        params=SimpleNamespace(time_budget=60.0),
        fit_resources=lambda seconds, trials: (seconds, trials),
    )
    unlimited = (float("inf"), 0)
    assert list(_recorded_fits(context)) == [("linear", unlimited), ("stump", (4.0, 0)), ("flat", unlimited)]
