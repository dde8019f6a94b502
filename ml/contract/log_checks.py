"""Rules of a contract about what only a log of interactions has: event weights, and attributes of items."""

from collections.abc import Iterator, Mapping

from ml.contract.problems import Problem, listed, quoted
from ml.contract.read_options import ItemTable, ReadOptions
from ml.contract.roles import Roles
from ml.contract.schema import MetaDraft


def check_recommendations(meta: MetaDraft, roles: Roles) -> Iterator[Problem]:
    """Check that only a log has settings of recommendations."""
    if roles.item is None:
        for key in ("never_recommend", "decay"):
            if getattr(meta, key):
                yield Problem(f"meta.{key} only with a role item", "no such role", "remove it")


def check_event_weights(weights: Mapping[str, float], roles: Roles, read: ReadOptions) -> Iterator[Problem]:
    """Check that the values of a category with the role event_weight have weights, and nothing else has."""
    place = "meta.event_weight_by_value"
    column = roles.event_weight
    if column is not None and column not in read.columns:
        return
    kind = None if column is None else read.columns.get(column)
    if weights and kind != "category":
        yield Problem(
            f"a category with the role event_weight for {place}",
            "none" if kind is None else quoted(kind),
            "name its column in meta.roles.event_weight, or remove the weights: a number is its own weight",
        )
    if kind == "category" and not weights:
        yield Problem(
            f"a weight of each value of {quoted(column)} in {place}",
            "none",
            "write how much each value counts",
        )


def check_item_table(table: ItemTable, roles: Roles, read: ReadOptions) -> Iterator[Problem]:
    """Check the side table of a log: its file, and the columns of a CSV file."""
    place = "meta.item_attributes"
    if not roles.user or not read.files:
        yield Problem(
            f"the roles user and item, and files in meta.read, for {place}",
            "no such roles" if read.files else "no files",
            f"remove {place}: a table has attributes as columns",
        )
    if not table.file or table.file in read.files:
        yield Problem(
            f"a file of its own in {place}.file", quoted(table.file), "name the file that lists the items"
        )
    if table.format == "json":
        keys = ("file", "format", "encoding")
        if unknown := sorted(table.model_fields_set - set(keys)):
            yield Problem(
                f"only the keys {', '.join(keys)} in {place} of format json", listed(unknown), "remove them"
            )
        return
    if not table.item or not table.attributes or not table.separator or table.list_separator == "":
        yield Problem(
            f"item, attributes, and separators that are not empty, in {place}",
            f"item {quoted(table.item)}, attributes {listed(table.attributes)}, "
            f"separators {quoted(table.separator)} and {quoted(table.list_separator)}",
            "name the column of the item and those of its attributes",
        )
    if table.header == bool(table.columns):
        yield Problem(
            f"the names of all columns in {place}.columns if the file has no header, and only then",
            f"header {quoted(table.header)} and {len(table.columns)} columns",
            "name them, or set header",
        )
    named = (table.item, *table.attributes, *filter(None, [table.title]))
    unknown = sorted(set(named) - set(table.columns)) if table.columns else []
    repeated = {c for columns in (named, table.columns) for c in columns if columns.count(c) > 1}
    if unknown or repeated:
        yield Problem(
            f"columns of the file in {place}, each once", listed(unknown or sorted(repeated)), "correct them"
        )
