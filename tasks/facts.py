"""What a run records, as typed JSON: reports, MLflow, Prefect and lineage are made from it.

`RUN_FACTS_VERSION` counts changes of the keys; tasks/facts_upgrade.py reads what earlier versions wrote.
"""

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from tasks.data_facts import (
    DatasetSettings,
    DriftFacts,
    FeatureFacts,
    ItemAttributeCounts,
    SourceFacts,
    ValidationFacts,
)
from tasks.run_entries import (
    DamagedResult,
    GateEntry,
    SkippedCandidate,
    StageEntry,
    StoppedFacts,
    TimeBudgetFacts,
)

if TYPE_CHECKING:
    # Imported for types only: it imports pandas.
    from ml.explanations.shapes import ShapeCurve
    from ml.explanations.user_examples import UserExample

RUN_FACTS_VERSION = 2
# In place of a gate, for a run that a person or a program asked to end.
CANCELLED, SUSPENDED = "cancelled", "suspended"


class Estimate(TypedDict):
    """A measure with its 95 % interval."""

    value: float
    low: float
    high: float


class ChampionEstimate(TypedDict):
    """The champion's primary metric on test rows that it was not trained on; None where it was not measured.

    `rows` counts these rows, and `baseline` is the baseline on the same ones.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: NotRequired[int]
    baseline: NotRequired[Estimate]


class DatasetSize(TypedDict):
    """Rows and resampling units of a dataset; `mean` is that of a target without classes, or of two."""

    rows: int
    units: int
    mean: NotRequired[float]


class ColumnEstimate(TypedDict):
    """How well one column alone predicts the target: AUC (or (1 + |Spearman's rho|) / 2) with its 95 % limits."""

    column: str
    value: float
    low: float
    high: float


class DominantColumn(TypedDict):
    """A column with nearly the whole signal of all columns: its AUC, its lower limit, and that share."""

    column: str
    value: float
    low: float
    share: float


class PairLeak(TypedDict):
    """Two columns that together reveal the target: by their combined values, weighted sum or product."""

    columns: list[str]
    kind: str
    value: float
    low: float


class CopyFindings(TypedDict):
    """Copies and near copies under other entities, and what they reveal (`ml.data.copy_evidence.CopyEvidence`)."""

    pairs: int
    copied_share: float
    exposed_share: float
    correlation: float
    limit: float
    is_leak: bool


class SplitChecks(TypedDict, total=False):
    """Leakage checks of a split: counts, and what reveals the target of a table.

    `measure` is AUC or, for a number, rank correlation; `single_feature_leaks` has it by column; `columns` are those
    that predict best alone; `warnings` are findings that are not certain enough to stop a run. `late_outcomes` counts,
    by pair of datasets, the rows of the earlier one whose outcome was not known before the later one begins.
    """

    measure: str
    shared_entities: dict[str, int]
    late_outcomes: dict[str, int]
    single_feature_leaks: dict[str, float]
    pair_leaks: list[PairLeak]
    dominant_column: DominantColumn
    columns: list[ColumnEstimate]
    copies: CopyFindings
    warnings: list[str]
    histories_with_test_events: int
    targets_in_history: int


class SimilarTexts(TypedDict):
    """Rows whose text another row has too, or nearly so (`ml.data.near_duplicates.NearDuplicates`).

    `exposed` counts the test rows with such a text in train or valid, which only a group of rows can cause.
    """

    rows: int
    exact: int
    near: int
    largest: int
    exposed: int


class GroupedCopies(TypedDict):
    """Rows that are copies, near copies or relatives and were kept together; `copies_only`: relatives were not
    sought."""

    rows: int
    largest: int
    copies_only: bool


class DivisionFacts(TypedDict):
    """What a split function reports: sizes of the datasets, and of a log its cutoffs, catalogue and order of events.

    `gap` counts rows that are in no dataset, as their outcome was not known when the next dataset began;
    `users_without_new_items` counts, by dataset, users with no target item that is new to them; `simultaneous_events`
    is the share of events with no order.
    """

    datasets: dict[str, DatasetSize]
    checks: SplitChecks
    purged: NotRequired[int]
    gap: NotRequired[int]
    similar_texts: NotRequired[SimilarTexts]
    near_copies: NotRequired[GroupedCopies]
    cutoffs: NotRequired[list[str]]
    catalogue: NotRequired[int]
    simultaneous_events: NotRequired[float]
    users_without_new_items: NotRequired[dict[str, int]]
    train_includes_later_events: NotRequired[bool]


class SplitFacts(DivisionFacts, DatasetSettings):
    """The split, its leakage checks, and the settings of the contract that models are trained with."""

    policy: dict[str, Any]
    seconds: float
    item_attributes: NotRequired[ItemAttributeCounts]


class FitFacts(TypedDict):
    """One fitted candidate: its hyperparameters, and for a combined model what it is composed of.

    `seconds` are those on the clock, `time_limit` the processor seconds per thread that the fit could take.
    """

    candidate: str
    model: str
    parameters: Any
    importance: dict[str, float]
    composition: dict[str, Any]
    stopped_by: str | None
    seconds: float
    time_limit: float | None


class Comparison(TypedDict):
    """The paired test of a candidate against the `candidate` that led before it."""

    candidate: str
    value: float
    low: float
    high: float
    p_value: float
    level: float


class LeaderboardEntry(TypedDict):
    """One candidate on the validation split; `compared_with` is the paired test against the leader at that time.

    With `out_of_fold`, on the rows of train and valid, predicted by models that were fitted to other folds.
    """

    candidate: str
    value: float
    low: float
    high: float
    metrics: dict[str, float]
    decision: dict[str, float]
    seconds: float
    stopped_by: str | None
    composition: dict[str, Any]
    megabytes: float
    milliseconds_per_1000: float
    reused: bool
    leads: bool
    out_of_fold: NotRequired[bool]
    compared_with: NotRequired[Comparison]
    shapes: NotRequired[list["ShapeCurve"]]


class EvaluationFacts(TypedDict):
    """The final model and the baseline on the held-out test split; `rarer_class` counts units of a binary target.

    `groups` are those of `ml.evaluation.subgroups`, and `groups_note` says which of them are too small to be evaluated;
    `group_metric` is what they are compared by, where that is not the primary metric.
    `confusion` counts test rows by truth and decision; `out_of_scope` is how well rows of none of the classes
    are found; `rank_correlations` are those of numeric columns with the prediction; `item_titles` are by item of the
    examples.
    """

    rows: int
    primary: str
    value: float
    low: float
    high: float
    metrics: dict[str, float]
    intervals: dict[str, Estimate]
    curves: dict[str, Any]
    groups: list[dict[str, Any]]
    groups_note: NotRequired[str]
    group_metric: NotRequired[str]
    importance: dict[str, float]
    baseline: Estimate
    rarer_class: NotRequired[int]
    confusion: NotRequired[dict[str, int]]
    out_of_scope: NotRequired[dict[str, float]]
    rank_correlations: NotRequired[dict[str, float]]
    item_titles: NotRequired[dict[str, str]]
    data_diagnostics: NotRequired[dict[str, Any]]
    user_examples: NotRequired[list["UserExample"]]
    simulated_optimum: NotRequired[float]
    share_of_optimum: NotRequired[float]


class RunFacts(TypedDict):
    """Everything recorded about one run; keys that a stage adds are missing until that stage has ended."""

    facts_version: int
    case: str
    question: str
    metric: str
    data: str
    contract: str
    publication: dict[str, Any]
    descriptions: dict[str, str]
    nouns: NotRequired[dict[str, str]]
    sensitive_inputs: NotRequired[list[str]]
    params: dict[str, Any]
    files: list[str]
    contract_file: str | None
    started: str
    commit: str | None
    code: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    mlflow: dict[str, str]
    prefect: dict[str, str | None]
    stages: list[StageEntry]
    gates: list[GateEntry]
    skipped: list[SkippedCandidate]
    source: NotRequired[SourceFacts]
    validate: NotRequired[ValidationFacts]
    drift: NotRequired[DriftFacts]
    split: NotRequired[SplitFacts]
    features: NotRequired[FeatureFacts]
    time_budget: NotRequired[TimeBudgetFacts]
    leaderboard: NotRequired[list[LeaderboardEntry]]
    evaluation: NotRequired[EvaluationFacts]
    package: NotRequired[dict[str, Any]]
    checks: NotRequired[list[dict[str, Any]]]
    verdict: NotRequired[dict[str, Any]]
    champion_estimate: NotRequired[ChampionEstimate]
    ledger_entry: NotRequired[int]
    stopped: NotRequired[StoppedFacts]
    damaged_results: NotRequired[list[DamagedResult]]
    seconds: NotRequired[float]
