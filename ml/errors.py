"""Errors that stop a run; each message says what was expected, what was found, and what to do next."""

from collections.abc import Mapping
from typing import Any


class StewardError(Exception):
    """Base class of the errors that stop a run; no stage after the one that raised it has run.

    `gate` names the check that failed. Arguments never contain cell values, as messages end up in logs and reports.
    """

    gate = ""

    def __init__(
        self, expected: str, got: str, next_step: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        # All required arguments, as unpickling in another process calls `__init__` with them.
        super().__init__(expected, got, next_step)
        self.expected, self.got, self.next_step = expected, got, next_step
        # What the gate measured before it stopped the run, for the report of a failed run.
        self.facts = dict(facts or {})
        # The outcome of the failed run, set when it has ended.
        self.outcome: Any = None

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}; {self.next_step}"


class ContractError(StewardError):
    """The contract is invalid; no data was read."""

    gate = "contract"


class UsageError(StewardError):
    """Arguments or settings are invalid; nothing was read or written."""

    gate = "usage"


class DataGateError(StewardError):
    """The data was rejected: it violates the contract, or its split would leak."""

    gate = "data"


class LeakageError(DataGateError):
    """The split would leak the target, later events or entities of the training data into the evaluation."""

    gate = "split"


class StoredResultError(StewardError):
    """A result in the content store is damaged or missing; the same command computes it again."""

    gate = "store"


class DriftError(DataGateError):
    """The batch differs from the last accepted one as damaged data do."""

    gate = "drift"


class CandidateSkipped(StewardError):
    """A candidate cannot be trained on a table of this size or kind; the other candidates continue."""

    gate = "candidate"


class QualityGateError(StewardError):
    """The model must not be registered."""

    gate = "quality"


class PackagingError(QualityGateError):
    """The packaged model differs from the evaluated model, or a package cannot be read."""

    gate = "packaging"
