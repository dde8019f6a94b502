"""Errors that stop a run; each message says what was expected, what was found, and what to do next."""

from collections.abc import Mapping
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any

# Root of the code that is ours: frames below it are named first where an exception is described.
_ROOT = Path(__file__).resolve().parents[1]
# Frames of our code that the description of an exception names, the innermost first.
_MAX_FRAMES = 6


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


class FeatureError(DataGateError):
    """The features cannot be computed from these data."""

    gate = "features"


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


class UnexpectedError(Exception):
    """Stands for an exception of a library or a programming error outside of the stage or flow that it ended.

    Texts of such exceptions may quote cells, so only type and place are kept: `place`, as of `describe_exception`.
    `original` is the exception itself, for a person at a terminal; it is never pickled or printed elsewhere.
    """

    def __init__(self, place: str, original: BaseException | None = None) -> None:
        super().__init__(place)
        self.place, self.original = place, original

    def __reduce__(self) -> tuple[type["UnexpectedError"], tuple[str]]:
        return UnexpectedError, (self.place,)


def describe_exception(error: BaseException) -> str:
    """Return type and place of an exception without its text, which may quote cells, headers or secrets.

    The place is the innermost frames of our code, and the frame of the library that raised it.
    """
    if isinstance(error, UnexpectedError):
        return error.place
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in reversed(frames) if _is_own(frame)]
    places = [_place(frame) for frame in (own or frames[-1:])[:_MAX_FRAMES]]
    description = " < ".join([f"{type(error).__name__} at {places[0]}", *places[1:]]) if places else ""
    if own and not _is_own(frames[-1]):
        description += f", raised in {_place(frames[-1])}"
    return description or type(error).__name__


def _is_own(frame: FrameSummary) -> bool:
    path = Path(frame.filename)
    return path.is_relative_to(_ROOT) and "site-packages" not in path.parts and frame.name != "redacting"


def _place(frame: FrameSummary) -> str:
    path = Path(frame.filename)
    if _is_own(frame):
        path = path.relative_to(_ROOT)
    elif "site-packages" in path.parts:
        path = Path(*path.parts[len(path.parts) - path.parts[::-1].index("site-packages") :])
    return f"{path.as_posix()}:{frame.lineno} ({frame.name})"
