"""What the stages before training record about a batch, as typed JSON: parts of a run's facts (tasks/facts.py)."""

from typing import Any, Literal, NotRequired, TypedDict

from tasks.dropped_columns import DroppedColumns

RuleVerdict = Literal["passed", "failed", "warned", "applied"]


class RuleResult(TypedDict):
    """One rule of the contract: rows that broke it, of the rows that it was applied to.

    Verdicts: passed (no violation), failed (the batch is rejected), warned, applied (violations within the tolerance of
    the rule; with the actions quarantine and exclude these rows were removed). `kinds` counts the rows by kind of value
    that broke a rule about single rows, such as "a number below 18"; it quotes none.
    """

    rule: str
    action: str
    reason: str
    violations: int
    rows: int
    verdict: RuleVerdict
    kinds: NotRequired[dict[str, int]]


class SourceFacts(TypedDict):
    """The table as it was read: where it came from, what its contract does not name, and what may be cut short."""

    origin: dict[str, Any]
    rows: int
    dropped_columns: DroppedColumns
    seconds: float
    differs_from_published: NotRequired[list[str]]
    file_notes: NotRequired[list[str]]


class ColumnProfileFacts(TypedDict):
    """One column of the clean rows, without any value of a category (`ml.data.profile.ColumnProfile`)."""

    column: str
    type: str
    missing: float
    distinct: int
    low: float | None
    median: float | None
    high: float | None
    notes: list[str]


class ValidationFacts(TypedDict):
    """The contract gate: clean + quarantined + excluded = rows.

    `items_excluded` counts the items of the side table whose rows were all excluded. `profile` describes the clean rows
    of a training run. `unreviewed` are points of a drafted contract that are still marked for review.
    `quarantine_differences` say how the rows in quarantine differ from those that stay.
    """

    rows: int
    clean: int
    quarantined: int
    excluded: int
    rules: list[RuleResult]
    items_excluded: NotRequired[int]
    profile: NotRequired[list[ColumnProfileFacts]]
    quarantine_differences: NotRequired[list[str]]
    unreviewed: NotRequired[list[str]]
    seconds: NotRequired[float]


class DriftFinding(TypedDict):
    """One difference from the reference batch: an effect beyond its bound. `column` is empty for the whole batch."""

    column: str
    kind: str
    text: str
    effect: float
    bound: float
    action: Literal["refuse", "warn"]


class DriftFacts(TypedDict):
    """The comparison with an earlier batch, which `reference` names; or why there was none, if not `compared`.

    `unchanged` marks the same rows as before. `accepted` is the reason for which severe differences were accepted.
    """

    reference: str
    compared: bool
    findings: list[DriftFinding]
    seconds: float
    rows_before: NotRequired[int]
    unchanged: NotRequired[bool]
    accepted: NotRequired[str]


class ItemAttributeCounts(TypedDict):
    """Items of a side table, and how many of them or of the log lack interactions or attributes."""

    items: int
    with_attributes: int
    without_interactions: int
    interacted_without_attributes: int


class DatasetSettings(TypedDict):
    """The settings of the contract that models are trained with."""

    sentinel_values: dict[str, list[float]]
    allow_repeats: bool
    never_recommend: list[str]
    decay: float | None
    classes: list[str]
    coverage: float
    text_columns: list[str]
    split_by: str | None


class DeclaredFeatureFacts(TypedDict):
    """A column that the contract declares: how it is computed, and its share of missing cells in train."""

    name: str
    description: str
    missing: float


class TextFeatureFacts(TypedDict):
    """A column with texts that was replaced by lengths and `topics`, computed from `ngrams` known ones of a `unit`."""

    column: str
    topics: int
    ngrams: int
    unit: str


class FeatureFacts(DatasetSettings):
    """The features that were computed from the datasets of a split, and the settings that hold for them."""

    declared: list[DeclaredFeatureFacts]
    texts: list[TextFeatureFacts]
    seconds: float
