"""The result of one run."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunOutcome:
    """The result of one run; metrics are those of the champion after the run, on the test split."""

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
    time_budget_note: str = ""
    groups_note: str = ""
    constants_note: str = ""
