"""Rules of a contract about features: those that models use as they are, and those that are computed."""

from collections.abc import Collection, Iterator

from ml.contract.declared_features import (
    KINDS,
    TIMES,
    DeclaredFeature,
    DeclaredFeatures,
    feature_columns,
)
from ml.contract.problems import Problem, listed, quoted
from ml.contract.read_options import ReadOptions
from ml.contract.roles import Roles


def check_features(
    read: ReadOptions, roles: Roles, split_by: str, declared: DeclaredFeatures
) -> Iterator[Problem]:
    """Check that a table has features, of types that models take."""
    features = feature_columns(read, roles, split_by, declared)
    if not features and not declared:
        yield Problem("at least one feature column", "none", "give meta.read.columns a column without a role")
    if times := [c for c in features if read.columns[c] in TIMES]:
        yield Problem(
            "numbers and categories as features, as models take no times, in meta.roles",
            listed(times),
            "give them the role time, list them in meta.roles.ignored, or compute something from them in meta.features",
        )


def check_declared_features(
    declared: DeclaredFeatures, read: ReadOptions, roles: Roles, split_by: str
) -> Iterator[Problem]:
    """Check that each feature has a new name, and columns that it can and may be computed from."""
    if declared and roles.user is not None:
        yield Problem("meta.features of a table only", "a log with the role user", "remove meta.features")
        return
    for name, feature in declared.items():
        place = f"meta.features[{quoted(name)}]"
        if not name.strip() or name in read.columns:
            yield Problem(
                f"a new name for {place}",
                "a column of meta.read.columns" if name.strip() else quoted(name),
                "name the feature otherwise",
            )
        yield from _check_columns(feature, place, read)
        yield from _check_roles(feature.columns, place, roles, split_by)


def _check_columns(feature: DeclaredFeature, place: str, read: ReadOptions) -> Iterator[Problem]:
    count, types = KINDS[feature.kind]
    if len(feature.columns) != count or len(set(feature.columns)) != count:
        yield Problem(
            f"{'one column' if count == 1 else 'two different columns'} for the kind {feature.kind} in {place}",
            listed(feature.columns),
            "correct the columns",
        )
    unknown = [column for column in feature.columns if column not in read.columns]
    if unknown:
        yield Problem(
            f"columns of meta.read.columns in {place}",
            listed(unknown),
            f"use some of {listed(sorted(read.columns))}",
        )
    for column in feature.columns:
        kind = read.columns.get(column)
        if kind is not None and types and kind not in types:
            yield Problem(
                f"the type {' or '.join(types)} for {quoted(column)} in {place}",
                quoted(kind),
                f"correct meta.read.columns, or choose another kind than {feature.kind}",
            )


def _check_roles(columns: Collection[str], place: str, roles: Roles, split_by: str) -> Iterator[Problem]:
    """Check that no column reveals the target, or which entity or held-out site a row belongs to, or is known late."""
    refused = {"target": roles.target, "id": roles.id, "group": roles.group, "known_at": roles.known_at}
    if split_by == "site":
        refused["site"] = roles.site
    for role, column in refused.items():
        if column is not None and column in columns:
            yield Problem(
                f"no column with the role {role} in {place}",
                quoted(column),
                "models must not know it: compute the feature from other columns",
            )
