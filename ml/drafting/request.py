"""The input of a draft: use case, file, and what the user has chosen already."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ml.errors import UsageError


@dataclass(frozen=True)
class CaseKind:
    """What kind of data a use case needs: a log of events, or a table whose target has two or several classes.

    With `numbers`, the target may be a number; with `classes_on_request`, a person may say that it has several classes.
    """

    name: str
    is_log: bool = False
    several_classes: bool = False
    numbers: bool = False
    reads_texts: bool = False
    classes_on_request: bool = False

    def with_classes(self) -> Self:
        """Return the same with each class of the target to be predicted. Raises UsageError where that is impossible."""
        if self.several_classes:
            return self
        if not self.classes_on_request:
            got = (
                f"the use case {self.name}, which reads logs" if self.is_log else f"the use case {self.name}"
            )
            raise UsageError(
                "--classes for a use case that predicts several classes", got, "leave --classes out"
            )
        return replace(self, several_classes=True)


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
