"""Outcome: what a run came to, as one line."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunOutcome:
    """One line about one run: the figures are those of the model that is champion at the end, on test rows."""

    case: str
    data: str
    champion: str
    version: int | None
    verdict: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    rows: int | None
    quarantined: int | None
    excluded: int | None
    seconds: float
    reused: list[str]
    report: str
    gates: list[str] = field(default_factory=list)
    reason: str = ""
    candidate: str = ""
