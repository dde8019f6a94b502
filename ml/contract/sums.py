"""Columns that are the sum of others in each row."""

from typing import Annotated, Literal

from pydantic import Field

from ml.contract.values import Bool, ColumnName, Number, Reason, Section

MAX_PARTS = 100


class Sum(Section):
    """A column that is the sum of others in each row; a row without one of the values is not judged."""

    total: ColumnName
    """Column with the sum."""
    parts: Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=MAX_PARTS)]
    """Columns that are added."""
    subtracted: Annotated[tuple[ColumnName, ...], Field(max_length=MAX_PARTS)] = ()
    """Columns that are subtracted, such as what was paid out."""
    tolerance: Annotated[Number, Field(ge=0)] = 0.000001
    """How far the total may be away from the sum, as by rounding."""
    action: Literal["quarantine", "warn"] = "quarantine"
    """`quarantine` sets rows with another total aside as faults, `warn` only counts them."""
    reason: Reason
    """Why the columns are related so."""
    review: Bool = False
    """Whether the rule is a draft that a person still has to look at."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the total and all columns that are added or subtracted."""
        return (self.total, *self.parts, *self.subtracted)

    @property
    def name(self) -> str:
        """Return a short name for reports, such as `sum(total = net + tax)`."""
        return f"sum({self.total} = {' + '.join(self.parts)}{''.join(f' - {c}' for c in self.subtracted)})"
