"""Run facts of version 1 are read with the keys and words of the present version."""

from typing import Any

import pytest

from tasks.facts import RUN_FACTS_VERSION
from tasks.facts_upgrade import upgrade

VERSION_1: dict[str, Any] = {
    "case": "shop",
    "about": {"url": "https://example.org"},
    "asked": {"seed": 0, "budget": 120.0, "as_of": None},
    "begun": "2025-01-01T00:00:00+00:00",
    "source": {
        "origin": {},
        "rows": 9,
        "dropped_columns": ["postcode"],
        "seconds": 0.1,
        "unlike_published": ["log.csv"],
    },
    "validate": {
        "rows": 9,
        "rules": [
            {"rule": "a", "action": "refuse", "reason": "", "bad": 1, "rows": 9, "verdict": "refused"},
            {"rule": "b", "action": "quarantine", "reason": "", "bad": 2, "rows": 9, "verdict": "acted"},
            {"rule": "c", "action": "warn", "reason": "", "bad": 0, "rows": 9, "verdict": "passed"},
        ],
    },
    "split": {
        "parts": {"train": {"rows": 5, "units": 5}, "refit": {"rows": 7, "units": 7}},
        "cuts": ["2025-01-01 00:00:00"],
        "nothing_new": {"test": 1},
        "reaches_past_the_answers": False,
        "special": {},
        "repeat": True,
        "blocked": ["x"],
        "asked": "time",
        "items": {"listed": 3, "with_attributes": 2, "new": 1, "had_without": 0},
        "checks": {"histories_reaching_into_the_test": 0, "answers_in_their_histories": 0, "foretelling": {}},
    },
    "leaderboard": [{"candidate": "x", "made_of": {}, "against": {"candidate": "y"}}],
    "skipped": [{"candidate": "z", "why": "too few rows"}],
    "gates": [{"gate": "data", "passed": True, "said": "9 rows"}],
    "test": {"rows": 2, "about_data": {}, "shoppers": [], "achievable": 0.9, "achieved": 0.8},
    "verdict": {"verdict": "keep", "reason": "worse"},
    "standing": {"value": 0.5},
    "ledger_line": 4,
}
VERSION_2: dict[str, Any] = {
    "facts_version": 2,
    "case": "shop",
    "publication": {"url": "https://example.org"},
    "params": {"seed": 0, "time_budget": 120.0, "as_of": None},
    "started": "2025-01-01T00:00:00+00:00",
    "source": {
        "origin": {},
        "rows": 9,
        "dropped_columns": {"count": 1, "positions": {}},
        "seconds": 0.1,
        "differs_from_published": ["log.csv"],
    },
    "validate": {
        "rows": 9,
        "rules": [
            {"rule": "a", "action": "fail", "reason": "", "violations": 1, "rows": 9, "verdict": "failed"},
            {
                "rule": "b",
                "action": "quarantine",
                "reason": "",
                "violations": 2,
                "rows": 9,
                "verdict": "applied",
            },
            {"rule": "c", "action": "warn", "reason": "", "violations": 0, "rows": 9, "verdict": "passed"},
        ],
    },
    "split": {
        "datasets": {"train": {"rows": 5, "units": 5}, "train_valid": {"rows": 7, "units": 7}},
        "cutoffs": ["2025-01-01 00:00:00"],
        "users_without_new_items": {"test": 1},
        "train_includes_later_events": False,
        "sentinel_values": {},
        "allow_repeats": True,
        "never_recommend": ["x"],
        "split_by": "time",
        "item_attributes": {
            "items": 3,
            "with_attributes": 2,
            "without_interactions": 1,
            "interacted_without_attributes": 0,
        },
        "checks": {"histories_with_test_events": 0, "targets_in_history": 0, "single_feature_leaks": {}},
    },
    "leaderboard": [{"candidate": "x", "composition": {}, "compared_with": {"candidate": "y"}}],
    "skipped": [{"candidate": "z", "reason": "too few rows"}],
    "gates": [{"gate": "data", "passed": True, "summary": "9 rows"}],
    "evaluation": {
        "rows": 2,
        "data_diagnostics": {},
        "user_examples": [],
        "simulated_optimum": 0.9,
        "share_of_optimum": 0.8,
    },
    "verdict": {"verdict": "keep_champion", "reason": "worse"},
    "champion_estimate": {"value": 0.5},
    "ledger_entry": 4,
}


def test_facts_of_version_1_are_upgraded() -> None:
    assert upgrade(VERSION_1) == VERSION_2


def test_facts_of_the_present_version_are_unchanged() -> None:
    assert VERSION_2["facts_version"] == RUN_FACTS_VERSION
    assert upgrade(VERSION_2) == VERSION_2


@pytest.mark.parametrize(
    ("gate", "found", "upgraded"),
    [
        ("data", VERSION_1["validate"], VERSION_2["validate"]),
        ("split", VERSION_1["split"], VERSION_2["split"]),
        ("quality", {"checks": [{"check": "size"}]}, {"checks": [{"check": "size"}]}),
    ],
)
def test_the_findings_of_the_gate_that_stopped_the_run_are_upgraded(
    gate: str, found: dict[str, Any], upgraded: dict[str, Any]
) -> None:
    facts = {"refused": {"gate": gate, "why": "it failed", "todo": "correct it"}, f"refused_{gate}": found}
    stopped = {"gate": gate, "reason": "it failed", "next_step": "correct it", "found": upgraded}
    assert upgrade(facts) == {"facts_version": RUN_FACTS_VERSION, "stopped": stopped}


def test_names_of_dropped_columns_in_facts_of_this_version_are_only_counted() -> None:
    facts = {"facts_version": 2, "source": {"rows": 9, "dropped_columns": ["Jane Doe", "C50"]}}
    upgraded = upgrade(facts)
    assert upgraded["source"] == {"rows": 9, "dropped_columns": {"count": 2, "positions": {}}}
