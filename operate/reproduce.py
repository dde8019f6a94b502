"""`steward reproduce`: train a version again from what is recorded, and see whether it comes out the same."""

import json
from dataclasses import asdict

import typer

from operate.console import MODEL_REFUSED, AsJson, CaseName, ModelOf, VersionNumber, flow_module, quiet


def reproduce(
    case: CaseName,
    version: VersionNumber = None,
    data: ModelOf = "simulated",
    as_json: AsJson = False,
) -> None:
    """Train a version again in a memory of its own and compare: 3, its source is gone; 4, it predicts otherwise."""
    with quiet():
        use_case = flow_module(case).CASE
        from flows import reproduction
        from flows.lineage.model_version import trace
        from tasks.settings import load

        traced = trace(case, data, version, load())
        name, number = traced.version.name, traced.version.number
        if not as_json:
            typer.echo(f"{name} version {number}, trained again")
        compared = []
        for one in reproduction.reproduce(traced, use_case):
            compared.append(one)
            if not as_json:
                typer.echo(_line(one.what, one.same, one.then, one.now))
        skipped = reproduction.skipped(traced)
        identical = all(one.same for one in compared)
        conditions = [] if identical else reproduction.conditions(traced)
    last = compared[-1]
    predicts = last.same and last.what.startswith(reproduction.PREDICTIONS)
    verdict = "identical" if identical else "the same predictions" if predicts else "differs"
    if as_json:
        about = {"case": case, "data": data, "model": name, "version": number, "verdict": verdict}
        found = {"compared": [asdict(one) for one in compared], "skipped": skipped, "conditions": conditions}
        typer.echo(json.dumps({**about, **found}))
    else:
        for candidate, why in skipped.items():
            typer.echo(f"  {candidate}: skipped as then, {why}")
        if not identical:
            _explain(conditions)
        typer.echo(f"  {verdict}")
    raise typer.Exit(0 if predicts else MODEL_REFUSED)


def _line(what: str, same: bool, then: str, now: str) -> str:
    if same:
        return f"  {what}: {then[:12] if len(then) == 64 else then}, same"
    shown = [text[:12] if len(text) == 64 else text for text in (then, now)]
    return f"  {what}: {shown[0]} then, {shown[1]} now, differs"


def _explain(conditions: list[str]) -> None:
    typer.echo("  not as it was then:" if conditions else "  nothing that is recorded is other than then")
    for line in conditions:
        typer.echo(f"    {line}")
