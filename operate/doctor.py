"""`steward doctor`: check the installation and the state directory, and fix what can be fixed.

Without --fix it writes nothing: no folder, no table. A check that raises is reported as a finding.
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
from operate.checks.finding import CheckBlockedError, CheckContext, Finding, NoRunsYetError
from operate.console import EXIT_FAILURE, console_logging, print_message


@dataclass(frozen=True)
class Check:
    """A check by the name of its function; its module is imported when the check runs."""

    name: str
    module: str
    is_fixable: bool = False

    def run(self, context: CheckContext) -> Iterator[Finding]:
        """Yield findings; change nothing."""
        yield from getattr(import_module(self.module), self.name)(context)

    def fix(self, context: CheckContext) -> Iterator[Finding]:
        """Repair what the check found; yield what was done."""
        for done in getattr(import_module(self.module), f"fix_{self.name}")(context):
            yield Finding(self.name, "ok", f"repaired: {done}")


CHECKS = (
    Check("state_dir", "operate.checks.state_dir"),
    Check("permissions", "operate.checks.state_dir", is_fixable=True),
    Check("folders", "operate.checks.state_dir"),
    Check("disk", "operate.checks.machine"),
    Check("versions", "operate.checks.machine"),
    Check("telemetry", "operate.checks.machine"),
    Check("database_lock", "operate.checks.database"),
    Check("database", "operate.checks.database", is_fixable=True),
    Check("clock", "operate.checks.machine"),
    Check("server", "operate.checks.server"),
    Check("access", "operate.checks.access"),
    Check("runs", "operate.checks.records", is_fixable=True),
    Check("artifacts", "operate.checks.artifacts", is_fixable=True),
    Check("ledger", "operate.checks.records", is_fixable=True),
    Check("store", "operate.checks.records"),
    Check("contracts", "operate.checks.contracts"),
)


def doctor(
    fix: Annotated[bool, typer.Option(help="Fix findings whose fix is `steward doctor --fix`.")] = False,
    deep: Annotated[
        bool, typer.Option(help="Verify every object of the store and every page of the database.")
    ] = False,
    verbose: Annotated[bool, typer.Option(help="Show the traceback of a check that fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per finding.")] = False,
) -> None:
    """Check settings, disk, database, server, runs, ledgers, store and contracts.

    Exit code 1: a finding is bad.
    """
    is_bad = False
    with console_logging(verbose):
        for finding in run_checks(fix, deep, verbose):
            is_bad |= finding.status == "bad"
            typer.echo(json.dumps(asdict(finding)) if as_json else _format(finding))
            # Some checks take seconds.
            sys.stdout.flush()
    raise typer.Exit(EXIT_FAILURE if is_bad else 0)


def run_checks(
    fix: bool = False, deep: bool = False, verbose: bool = False, checks: Iterable[Check] = CHECKS
) -> Iterator[Finding]:
    """Yield the findings of each check, after its fix if `fix` is set."""
    from tasks.library_variables import prepare_libraries_read_only
    from tasks.settings import load

    try:
        settings = load()
        prepare_libraries_read_only(settings)
    except StewardError as error:
        yield Finding("settings", "bad", error.got, f"{error.next_step}; nothing else was checked")
        return
    except OSError as error:
        message = f"no temporary folder can be created: {error.strerror}"
        yield Finding("disk", "bad", message, "set TMPDIR, or free some space")
        return
    context = CheckContext(settings, deep)
    for check in checks:
        findings = list(_guarded(check.name, partial(check.run, context), verbose))
        if fix and check.is_fixable and any(finding.status != "ok" for finding in findings):
            fixed = list(_guarded(check.name, partial(check.fix, context), verbose))
            # The context caches the state of the database, which the fix may have changed.
            context = CheckContext(settings, deep)
            findings = [*fixed, *_guarded(check.name, partial(check.run, context), verbose)]
        yield from dict.fromkeys(findings)


def _guarded(name: str, run: Callable[[], Iterable[Finding]], verbose: bool) -> Iterator[Finding]:
    """Yield findings; an exception becomes a finding without its text, which may contain a secret."""
    try:
        yield from run()
    except CheckBlockedError:
        message = "not checked: MLflow's database cannot be read"
        yield Finding(name, "warn", message, "fix `database` first")
    except NoRunsYetError:
        yield Finding(name, "ok", "nothing to check yet")
    except StewardError as error:
        yield Finding(name, "bad", f"expected {error.expected}; got {error.got}", error.next_step)
    except PermissionError as error:
        message = f"no permission to read {error.filename}"
        yield Finding(name, "bad", message, "grant it to this user, or see `state_dir`")
    except Exception as error:
        if verbose:
            print_message(traceback.format_exc())
        message = f"the check itself failed: {type(error).__name__}"
        yield Finding(name, "bad", message, "steward doctor --verbose")


def _format(finding: Finding) -> str:
    line = f"{finding.status:<5} {finding.check:<13} {finding.message}"
    if not finding.fix:
        return line
    indented = finding.fix.replace("\n", "\n" + " " * 25)
    return f"{line}\n{'':<20}fix: {indented}"
