"""`steward maintain`: what is no longer needed goes."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from operate.console import quiet


def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; change nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, all else on stderr.")
    ] = False,
) -> None:
    """Take away what is past its retention; never what an alias, the ledger or a run at work needs."""
    with quiet():
        from flows.maintenance import maintenance, prefect_server, survey
        from tasks import settings

        known = settings.load()
        # RunParameters first: the flow itself would say of a server that is away where in Prefect that was found.
        with prefect_server():
            done = survey(known) if dry_run else maintenance()
    if as_json:
        typer.echo(json.dumps(asdict(done) | {"freed_bytes": done.freed_bytes}))
        return
    for told in done.put_right:
        typer.echo(f"{'to put right' if dry_run else 'put right':>12}  {told}")
    for one in done.gone:
        typer.echo(f"{one.kind:>12}  {_size(one.bytes):>9}  {one.name}  ({one.why})")
    if done.database_bytes:
        typer.echo(f"{'database':>12}  {_size(done.database_bytes):>9}  made smaller")
    verb = "would free" if dry_run else "freed"
    typer.echo(
        f"{len(done.gone):,} things, {verb} {_size(done.freed_bytes)}; the store: {_size(done.store_bytes)}"
    )


def _size(number: float) -> str:
    """Bytes in the unit that shows them best."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
