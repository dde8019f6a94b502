"""Why something was stopped. Every message says what was expected, what came, and what to do next."""

from collections.abc import Mapping
from typing import Any


class StewardError(Exception):
    """A gate stopped the run; nothing after that gate ran.

    `gate` is its name. Arguments never hold cell values of people: a message ends in logs and reports.
    """

    gate = ""

    def __init__(
        self, expected: str, got: str, next_step: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        # All that `__init__` requires: an exception is pickled, as between processes, with its arguments.
        super().__init__(expected, got, next_step)
        self.expected, self.got, self.next_step = expected, got, next_step
        # What the gate had found out when it stopped the run: the report of a refused run shows it.
        self.facts = dict(facts or {})
        # The line about the refused run, once it has ended.
        self.outcome: Any = None

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}; {self.next_step}"


class ContractError(StewardError):
    """The contract itself is wrong: nothing was read."""

    gate = "contract"


class UsageError(StewardError):
    """Arguments or settings are wrong: nothing was read or written."""

    gate = "usage"


class DataGateError(StewardError):
    """The data may not enter: the contract was broken, or the split would leak."""

    gate = "data"


class LeakageError(DataGateError):
    """The split would let the answer, the future or a known entity into the exam."""

    gate = "split"


class CandidateSkipped(StewardError):
    """A candidate cannot learn from a table of this size or kind: it is left out, and the others go on."""

    gate = "candidate"


class QualityGateError(StewardError):
    """The model may not be registered."""

    gate = "quality"


class PackagingError(QualityGateError):
    """The packaged model is not the model that was judged."""

    gate = "packaging"
