"""`steward doctor`: what is wrong with this installation and its memory, and how each thing is put right.

It writes nothing unless told to: not the home, not a table. A check that fails is a finding like any other.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from typing import Annotated

import typer

from ml.errors import StewardError
from operate.checks.finding import BlockedError, Finding, Look, NothingYetError
from operate.console import OTHER, quiet, say


@dataclass(frozen=True)
class Check:
    """One look, by the module and the names of its functions: what it needs is imported when its turn comes."""

    name: str
    module: str
    mends: bool = False

    def look(self, look: Look) -> Iterator[Finding]:
        yield from getattr(import_module(self.module), self.name)(look)

    def mend(self, look: Look) -> Iterator[Finding]:
        for done in getattr(import_module(self.module), f"mend_{self.name}")(look):
            yield Finding(self.name, "ok", f"put right: {done}")


CHECKS = (
    Check("home", "operate.checks.home"),
    Check("folders", "operate.checks.home"),
    Check("disk", "operate.checks.machine"),
    Check("versions", "operate.checks.machine"),
    Check("telemetry", "operate.checks.machine"),
    Check("lock", "operate.checks.database"),
    Check("database", "operate.checks.database", mends=True),
    Check("clock", "operate.checks.machine"),
    Check("server", "operate.checks.server"),
    Check("runs", "operate.checks.records", mends=True),
    Check("artifacts", "operate.checks.artifacts", mends=True),
    Check("ledger", "operate.checks.records", mends=True),
    Check("store", "operate.checks.records"),
    Check("contracts", "operate.checks.contracts"),
)


def doctor(
    fix: Annotated[bool, typer.Option(help="Put right what can be: it says so beside each finding.")] = False,
    deep: Annotated[
        bool, typer.Option(help="Read all of the store again, and every page of the database.")
    ] = False,
    verbose: Annotated[bool, typer.Option(help="Where a check failed itself, show how.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per finding on stdout.")] = False,
) -> None:
    """Look for what is wrong here, and say how each thing is put right. Exit code 1 when something is bad."""
    worst = "ok"
    with quiet():
        for finding in examine(fix, deep, verbose):
            typer.echo(json.dumps(asdict(finding)) if as_json else _line(finding))
            worst = "bad" if finding.state == "bad" else worst
    sys.exit(OTHER if worst == "bad" else 0)


def examine(
    fix: bool = False, deep: bool = False, verbose: bool = False, checks: Iterable[Check] = CHECKS
) -> Iterator[Finding]:
    """What every check finds, one after the other."""
    from tasks import settings

    try:
        known = settings.load()
    except StewardError as refusal:
        yield Finding("settings", "bad", refusal.got, f"{refusal.next_step}; nothing else was looked at")
        return
    try:
        settings.prepare_to_look(known)
    except OSError as error:
        yield Finding(
            "disk", "bad", f"no temporary folder can be made: {error.strerror}", "set TMPDIR, or free some"
        )
        return
    look = Look(known, deep)
    for check in checks:
        found = list(_guarded(check.name, partial(check.look, look), verbose))
        if fix and check.mends and any(finding.state != "ok" for finding in found):
            mended = list(_guarded(check.name, partial(check.mend, look), verbose))
            # What the first look remembers of the database may be no longer so.
            look = Look(known, deep)
            found = [*mended, *_guarded(check.name, partial(check.look, look), verbose)]
        yield from dict.fromkeys(found)


def _guarded(name: str, looks: Callable[[], Iterable[Finding]], verbose: bool) -> Iterator[Finding]:
    """The findings; whatever is raised on the way to them is one more, without its text, which may quote a secret."""
    try:
        yield from looks()
    except BlockedError:
        yield Finding(
            name, "warn", "not looked at: MLflow's database cannot be", "put `database` right first"
        )
    except NothingYetError:
        yield Finding(name, "ok", "nothing yet")
    except StewardError as refusal:
        yield Finding(name, "bad", f"expected {refusal.expected}; got {refusal.got}", refusal.next_step)
    except PermissionError as error:
        yield Finding(name, "bad", f"this user may not read {error.filename}", "let it, or see `home`")
    except Exception as error:
        if verbose:
            say(traceback.format_exc())
        yield Finding(
            name, "bad", f"this check failed itself: {type(error).__name__}", "steward doctor --verbose"
        )


def _line(finding: Finding) -> str:
    said = f"{finding.state:<5} {finding.check:<10} {finding.found}"
    if not finding.fix:
        return said
    indented = finding.fix.replace("\n", "\n" + " " * 22)
    return f"{said}\n{'':<17}fix: {indented}"
