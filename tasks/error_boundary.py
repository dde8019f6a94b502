"""The boundary that no text of a foreign exception crosses: it may quote cells, headers or secrets.

Prefect stores the text of an exception that ends a task or flow, logs its traceback with the exceptions that it was
chained to, and serves both. Every task and flow is decorated with `redact_errors`.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from ml.errors import StewardError, UnexpectedError, describe_exception

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def redact_errors(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Wrap a stage or flow: a StewardError leaves it unchained, any other exception as an UnexpectedError."""

    @wraps(function)
    def redacting(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except (StewardError, UnexpectedError) as error:
            raise error from None
        except Exception as error:
            raise UnexpectedError(describe_exception(error), error) from None

    return redacting


def is_unexpected(error: object, kind: type[Exception]) -> bool:
    """Return whether an error is of a kind, or stands for one that is."""
    return isinstance(error.original if isinstance(error, UnexpectedError) else error, kind)
