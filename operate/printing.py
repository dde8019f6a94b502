"""What the commands of `steward.py` print: outcomes, rules, ledger entries, data sets."""

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
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
# Width of what is printed to a file or a pipe.
FILE_WIDTH = 80
# The columns of the table of outcomes, the position of the one that may be narrower, and what is between two columns.
HEADS, CHAMPION, GAP = ("use case", "champion", "on test [95 %]", "verdict"), 1, "  "


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
    width = _width()
    for outcome in outcomes:
        for note in filter(None, (outcome.time_budget_note, outcome.constants_note, outcome.groups_note)):
            typer.echo(_wrap(f"{outcome.case}: {note}", width))
        reused = f"reused: {', '.join(outcome.reused)}" if outcome.reused else "reused: nothing"
        typer.echo(_wrap(f"{outcome.case}: {outcome.verdict}, {outcome.reason}", width))
        # Whole, so that it can be copied or clicked.
        typer.echo(f"{_wrap(f'    {reused}', width)}\n    report: {outcome.report}")
    if len(outcomes) > 1:
        # Of the whole command, with its imports and the start of the server.
        seconds = time.time() - psutil.Process().create_time()
        typer.echo(f"\n{len(outcomes)} use cases in {seconds:.0f} s")
    _print_user_interfaces()


def _width() -> int | None:
    """Return the width of the terminal; None where stdout is none, as lines are not wrapped there."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _wrap(text: str, width: int | None) -> str:
    """Break a text between words, with its later lines indented."""
    if width is None:
        return text
    return textwrap.fill(
        text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _print_table(outcomes: "list[RunOutcome]") -> None:
    """Print a table, or where its words do not fit side by side, a list."""
    width, rows = _width() or FILE_WIDTH, [_cells(outcome) for outcome in outcomes]
    columns = [[HEADS[n], *(line for row in rows for line in row[n])] for n in range(len(HEADS))]
    widths = [max(map(len, lines)) for lines in columns]
    # The names of candidates may be broken between their words.
    longest_word = max(len(word) for line in columns[CHAMPION] for word in line.split())
    widths[CHAMPION] -= max(0, sum(widths) + len(GAP) * (len(widths) - 1) - width)
    if widths[CHAMPION] < longest_word:
        _print_list(rows, width)
        return
    for cells in [tuple([head] for head in HEADS), tuple(["-" * each] for each in widths), *rows]:
        wrapped = [
            [part for line in cell for part in textwrap.wrap(line, size, break_long_words=False)]
            for cell, size in zip(cells, widths, strict=True)
        ]
        for parts in zip_longest(*wrapped, fillvalue=""):
            line = GAP.join(part.ljust(size) for part, size in zip(parts, widths, strict=True))
            typer.echo(line.rstrip())
        if cells in rows:
            typer.echo("")


def _print_list(rows: list[tuple[list[str], ...]], width: int) -> None:
    for use_case, champion, estimate, verdict in rows:
        typer.echo(_wrap(", ".join(use_case), width))
        for line in (f"champion: {', '.join(champion)}", *estimate, ", ".join(verdict)):
            typer.echo(_wrap(f"  {line}", width))
        typer.echo("")


def _cells(outcome: "RunOutcome") -> tuple[list[str], ...]:
    """Return the lines of the cells of one run."""
    from tasks.metric_descriptions import describe_metric, format_value

    champion, estimate = ["none"], ["-"]
    if outcome.version:
        champion = (
            [outcome.candidate, f"version {outcome.version}"]
            if outcome.candidate
            else [f"version {outcome.version}"]
        )
    if outcome.value is not None and outcome.low is not None and outcome.high is not None:
        label = describe_metric(outcome.metric).label
        low, high = format_value(outcome.low), format_value(outcome.high)
        estimate = [f"{label} {format_value(outcome.value)}", f"[{low}, {high}]"]
    if outcome.baseline is not None:
        estimate.append(f"baseline {format_value(outcome.baseline)}")
    number = len(outcome.gates)
    gates = f"{number} {'gate' if number == 1 else 'gates'} passed"
    return (
        [outcome.case, outcome.data],
        champion,
        estimate,
        [outcome.verdict, gates, f"{outcome.seconds:.1f} s"],
    )


def _print_user_interfaces() -> None:
    # `mlflow ui` and `prefect server start` would show them too, but let every user of the machine in.
    typer.echo(
        "\nBrowse flows, runs and models in Prefect and MLflow, and schedule runs:\n"
        f"    {Path(sys.executable).parent}/steward up"
    )


def print_rules(facts: Mapping[str, Any]) -> None:
    """Print the outcome of each rule of a contract in the report's words, what looks odd, and the counts of rows."""
    from ml.data.value_kinds import describe_kinds
    from tasks.reporting.rule_outcomes import describe_outcome, is_row_rule

    for rule in facts["rules"]:
        violations = (
            f"{rule['violations']:,} of {rule['rows']:,}" if is_row_rule(rule["rule"]) else "the batch"
        )
        found = f" ({describe_kinds(rule['kinds'])})" if "kinds" in rule else ""
        outcome = describe_outcome(rule)
        typer.echo(f"{outcome:<18}  {violations:>16}  {rule['rule']}: {rule['reason']}{found}")
    for column in facts.get("profile", ()):
        for note in column["notes"]:
            typer.echo(f"looks odd           {column['column']}: {note}")
    if points := facts.get("unreviewed"):
        typer.echo(f"not reviewed        {len(points)} points of this draft, such as {points[0]}")
    for difference in facts.get("quarantine_differences", ()):
        typer.echo(f"quarantine differs  {difference}")
    for note in facts.get("file_notes", ()):
        typer.echo(f"looks odd           {note}")
    typer.echo(
        f"{facts['rows']:,} rows read: {facts['clean']:,} clean, {facts['quarantined']:,} quarantined as faulty,"
        f" {facts['excluded']:,} excluded, outside the population"
    )
    if dropped := describe_dropped_columns(facts["dropped_columns"]):
        typer.echo(f"dropped columns: {dropped}")


