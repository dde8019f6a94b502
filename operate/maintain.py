"""`steward maintain`: delete what is past its retention."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer

from operate.console import console_logging
from operate.killed_runs import recorded_command


def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted; change nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """Delete runs and results past their retention, except what an alias, the ledger or an active run needs."""
    with console_logging():
        from flows.maintenance import maintenance, prefect_server, preview
        from tasks.settings import load

        settings = load()
        # A server that cannot write its database would be waited for.
        if settings.state_dir.exists():
            settings.create_state_dir()
        # Outside the flow, an unreachable server is reported as one message.
        with prefect_server(), nullcontext() if dry_run else recorded_command("maintain"):
            report = preview(settings) if dry_run else maintenance()
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"freed_bytes": report.freed_bytes}))
        return
    for correction in report.reconciled:
        typer.echo(f"{'to repair' if dry_run else 'repaired':>12}  {correction}")
    for deleted in report.deleted:
        size = _format_bytes(deleted.bytes)
        typer.echo(f"{deleted.kind:>12}  {size:>9}  {deleted.name}  ({deleted.reason})")
    if report.database_bytes:
        typer.echo(f"{'database':>12}  {_format_bytes(report.database_bytes):>9}  compacted")
    verb = "would free" if dry_run else "freed"
    typer.echo(
        f"{len(report.deleted):,} objects, {verb} {_format_bytes(report.freed_bytes)};"
        f" the store: {_format_bytes(report.store_bytes)}"
    )


def _format_bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
