"""Text output of the commands in `steward.py`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steward
from flows.recording.outcome import RunOutcome
from operate.printing import print_outcomes, print_scores


def output_of(*arguments: str) -> list[str]:
    result = CliRunner().invoke(steward.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_validate_prints_a_line_per_rule_and_the_counts(home: Path, contracts: Path) -> None:
    *lines, counts = output_of("validate", "fintech-risk")
    odd = [line for line in lines if line.startswith("looks odd  ")]
    rules = [line for line in lines if line not in odd]
    assert any("savings_balance" in line and "missing" in line for line in odd)
    (rule,) = [line for line in rules if "to_be_between(debt_to_income): a debt" in line]
    assert rule.split()[:4] == ["passed", "0", "of", "1,500"]
    # The words of the report, also for a rule about the batch as a whole.
    tolerated = [line.split("  ")[0] for line in rules if "to_not_be_null(income)" in line]
    assert tolerated == ["within tolerance"]
    assert next(line for line in rules if "enough_rows" in line).split()[:3] == ["passed", "the", "batch"]
    assert counts == (
        "1,500 rows read: 1,500 clean, 0 quarantined as faulty, 0 excluded, outside the population"
    )


def test_champion_prints_the_last_decision_and_history_all(write_ledger: Callable[..., None]) -> None:
    write_ledger(
        "fintech-risk.simulated",
        {"verdict": "promote", "reason": "first", "before": None, "champion": 1, "version": 1},
        {"verdict": "rollback", "reason": "a bug", "before": 1, "champion": None},
    )
    first, last = output_of("champion", "fintech-risk", "--history")
    assert first.endswith("  promote on v1: champion v1; first")
    assert last.endswith("  rollback: no champion; a bug")
    assert output_of("champion", "fintech-risk") == [last]


def test_the_ledger_of_an_earlier_release_is_printed_with_today_s_names_of_metrics(
    write_ledger: Callable[..., None],
) -> None:
    reason = "better than the champion by +0.0200 [+0.0100, +0.0300] roc_auc, 400 units"
    write_ledger(
        "fintech-risk.simulated",
        {"verdict": "promote", "reason": reason, "before": None, "champion": 1, "version": 1},
    )
    (line,) = output_of("champion", "fintech-risk")
    assert line.endswith(reason.replace("roc_auc", "ROC AUC"))


def test_data_prints_source_and_licence(home: Path, contracts: Path) -> None:
    lines = output_of("data")
    start = lines.index("fintech-risk --data simulated  (simulated)")
    assert [line.split(":")[0].strip() for line in lines[start + 2 : start + 4]] == ["source", "licence"]


def outcome(**fields: object) -> RunOutcome:
    defaults = {
        "case": "fintech-risk",
        "data": "simulated",
        "champion": "fintech-risk.simulated",
        "version": 3,
        "verdict": "promote",
        "metric": "roc_auc",
        "value": 0.75,
        "low": 0.7,
        "high": 0.8,
        "baseline": 0.5,
        "rows": 100,
        "quarantined": 0,
        "excluded": 0,
        "seconds": 2.5,
        "reused": ["source"],
        "report": "/report.html",
        "gates": ["data", "split"],
        "reason": "better",
        "candidate": "LightGBM",
    }
    return RunOutcome(**{**defaults, **fields})  # type: ignore[arg-type]


LONGEST = {
    "case": "ecommerce-recommendation",
    "data": "yoochoose_100k_sessions",
    "candidate": "reranker with transformer",
    "metric": "ndcg_at_10",
    "verdict": "champion_unusable",
    "seconds": 1234.56,
}


def printed(
    outcomes: list[RunOutcome],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int | None = None,
) -> str:
    """Return what is printed to a pipe, or to a terminal with that many columns."""
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_outcomes(outcomes, as_json=False)
    return capsys.readouterr().out


def test_outcomes_are_printed_as_a_table_with_reasons(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = outcome(
        case="other", version=None, verdict="rejected", value=None, baseline=None, reused=[], gates=["data"]
    )
    text = printed([outcome(), failed], capsys, monkeypatch)
    lines = [line.split() for line in text.splitlines()]
    assert ["fintech-risk", "LightGBM", "ROC", "AUC", "0.7500", "promote"] in lines
    assert ["simulated", "version", "3", "[0.7000,", "0.8000]", "2", "gates", "passed"] in lines
    assert ["baseline", "0.5000", "2.5", "s"] in lines
    assert ["other", "none", "-", "rejected"] in lines
    assert ["simulated", "1", "gate", "passed"] in lines
    assert "fintech-risk: promote, better\n    reused: source\n    report: /report.html\n" in text
    assert re.search(r"\n2 use cases in \d+ s\n", text)
    assert text.endswith("/steward up\n")


def test_constant_candidates_are_named(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "Left out, because every row gets the same prediction: LightGBM."
    assert f"\nfintech-risk: {note}\n" in printed([outcome(constants_note=note)], capsys, monkeypatch)


@pytest.mark.parametrize("columns", [None, 120, 80, 60, 40])
def test_no_word_is_broken_and_no_line_too_long(
    columns: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "The time budget of 20 s cut short ensemble; --time-budget sets a longer one."
    reason = "no better than the champion beyond chance: " * 3
    outcomes = [outcome(time_budget_note=note), outcome(**LONGEST, reason=reason)]
    text = printed(outcomes, capsys, monkeypatch, columns)
    result = text.partition("Browse flows")[0]
    words = {word.rstrip(",:") for word in result.split()}
    for field in ("case", "data", "candidate", "verdict"):
        assert set(str(LONGEST[field]).split()) <= words
    assert {"[0.7000", "0.8000]", "NDCG@10"} <= words
    if columns:
        assert [line for line in result.splitlines() if len(line) > columns] == []


def test_scores_are_printed_with_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"rows": 1200, "scored": 1190, "quarantined": 10, "excluded": 0}
    finding = {"kind": "missing_values", "column": "income", "text": "60 % are missing, 4 % were"}
    drift = {"compared": True, "reference": "the training batch of version 2", "findings": [finding]}
    rule = {"rule": "type(age)", "violations": 10, "kinds": {"text where a number is expected": 10}}
    scored = {**counts, "champion": "a.b", "version": 2, "out": "scores.parquet"}
    print_scores({**scored, "drift": drift, "rules": [rule]})
    assert capsys.readouterr().out == (
        "1,190 of 1,200 rows scored by a.b version 2 (10 quarantined, 0 excluded): scores.parquet\n"
        "    10 by type(age): text where a number is expected\n"
        "    missing values in income: 60 % are missing, 4 % were\n"
    )
