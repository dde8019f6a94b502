"""`steward reproduce`: train a model version again from its records and compare the result."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from operate.console import (
    EXIT_QUALITY_GATE,
    CaseArgument,
    JsonOption,
    ModelDataOption,
    VersionArgument,
    case_module,
    console_logging,
)

if TYPE_CHECKING:
    from flows.reproduction import Comparison


def reproduce(
    case: CaseArgument,
    version: VersionArgument = None,
    data: ModelDataOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Train a version again in an isolated state directory and compare the result.

    Exit code 3: its source is missing or modified. Exit code 4: the predictions differ.
    """
    with console_logging(progress=True):
        use_case = case_module(case).CASE
        from flows import reproduction
        from flows.lineage import recorded_conditions
        from flows.lineage.model_version import find_model_version
        from tasks.settings import load

        record = find_model_version(case, data, version, load())
        name, number = record.version.name, record.version.number
        if not as_json:
            typer.echo(f"{name} version {number}, trained again")
        comparisons = []
        for comparison in reproduction.reproduce(record, use_case):
            comparisons.append(comparison)
            if not as_json:
                typer.echo(_format(comparison))
        skipped = recorded_conditions.skipped_candidates(record)
        is_identical = all(comparison.is_same for comparison in comparisons)
        conditions = [] if is_identical else recorded_conditions.changed_conditions(record)
    last = comparisons[-1]
    same_predictions = last.is_same and last.name.startswith(reproduction.PREDICTIONS)
    verdict = "identical" if is_identical else "same predictions" if same_predictions else "differs"
    if as_json:
        identity = {"case": case, "data": data, "model": name, "version": number, "verdict": verdict}
        compared = [asdict(comparison) for comparison in comparisons]
        typer.echo(
            json.dumps({**identity, "compared": compared, "skipped": skipped, "conditions": conditions})
        )
    else:
        for candidate, reason in skipped.items():
            typer.echo(f"  {candidate}: skipped as in the recorded run, {reason}")
        if not is_identical:
            _print_conditions(conditions)
        typer.echo(f"  {verdict}")
    raise typer.Exit(0 if same_predictions else EXIT_QUALITY_GATE)


def _format(comparison: "Comparison") -> str:
    """Format as a line, with digests shortened to 12 characters."""
    recorded, current = (
        text[:12] if len(text) == 64 else text for text in (comparison.recorded, comparison.current)
    )
    if comparison.is_same:
        return f"  {comparison.name}: {recorded}, same"
    return f"  {comparison.name}: recorded {recorded}, now {current}, differs"


def _print_conditions(conditions: list[str]) -> None:
    typer.echo("  recorded conditions that differ:" if conditions else "  no recorded condition differs")
    for condition in conditions:
        typer.echo(f"    {condition}")
