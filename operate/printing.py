"""What the commands of `steward.py` print: outcomes, rules, ledger entries, data sets."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tasks.dropped_columns import describe_dropped_columns

if TYPE_CHECKING:
    from flows.recording.outcome import RunOutcome

OUTCOME_FIELDS = [
    "case",
    "data",
    "champion",
    "version",
    "verdict",
    "metric",
    "value",
    "low",
    "high",
    "baseline",
    "rows",
    "quarantined",
    "excluded",
    "seconds",
    "reused",
    "report",
]
COLUMNS = (
    "case",
    "data",
    "champion",
    "metric [95 %]",
    "baseline",
    "gates passed",
    "verdict",
    "seconds",
    "report",
)


def print_outcomes(outcomes: "list[RunOutcome]", as_json: bool) -> None:
    """Print one JSON line per run, or a table, the reasons, and how to browse the results."""
    if as_json:
        for outcome in outcomes:
            facts = asdict(outcome)
            typer.echo(json.dumps({name: facts[name] for name in OUTCOME_FIELDS}))
        return
    if not outcomes:
        return
    _print_table(outcomes)
    for outcome in outcomes:
        reused = f"reused: {', '.join(outcome.reused)}" if outcome.reused else "reused: nothing"
        typer.echo(
            f"{outcome.case}: {outcome.verdict}, {outcome.reason}\n    {reused}\n    report: {outcome.report}"
        )
    _print_user_interfaces()


def _print_table(outcomes: "list[RunOutcome]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    is_terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        link = f"[link=file://{outcome.report}]open[/link]" if is_terminal else "below"
        table.add_row(*_table_row(outcome), link)
    Console(width=None if is_terminal else 150).print(table)


def _table_row(outcome: "RunOutcome") -> list[Any]:
    from rich.text import Text

    estimate = "-"
    if outcome.value is not None:
        estimate = f"{outcome.metric} {outcome.value:.4f}\n[{outcome.low:.4f}, {outcome.high:.4f}]"
    passed = ", ".join(outcome.gates) or "none"
    return [
        outcome.case,
        outcome.data,
        f"v{outcome.version} {outcome.candidate}".strip() if outcome.version else "none",
        Text(estimate),
        f"{outcome.baseline:.4f}" if outcome.baseline is not None else "-",
        passed if outcome.verdict == "refused" else f"all {len(outcome.gates)}",
        outcome.verdict,
        f"{outcome.seconds:.1f}",
    ]


def _print_user_interfaces() -> None:
    # `mlflow ui` and `prefect server start` would show them too, but let every user of the machine in.
    typer.echo(
        "\nBrowse flows, runs and models in Prefect and MLflow, and schedule runs:\n"
        f"    {Path(sys.executable).parent}/steward up"
    )


def print_rules(facts: Mapping[str, Any]) -> None:
    """Print the outcome of each rule of a contract in the report's words, what looks odd, and the counts of rows."""
    from tasks.reporting.rule_outcomes import describe_outcome, is_row_rule

    for rule in facts["rules"]:
        violations = (
            f"{rule['violations']:,} of {rule['rows']:,}" if is_row_rule(rule["rule"]) else "the batch"
        )
        typer.echo(f"{describe_outcome(rule):<18}  {violations:>16}  {rule['rule']}: {rule['reason']}")
    for column in facts.get("profile", ()):
        for note in column["notes"]:
            typer.echo(f"looks odd           {column['column']}: {note}")
    for note in facts.get("file_notes", ()):
        typer.echo(f"looks odd           {note}")
    typer.echo(
        f"{facts['rows']:,} rows read: {facts['clean']:,} clean, {facts['quarantined']:,} quarantined as faulty,"
        f" {facts['excluded']:,} excluded, outside the population"
    )
    if dropped := describe_dropped_columns(facts["dropped_columns"]):
        typer.echo(f"dropped columns: {dropped}")


def print_scores(facts: Mapping[str, Any]) -> None:
    """Print how many rows of a file were scored, and by which version."""
    typer.echo(
        f"{facts['scored']:,} of {facts['rows']:,} rows scored by {facts['champion']} version {facts['version']}"
        f" ({facts['quarantined']:,} quarantined, {facts['excluded']:,} excluded): {facts['out']}"
    )
    drift = facts["drift"]
    if not drift["compared"]:
        typer.echo(f"    not compared with the training batch: {drift['reference']}")
    for finding in drift["findings"]:
        column = finding["column"] or "batch"
        typer.echo(f"    {finding['kind'].replace('_', ' ')} in {column}: {finding['text']}")
    if "accepted" in drift:
        typer.echo(f"    accepted: {drift['accepted']}")


def print_ledger_entry(entry: Mapping[str, Any]) -> None:
    """Print one decision about a champion as a line."""
    champion = f"champion v{entry['champion']}" if entry["champion"] else "no champion"
    version = f" on v{entry['version']}" if entry.get("version") else ""
    typer.echo(
        f"{entry['line']:>4}  {entry['at']}  {entry['verdict']}{version}: {champion}; {entry['reason']}"
    )


def print_dataset(dataset: Mapping[str, str]) -> None:
    """Print a data set with its source and licence."""
    source = f"{dataset['publisher']} {dataset['url']}".strip()
    typer.echo(
        f"{dataset['case']} --data {dataset['data']}  ({dataset['state']})\n"
        f"    {dataset['description']}\n    source: {source}\n    licence: {dataset['licence']}"
    )
