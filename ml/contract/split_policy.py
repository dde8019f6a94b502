"""How the rows of a table, or the events of a log, are divided into train, valid and test."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field

from ml.contract.roles import Roles
from ml.contract.values import ColumnName, Labels, Number, Section, Share

# A hundred years, in days.
MAX_HORIZON = 36_525

# Ways to split a table of rows.
ROW_SPLITS = ("hash", "stratified", "time", "site", "column")
# Ways to split a log, each with the roles of which it needs one, and whether it has shares.
LOG_SPLITS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "time": (("time",), True),
    "session": (("time",), True),
    "last": (("time", "event_order"), False),
    "random_last_out": ((), False),
}


class SplitPolicy(Section):
    """How rows are divided into train, valid and test."""

    by: Literal["hash", "stratified", "time", "site", "column", "session", "last", "random_last_out"] = "hash"
    """A table: `hash` of the id or group, `stratified` (hash within each class), `time` (the latest rows are the test),
    `site`, or `column` where the rows are divided already. A log: `time` (events after a cutoff), `session` (the last
    event of each user after a cutoff), `last` (the last event of each user) or `random_last_out` (one event of each
    user, where a log has no order). By default a table is split by hash, a log by time or, without time, by last."""
    test: Share = 0.2
    """Share for the test: of the rows, or of the latest rows or events where `by` is `time` or `session`. The splits by
    `site`, `last` and `random_last_out` have none."""
    valid: Share = 0.2
    """Share for validation, likewise; by `site`, of the rows at other sites."""
    horizon: Annotated[Number, Field(gt=0, le=MAX_HORIZON)] | None = None
    """Days from a row until its outcome is known, where no column has the role `known_at`."""
    sites: Labels = ()
    """Sites that are the test, where `by` is `site`."""
    column: ColumnName | None = None
    """Column that says which rows are the test, where `by` is `column`; such as `source_column` of files."""
    test_values: Labels | None = None
    """Values of `column` that are the test."""
    valid_values: Labels | None = None
    """Values of `column` that are validation; by default the share `valid` of the rows that are not the test."""

    group_near_copies: bool = False
    """Keep rows of a table in one dataset that are copies, near copies or relatives of one another."""

    def completed(self, roles: Roles) -> Self:
        """Fill in what the roles decide: how a log is split by default, and that leave-one-out has no shares."""
        if roles.user is None:
            return self
        by = self.by if "by" in self.model_fields_set else "time" if roles.time else "last"
        if not LOG_SPLITS.get(by, ((), True))[1]:
            return self.model_copy(update={"by": by, "test": 0.0, "valid": 0.0})
        return self.model_copy(update={"by": by})
