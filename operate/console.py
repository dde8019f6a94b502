"""Exit codes, arguments and terminal output shared by all commands; imports nothing heavy."""

import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from operate.progress import shown_progress

ROOT = Path(__file__).resolve().parents[1]
# Free bytes below which a failed run is reported as out of disk space: databases and files grow in blocks.
FULL_DISK_BYTES = 2**20
EXIT_FAILURE, EXIT_USAGE, EXIT_DATA_GATE, EXIT_QUALITY_GATE = 1, 2, 3, 4

CaseArgument = Annotated[str, typer.Argument(help="A use case; `steward data` lists them.")]
VersionArgument = Annotated[int | None, typer.Argument(help="A model version. Default: the champion.")]
ModelDataOption = Annotated[str, typer.Option(help="Data set of the model.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]


def exit_code(error: Exception) -> int:
    """Return the exit code of an error: usage or contract 2, data gate 3, quality gate 4, else 1."""
    from ml.errors import ContractError, DataGateError, QualityGateError, UsageError

    codes = {
        UsageError: EXIT_USAGE,
        ContractError: EXIT_USAGE,
        DataGateError: EXIT_DATA_GATE,
        QualityGateError: EXIT_QUALITY_GATE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), EXIT_FAILURE)


def require_case(case: str) -> None:
    """Raise UsageError for a name that is not a use case."""
    from ml.errors import UsageError
    from tasks.use_cases import use_case_names

    names = use_case_names()
    if case not in names:
        similar = get_close_matches(Path(case).stem.replace("_", "-"), names, 1)
        next_step = f"did you mean {similar[0]}?" if similar else "see `steward data`"
        raise UsageError(f"a use case ({', '.join(names)})", repr(case), next_step)


def case_module(case: str) -> ModuleType:
    """Import the module of a use case, with `CASE` and the flow of the module's name. Raises UsageError."""
    require_case(case)
    # Looking for garbage among what the libraries make takes a fifth of the time of their import, and finds none.
    gc.disable()
    try:
        return import_module(f"flows.{case.replace('-', '_')}")
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def console_logging(verbose: bool = False, progress: bool = False) -> Iterator[None]:
    """Log to stderr; what libraries log, and the details of fits, only if `verbose`.

    With `progress`, it is shown what is running and for how long.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "NOTSET" if verbose else "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "WARNING")
    log, database_log = logging.getLogger("steward"), logging.getLogger("mlflow.store.db.utils")
    # MLflow logs a traceback for each failed statement, and raises the error too.
    level = database_log.level
    database_log.setLevel(level if verbose else logging.CRITICAL)
    shown = shown_progress(verbose) if progress else nullcontext(logging.StreamHandler(sys.stderr))
    with shown as handler:
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            database_log.setLevel(level)


def describe_unexpected(error: Exception) -> str:
    """Describe an error that is no StewardError without its text, which may quote cells or secrets.

    With STEWARD_DEBUG its traceback, with the text, is printed to stderr first. A full disk has many symptoms: it is
    named instead.
    """
    from ml.errors import StewardError, UnexpectedError, describe_exception
    from tasks.settings import load

    try:
        settings = load()
    except StewardError:
        return describe_exception(error)
    if settings.debug:
        original = error.original if isinstance(error, UnexpectedError) else None
        print_message("".join(traceback.format_exception(original or error)))
    if settings.state_dir.exists() and settings.free_bytes < FULL_DISK_BYTES:
        return (
            f"no space is left in {settings.state_dir}: free some and run again; finished stages are reused"
        )
    hint = "" if settings.debug else " (STEWARD_DEBUG=1 shows its text and traceback here)"
    return f"unexpected {describe_exception(error)}{hint}"


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: running code can clean up. The exit code is 143."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def print_message(text: str) -> None:
    """Print to stderr; stdout is for results."""
    typer.echo(text, err=True)
