"""Features that a contract declares: new columns that are computed from other columns of the same row."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ml.contract.read_options import ReadOptions
from ml.contract.roles import Roles
from ml.contract.values import ColumnName, Section

NUMERIC, TIMES = ("number", "integer"), ("time", "epoch")
# For each kind the number of columns that it is computed from, and their types; empty for any type.
KINDS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "ratio": (2, NUMERIC),
    "difference": (2, NUMERIC),
    "product": (2, NUMERIC),
    "days_between": (2, TIMES),
    "hour": (1, TIMES),
    "weekday": (1, TIMES),
    "month": (1, TIMES),
    "missing": (1, ()),
}


class DeclaredFeature(Section):
    """A column that is computed from one or two columns of the same row."""

    kind: Literal["ratio", "difference", "product", "days_between", "hour", "weekday", "month", "missing"]
    """`ratio`, `difference` and `product` are of the first and the second column, `days_between` counts from the first
    to the second. `hour` is from 0 to 23 (UTC), `weekday` from 1 (Monday) to 7, `month` from 1 to 12. `missing` is 1
    where the column has no value, else 0."""
    columns: Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=2)]
    """The columns that it is computed from, in order."""


DeclaredFeatures = Mapping[ColumnName, DeclaredFeature]


def source_columns(declared: DeclaredFeatures) -> set[str]:
    """Return the columns that declared features are computed from."""
    return {column for feature in declared.values() for column in feature.columns}


def feature_columns(
    read: ReadOptions, roles: Roles, split_by: str, declared: DeclaredFeatures
) -> tuple[str, ...]:
    """Return the columns that models use as they are: those without a role that keeps them from models.

    The site is one of them unless it is held out. A time without a role is none of them where a feature is computed
    from it.
    """
    no_features = {roles.target, roles.id, roles.time, roles.known_at, roles.group, *roles.ignored}
    if split_by == "site":
        no_features.add(roles.site)
    times = {c for c in source_columns(declared) if read.columns.get(c) in TIMES}
    return tuple(c for c in read.columns if c not in no_features and c not in times)
