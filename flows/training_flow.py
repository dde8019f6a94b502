"""Make the Prefect flow of a use case; its form is made from `RunParameters`, in one place for all use cases."""

from collections.abc import Callable
from dataclasses import fields, replace
from inspect import Parameter, Signature
from typing import Any, get_type_hints

from prefect import Flow

from flows.pipeline import run
from flows.recording.outcome import RunOutcome
from flows.recording.prefect_run import current_run_name
from flows.temporary_server import local_flow
from flows.use_case import RunParameters, UseCase


def training_flow(case: UseCase) -> Flow[..., RunOutcome]:
    """Return a flow that trains, evaluates and promotes, with the fields of `RunParameters` as its parameters."""
    signature = _signature(case)

    def train(*args: Any, **kwargs: Any) -> RunOutcome:
        return run(case, RunParameters(**signature.bind(*args, **kwargs).arguments))

    return local_flow(case.name, current_run_name)(_described(train, signature, case))


def _signature(case: UseCase) -> Signature:
    """Return the parameters of a run, with types, limits and defaults."""
    defaults = replace(RunParameters(), time_budget=case.time_budget)
    types = get_type_hints(RunParameters, include_extras=True)
    return Signature(
        [
            Parameter(
                field.name,
                Parameter.POSITIONAL_OR_KEYWORD,
                default=getattr(defaults, field.name),
                annotation=types[field.name],
            )
            for field in fields(RunParameters)
        ],
        return_annotation=RunOutcome,
    )


def _described(train: Callable[..., Any], signature: Signature, case: UseCase) -> Callable[..., Any]:
    """Give the function the name, signature and docstring from which Prefect makes page and form."""
    lines = [case.question, "", "Args:"]
    for parameter in signature.parameters.values():
        (limits,) = parameter.annotation.__metadata__
        lines.append(f"    {parameter.name}: {limits.description}")
    # Prefect reads descriptions from the docstring, and limits from the annotations.
    train.__doc__ = "\n".join(lines)
    train.__name__ = train.__qualname__ = case.name.replace("-", "_")
    train.__module__ = f"flows.{train.__name__}"
    train.__signature__ = signature  # type: ignore[attr-defined]
    train.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items()
    } | {"return": RunOutcome}
    return train
