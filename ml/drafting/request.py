"""The input of a draft: use case, file, and what the user has chosen already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CaseKind:
    """What kind of data a use case needs: a log of events, or a table whose target has two or several classes.

    With `numbers`, the target may be a number.
    """

    name: str
    is_log: bool = False
    several_classes: bool = False
    numbers: bool = False
    reads_texts: bool = False


@dataclass(frozen=True)
class DraftRequest:
    """A draft for a use case: the name of the data set, how its files are read, and what a person has decided.

    `read` is `meta.read` without the columns; `doubts` are what is uncertain about it, by key.
    """

    case: CaseKind
    name: str
    read: Mapping[str, Any]
    doubts: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    positive: tuple[str, ...] = ()
    # Numbers above this one are the positive class.
    above: float | None = None

    @property
    def in_health(self) -> bool:
        """Return whether names of columns are trusted to be those of measurements."""
        return self.case.name == "health-prediction"
