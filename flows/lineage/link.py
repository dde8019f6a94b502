"""Link: one step of the way from a model back to the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a look at a recorded thing finds. `UNCHECKED` is said where there is nothing to hold it against.
OK, CHANGED, GONE, UNCHECKED = "ok", "changed", "gone", "unchecked"


@dataclass(frozen=True)
class Link:
    """What is recorded, and whether it still is what it was: `details` for people, `recorded` for programs."""

    name: str
    said: str
    status: str
    details: tuple[str, ...] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.status not in (CHANGED, GONE)


def worst(*statuses: str) -> str:
    """The status of what consists of several things."""
    return next(one for one in (CHANGED, GONE, UNCHECKED, OK) if one in statuses)
