"""`steward lineage`: compare every recorded step from a model version back to its data with what exists now."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from operate.console import (
    EXIT_FAILURE,
    CaseArgument,
    JsonOption,
    ModelDataOption,
    VersionArgument,
    console_logging,
    require_case,
)

if TYPE_CHECKING:
    from flows.lineage.step import LineageStep


def lineage(
    case: CaseArgument,
    version: VersionArgument = None,
    data: ModelDataOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Trace a version back to decision, run, data, contract, code and libraries.

    Exit code 1: a step is missing or modified.
    """
    with console_logging():
        require_case(case)
        from flows.lineage.model_version import find_model_version
        from flows.lineage.walk import walk
        from tasks.settings import load

        record = find_model_version(case, data, version, load())
        number, champion = record.version.number, record.champion
        if not as_json:
            role = "the champion" if number == champion else f"champion is version {champion or 'none'}"
            typer.echo(f"{record.version.name} version {number}, {role}")
        steps = []
        for step in walk(record):
            steps.append(step)
            if not as_json:
                _print_step(step)
    broken = [step.name for step in steps if not step.is_intact]
    if as_json:
        identity = {"case": case, "data": data, "model": record.version.name, "version": number}
        result = {"champion": number == champion, "broken": broken, "steps": [asdict(step) for step in steps]}
        typer.echo(json.dumps({**identity, **result}))
    else:
        typer.echo(f"  broken: {', '.join(broken)}" if broken else "  no broken step")
    raise typer.Exit(EXIT_FAILURE if broken else 0)


def _print_step(step: "LineageStep") -> None:
    typer.echo(f"  {step.name:<10} {step.summary}  {step.status}")
    for detail in step.details:
        typer.echo(f"             {detail}")
