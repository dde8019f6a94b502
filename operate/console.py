"""What all commands share: exit codes, options, and what a person sees. Light: nothing heavy is imported."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[1]
OTHER, USAGE, DATA_REFUSED, MODEL_REFUSED = 1, 2, 3, 4

# What commands about one version take.
CaseName = Annotated[str, typer.Argument(help="A use case; see `steward data`.")]
VersionNumber = Annotated[int | None, typer.Argument(help="A version; the champion by default.")]
ModelOf = Annotated[str, typer.Option(help="The data set whose model is meant.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def exit_code(refusal: Exception) -> int:
    """What a refusal means to whoever called."""
    from ml.errors import ContractError, DataGateError, QualityGateError, UsageError

    codes = {
        UsageError: USAGE,
        ContractError: USAGE,
        DataGateError: DATA_REFUSED,
        QualityGateError: MODEL_REFUSED,
    }
    return next((code for kind, code in codes.items() if isinstance(refusal, kind)), OTHER)


def known_case(case: str) -> None:
    """Raises UsageError for a name that is no use case."""
    from ml.errors import UsageError
    from tasks.use_cases import cases

    if case not in cases():
        raise UsageError(f"a use case ({', '.join(cases())})", repr(case), "see `steward data`")


def flow_module(case: str) -> ModuleType:
    """The use case's module, whose `CASE` and whose flow of the same stem are its own. Raises UsageError."""
    known_case(case)
    return import_module(f"flows.{case.replace('-', '_')}")


@contextmanager
def quiet(verbose: bool = False) -> Iterator[None]:
    """Our own progress on stderr, and nothing of the libraries unless asked for."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "NOTSET" if verbose else "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "WARNING")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("steward")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def say(text: str) -> None:
    """To stderr: stdout is for results."""
    typer.echo(text, err=True)
