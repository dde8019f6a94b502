"""Rules of a contract that concern several keys. Each function yields every mistake that it finds.

Types of single values are checked before. A section that is not valid by itself is left out here.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from ml.contract.feature_checks import check_declared_features, check_features
from ml.contract.log_checks import check_event_weights, check_item_table, check_recommendations
from ml.contract.problems import Problem, listed, quoted
from ml.contract.read_checks import check_read, unknown_columns
from ml.contract.read_options import ReadOptions
from ml.contract.roles import Roles
from ml.contract.schema import MetaDraft
from ml.contract.shared_codes import special_columns
from ml.contract.split_checks import check_split
from ml.contract.sums import Sum

NUMERIC = ("number", "integer")


def check_meta(meta: MetaDraft, invalid: Collection[str]) -> Iterator[Problem]:
    """Check the sections of `meta` against one another; `invalid` names those that cannot be used."""
    read, roles = meta.read, meta.roles
    yield from check_downloads(meta.downloads or {}, meta.sha256 or {})
    if read:
        yield from check_read(read)
        columns = {
            "meta.leakage_exceptions": {*meta.leakage_exceptions} - {*meta.features},
            "meta.drift.exceptions": meta.drift.exceptions,
            "meta.sentinel_values": meta.sentinel_values,
            "meta.copies": meta.copies.columns if meta.copies else (),
            "meta.first_row_per": _first_row_columns(meta),
            "meta.sums": [column for rule in meta.sums for column in rule.columns],
            "meta.split": [meta.split.column] if meta.split.column else [],
        }
        for place, named in columns.items():
            yield from unknown_columns(named, read, place)
        yield from check_sentinel_values(meta.sentinel_values, read)
        yield from check_sums(meta.sums, read)
    if roles:
        yield from check_roles(roles)
        yield from check_recommendations(meta, roles)
        if "split" not in invalid:
            yield from check_split(meta.split, roles)
    if read and roles:
        yield from check_role_columns(roles, read)
        if "event_weight_by_value" not in invalid:
            yield from check_event_weights(meta.event_weight_by_value, roles, read)
        yield from _check_special(meta, read, roles)
        if meta.item_attributes:
            yield from check_item_table(meta.item_attributes, roles, read)
        if "split" not in invalid and "features" not in invalid:
            yield from check_declared_features(meta.features, read, roles, meta.split.by)
            if roles.user is None:
                yield from check_features(read, roles, meta.split.by, meta.features)


def check_sums(sums: Sequence[Sum], read: ReadOptions) -> Iterator[Problem]:
    """Check that what is added are numbers, each named once, and at least two of them."""
    for rule in sums:
        if len(rule.columns) < 3:
            got = listed(rule.parts)
            yield Problem("two or more columns in parts and subtracted in meta.sums", got, "name another")
        kinds = {column: read.columns.get(column, "number") for column in rule.columns}
        if others := sorted(column for column, kind in kinds.items() if kind not in NUMERIC):
            yield Problem("columns of type number or integer in meta.sums", listed(others), "name others")
        if len(kinds) < len(rule.columns):
            yield Problem("each column once in an object of meta.sums", listed(rule.columns), "remove one")


def check_downloads(addresses: Mapping[str, str], digests: Mapping[str, str]) -> Iterator[Problem]:
    """Check that what is downloaded is verified, and comes from a web server."""
    for name, address in addresses.items():
        place = f"meta.downloads.{name}"
        if not address.startswith(("https://", "http://")):
            yield Problem(f"an address that begins with https:// in {place}", quoted(address), "correct it")
        if name not in digests:
            yield Problem(f"a digest of {name} in meta.sha256", "none", f"add it, or remove {place}")


def check_roles(roles: Roles) -> Iterator[Problem]:
    """Check that the roles describe either a table or a log."""
    classes = {
        "positive": roles.positive,
        "above": roles.above is not None,
        "labels": roles.labels,
        "number": roles.target_definition and roles.target_definition.number,
    }
    if len(given_classes := [key for key, given in classes.items() if given]) > 1:
        yield Problem(
            "meta.roles.target with positive, above, labels or number",
            listed(given_classes),
            "keep one of them",
        )
    if repeated := sorted({label for label in roles.labels if roles.labels.count(label) > 1}):
        yield Problem(
            "each class once in meta.roles.target.labels", listed(repeated), "write each class once"
        )
    if roles.at_most is not None and (roles.above is None or roles.at_most <= roles.above):
        yield Problem(
            "at_most beside a smaller above in meta.roles.target",
            "none" if roles.above is None else f"above {roles.above:g} and at_most {roles.at_most:g}",
            "set above, or remove at_most",
        )
    yield from _check_out_of_scope(roles)
    log = (roles.user, roles.item, roles.event_order)
    complete = (roles.user and roles.item) or roles.target
    if not complete or (roles.target and any(log)):
        given = [key for key in ("target", "user", "item", "time", "event_order") if getattr(roles, key)]
        yield Problem(
            "meta.roles.target, or the roles user, item and time or event_order",
            listed(given) if given else "none of them",
            "complete meta.roles",
        )
    if roles.user and roles.known_at:
        yield Problem(
            "the role known_at in meta.roles of a table only", quoted(roles.known_at), "remove the role"
        )
    for role in ("event_weight", "segment"):
        if roles.target and (column := getattr(roles, role)):
            yield Problem(
                f"the role {role} in meta.roles of a log only",
                f"a target and {quoted(column)}",
                "remove the role: rows of a table count the same, and the column stays a feature",
            )


def _check_out_of_scope(roles: Roles) -> Iterator[Problem]:
    if roles.out_of_scope and not roles.labels:
        yield Problem(
            "meta.roles.target.labels beside out_of_scope", "none", "name the classes, or remove out_of_scope"
        )
    if both := sorted({*roles.labels} & {*roles.out_of_scope}):
        yield Problem(
            "other values in meta.roles.target.out_of_scope than in labels",
            listed(both),
            "keep each in one of both lists",
        )


def check_role_columns(roles: Roles, read: ReadOptions) -> Iterator[Problem]:
    """Check that columns with a role are read, with types that the role can be computed from."""
    yield from unknown_columns(roles.columns(), read, "meta.roles")
    # Two classes above and below a number are of a numeric column too.
    numeric_target = None if roles.positive or roles.labels else roles.target
    allowed: Sequence[tuple[str | None, tuple[str, ...], str]] = (
        (numeric_target, NUMERIC, "target"),
        (roles.time, ("time", "epoch"), "time"),
        (roles.known_at, ("time", "epoch"), "known_at"),
        (roles.event_order, ("integer",), "event_order"),
        (roles.user, ("category",), "user"),
        (roles.item, ("category",), "item"),
        (roles.event_weight, ("category", *NUMERIC), "event_weight"),
        (roles.segment, ("category",), "segment"),
        *((column, ("category",), "text") for column in roles.text),
    )
    for column, types, role in allowed:
        if column is not None and column in read.columns and read.columns[column] not in types:
            yield Problem(
                f"the type {' or '.join(types)} for the {role} {quoted(column)} in meta.roles",
                quoted(read.columns[column]),
                "correct meta.read.columns, or give the target its positive classes or labels",
            )


def check_sentinel_values(
    sentinel_values: Mapping[str, Mapping[str, str]], read: ReadOptions
) -> Iterator[Problem]:
    """Check that codes are different numbers of numeric columns."""
    for column, codes in sentinel_values.items():
        place = f"meta.sentinel_values[{quoted(column)}]"
        kind = read.columns.get(column, "number")
        if kind not in NUMERIC:
            yield Problem(
                f"a column of type number or integer for {place}",
                quoted(kind),
                "remove it: each value of a category is a code already",
            )
        if len({float(code) for code in codes}) < len(codes):
            yield Problem(
                f"different numbers as keys of {place}", listed(sorted(codes)), "write each code once"
            )


def _check_special(meta: MetaDraft, read: ReadOptions, roles: Roles) -> Iterator[Problem]:
    """Check that codes of several columns are those of numeric ones, and are not listed twice."""
    listed_codes = {column: {float(code) for code in codes} for column, codes in meta.sentinel_values.items()}
    for number, special in enumerate(meta.shared_sentinel_values):
        place = f"meta.shared_sentinel_values[{number}]"
        columns = special_columns(special, read, roles)
        yield from unknown_columns(columns, read, f"{place}.columns")
        if others := [column for column in columns if read.columns.get(column, "number") not in NUMERIC]:
            yield Problem(
                f"columns of type number or integer in {place}.columns",
                listed(others),
                "leave them out: each value of a category is a code already",
            )
        for column in columns:
            codes = {float(code) for code in special.codes}
            if codes & listed_codes.get(column, set()):
                yield Problem(
                    f"each code of {quoted(column)} once in meta.sentinel_values and meta.shared_sentinel_values",
                    f"one of {place} twice",
                    "write it once",
                )
            listed_codes[column] = listed_codes.get(column, set()) | codes


def _first_row_columns(meta: MetaDraft) -> tuple[str, ...]:
    return (meta.first_row_per.entity, meta.first_row_per.order_by) if meta.first_row_per else ()