def print_scores(facts: Mapping[str, Any]) -> None:
    """Print how many rows of a file were scored by which version, what removed others, and how the file differs."""
    from ml.data.value_kinds import describe_kinds

    typer.echo(
        f"{facts['scored']:,} of {facts['rows']:,} rows scored by {facts['champion']} version {facts['version']}"
        f" ({facts['quarantined']:,} quarantined, {facts['excluded']:,} excluded): {facts['out']}"
    )
    for rule in facts["rules"]:
        found = f": {describe_kinds(rule['kinds'])}" if "kinds" in rule else ""
        typer.echo(f"    {rule['violations']:,} by {rule['rule']}{found}")
    drift = facts["drift"]
    if not drift["compared"]:
        typer.echo(f"    not compared with the training batch: {drift['reference']}")
    for finding in drift["findings"]:
        column = finding["column"] or "batch"
        typer.echo(f"    {finding['kind'].replace('_', ' ')} in {column}: {finding['text']}")
    if "accepted" in drift:
        typer.echo(f"    accepted: {drift['accepted']}")


def print_ledger_entry(entry: Mapping[str, Any]) -> None:
    """Print one decision about a champion as a line; those of earlier releases have names of metrics in the facts."""
    from tasks.metric_descriptions import label_metrics

    champion = f"champion v{entry['champion']}" if entry["champion"] else "no champion"
    version = f" on v{entry['version']}" if entry.get("version") else ""
    typer.echo(
        f"{entry['line']:>4}  {entry['at']}  {entry['verdict']}{version}: {champion}; {label_metrics(entry['reason'])}"
    )


def print_dataset(dataset: Mapping[str, str]) -> None:
    """Print a data set with its source and licence."""
    source = f"{dataset['publisher']} {dataset['url']}".strip()
    typer.echo(
        f"{dataset['case']} --data {dataset['data']}  ({dataset['state']})\n"
        f"    {dataset['description']}\n    source: {source}\n    licence: {dataset['licence']}"
    )
