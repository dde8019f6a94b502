"""`steward lineage`: walk from a model back to the data, and see whether every link still holds."""

import json
from dataclasses import asdict

import typer

from operate.console import OTHER, AsJson, CaseName, ModelOf, VersionNumber, known_case, quiet


def lineage(
    case: CaseName,
    version: VersionNumber = None,
    data: ModelOf = "simulated",
    as_json: AsJson = False,
) -> None:
    """Walk from a version back to decision, run, data, contract, code and libraries; 1 where a link is broken."""
    with quiet():
        known_case(case)
        from flows.lineage.model_version import trace
        from flows.lineage.walk import walk
        from tasks.settings import load

        traced = trace(case, data, version, load())
        number, champion = traced.version.number, traced.champion
        holder = "the champion" if number == champion else f"champion is version {champion or 'none'}"
        if not as_json:
            typer.echo(f"{traced.version.name} version {number}, {holder}")
        links = []
        for link in walk(traced):
            links.append(link)
            if not as_json:
                typer.echo(f"  {link.name:<10} {link.said}  {link.status}")
                for line in link.details:
                    typer.echo(f"             {line}")
    broken = [link.name for link in links if not link.holds]
    if as_json:
        about = {"case": case, "data": data, "model": traced.version.name, "version": number}
        chain = [{("link" if k == "name" else k): v for k, v in asdict(link).items()} for link in links]
        typer.echo(json.dumps({**about, "champion": number == champion, "broken": broken, "links": chain}))
    else:
        typer.echo(f"  broken: {', '.join(broken)}" if broken else "  every link holds")
    raise typer.Exit(OTHER if broken else 0)
