"""Rules of a contract that concern several keys. Each function yields every mistake that it finds.

Types of single values are checked before. A section that is not valid by itself is left out here.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from ml.contract.feature_checks import check_declared_features, check_features
from ml.contract.log_checks import check_event_weights, check_item_table, check_recommendations
from ml.contract.problems import Problem, listed, quoted
from ml.contract.read_options import LINE_FORMATS, ReadOptions
from ml.contract.roles import Roles
from ml.contract.schema import MetaDraft
from ml.contract.split_checks import check_split

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
        }
        for place, named in columns.items():
            yield from unknown_columns(named, read, place)
        yield from check_sentinel_values(meta.sentinel_values, read)
    if roles:
        yield from check_roles(roles)
        yield from check_recommendations(meta, roles)
        if "split" not in invalid:
            yield from check_split(meta.split, roles)
    if read and roles:
        yield from check_role_columns(roles, read)
        if "event_weight_by_value" not in invalid:
            yield from check_event_weights(meta.event_weight_by_value, roles, read)
        if meta.item_attributes:
            yield from check_item_table(meta.item_attributes, roles, read)
        if "split" not in invalid and "features" not in invalid:
            yield from check_declared_features(meta.features, read, roles, meta.split.by)
            if roles.user is None:
                yield from check_features(read, roles, meta.split.by, meta.features)


def check_downloads(addresses: Mapping[str, str], digests: Mapping[str, str]) -> Iterator[Problem]:
    """Check that what is downloaded is verified, and comes from a web server."""
    for name, address in addresses.items():
        place = f"meta.downloads.{name}"
        if not address.startswith(("https://", "http://")):
            yield Problem(f"an address that begins with https:// in {place}", quoted(address), "correct it")
        if name not in digests:
            yield Problem(f"a digest of {name} in meta.sha256", "none", f"add it, or remove {place}")


def check_read(read: ReadOptions) -> Iterator[Problem]:
    """Check how files are found and put together."""
    if read.row_column is not None:
        yield from unknown_columns([read.row_column], read, "meta.read.row_column")
        if (
            read.columns.get(read.row_column, "integer") != "integer"
            or read.row_column == read.source_column
            or read.simulator
        ):
            yield Problem(
                "a column of type integer that no file has, for rows of files, in meta.read.row_column",
                quoted(read.row_column),
                "name a column that only counts rows, or remove the key",
            )
    if read.format in LINE_FORMATS:
        yield from _check_line_format(read)
    if read.format == "intents" and len(read.file_columns) != 2:
        place = "for the format intents in meta.read"
        yield Problem(f"two columns, intent and text, {place}", listed(read.file_columns), "name these two")
    if read.source_column and read.join is not None:
        yield Problem(
            "files that are either stacked or joined",
            "both meta.read.source_column and meta.read.join",
            "keep one of them",
        )
    if bool(read.simulator) == bool(read.files):
        yield Problem(
            "either meta.read.files or meta.read.simulator", "both" if read.files else "neither", "keep one"
        )
    if len(read.files) > 1 and read.source_column is None and read.join is None:
        yield Problem(
            "meta.read.source_column or meta.read.join for several files",
            "neither",
            "stack the files with source_column, or join them on a key",
        )
    if read.simulator and read.rows < 1:
        yield Problem("at least one row in meta.read.rows", f"{read.rows}", "set how many rows to simulate")


def _check_line_format(read: ReadOptions) -> Iterator[Problem]:
    place = f"for the format {read.format} in meta.read"
    if read.header:
        yield Problem(f"header false {place}", "true", "set it to false: lines of items have no header")
    if len(read.file_columns) != 2:
        yield Problem(f"two columns, user and item, {place}", listed(read.file_columns), "name these two")
    if not read.separator:
        yield Problem(f"a separator {place}", "an empty text", "set the text between two items")
    if read.format == "baskets" and len(read.files) > 1:
        yield Problem(
            f"one file {place}",
            f"{len(read.files)}",
            "put them into one file: the number of the line is the user, and must be unique",
        )


def check_roles(roles: Roles) -> Iterator[Problem]:
    """Check that the roles describe either a table or a log."""
    classes = {"positive": roles.positive, "above": roles.above is not None, "labels": roles.labels}
    if len(given_classes := [key for key, given in classes.items() if given]) > 1:
        yield Problem(
            "meta.roles.target with positive, above or labels",
            listed(given_classes),
            "keep one, or none to predict a number",
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
    numeric_target = None if roles.positive or roles.labels else roles.target
    allowed: Sequence[tuple[str | None, tuple[str, ...], str]] = (
        (numeric_target, NUMERIC, "target"),
        (roles.time, ("time", "epoch"), "time"),
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


def _first_row_columns(meta: MetaDraft) -> tuple[str, ...]:
    return (meta.first_row_per.entity, meta.first_row_per.order_by) if meta.first_row_per else ()


def unknown_columns(columns: Collection[str], read: ReadOptions, place: str) -> Iterator[Problem]:
    """Check that columns are among those that are read."""
    if unknown := sorted(set(columns) - set(read.columns)):
        yield Problem(
            f"columns of meta.read.columns in {place}",
            listed(unknown),
            f"use one of {listed(sorted(read.columns))}",
        )
