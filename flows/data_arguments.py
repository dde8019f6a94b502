"""What is recorded of data that a flow is called with: tables become private files, addresses lose their passwords."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from tasks.data_access.database_url import is_database, without_password
from tasks.data_access.tables_in_memory import is_table, table_file
from tasks.settings import load


def recordable(data: Any) -> Any:
    """Return data as the parameter of a flow, which Prefect stores. Raises UsageError or DataGateError."""
    if is_table(data):
        settings = load()
        settings.create_state_dir()
        return str(table_file(data, settings.state_dir.resolve() / "store"))
    if isinstance(data, str) and is_database(data):
        return without_password(data)
    if isinstance(data, list | tuple):
        return [str(path) for path in data]
    return str(data) if hasattr(data, "__fspath__") else data


def recordable_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the arguments by name where `data` is among them; None where a call is left as it is."""
    try:
        given = signature(function).bind_partial(*args, **kwargs).arguments
    except TypeError:
        return None  # Prefect reports wrong arguments
    return {**given, "data": recordable(given["data"])} if "data" in given else None
