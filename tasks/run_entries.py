"""Entries of the facts of a run: stages, gates, damage, what was left out, and what stopped it."""

from typing import Any, NotRequired, TypedDict


class StageEntry(TypedDict):
    """One finished stage: the digest of its content and the object of the store that holds it.

    `stopped_by` is what ended the fits of a candidate.
    """

    stage: str
    digest: str
    object: str
    reused: bool
    seconds: float | None
    parameters: NotRequired[Any]
    time_limit: NotRequired[float | None]
    stopped_by: NotRequired[str]


class DamagedResult(TypedDict):
    """A stored result that was damaged and is not used: of which stage, and how it differed from its digests."""

    stage: str
    damage: str


class GateEntry(TypedDict):
    """One gate that the run reached."""

    gate: str
    passed: bool
    summary: str


class SkippedCandidate(TypedDict):
    """A candidate that was not fitted, or not compared because its fit is a constant, and why."""

    candidate: str
    reason: str
    constant: NotRequired[bool]


class TimeBudgetFacts(TypedDict):
    """The time budget in seconds, what it left out, the candidates that it cut short, and all this in a sentence.

    `note` is empty where the budget sufficed for everything.
    """

    seconds: float
    left_out: list[SkippedCandidate]
    cut_short: list[str]
    note: str


class StoppedFacts(TypedDict):
    """What stopped the run: a gate, and what it had found by then.

    In place of a gate, "error" is any other exception; CANCELLED and SUSPENDED are requests.
    """

    gate: str
    reason: str
    expected: NotRequired[str]
    got: NotRequired[str]
    next_step: NotRequired[str]
    found: NotRequired[dict[str, Any]]
