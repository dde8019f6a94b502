"""Numbers that are codes and no quantities: of single columns, and of several at once."""

from collections.abc import Mapping, Sequence

from ml.contract.read_options import ReadOptions
from ml.contract.roles import Roles
from ml.contract.values import Codes, Columns, Section


class SpecialCodes(Section):
    """Numbers that are codes in several columns."""

    codes: Codes
    """The numbers, each with its meaning."""
    columns: Columns | None = None
    """Columns (`number` or `integer`) that have them; by default all without the role target, id, group or time."""


def special_columns(special: SpecialCodes, read: ReadOptions, roles: Roles) -> tuple[str, ...]:
    """Return the columns that have the codes."""
    if special.columns is not None:
        return special.columns
    kept = {roles.target, roles.id, roles.time, roles.group, roles.event_order}
    return tuple(c for c, kind in read.columns.items() if kind in ("number", "integer") and c not in kept)


def codes_by_column(
    single: Mapping[str, Codes], shared: Sequence[SpecialCodes], read: ReadOptions, roles: Roles
) -> dict[str, tuple[float, ...]]:
    """Return the codes of each column, ascending."""
    codes = {column: set(map(float, given)) for column, given in single.items()}
    for special in shared:
        for column in special_columns(special, read, roles):
            codes.setdefault(column, set()).update(map(float, special.codes))
    return {column: tuple(sorted(numbers)) for column, numbers in codes.items()}
