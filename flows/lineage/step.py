"""One step of the lineage, from a model version back to its data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Result of comparing a record with what exists now; UNVERIFIED where there is nothing to compare with.
OK, MODIFIED, MISSING, UNVERIFIED = "ok", "modified", "missing", "unverified"


@dataclass(frozen=True)
class LineageStep:
    """A recorded fact and its status today; `details` are sentences for people, `recorded` is JSON for programs."""

    name: str
    summary: str
    status: str
    details: tuple[str, ...] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_intact(self) -> bool:
        """Whether nothing contradicts the record."""
        return self.status not in (MODIFIED, MISSING)


def worst_status(*statuses: str) -> str:
    """Return the worst of several statuses, OK for none."""
    return next((status for status in (MODIFIED, MISSING, UNVERIFIED) if status in statuses), OK)
