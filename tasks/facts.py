"""What a run records, as typed JSON: reports, MLflow, Prefect and lineage are made from it.

`RUN_FACTS_VERSION` counts changes of the keys. `upgrade` reads what earlier versions wrote.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

RUN_FACTS_VERSION = 2


class Estimate(TypedDict):
    """A measure with its 95 % interval."""

    value: float
    low: float
    high: float


class RuleResult(TypedDict):
    """One rule of the contract: rows that broke it, of the rows that it was applied to."""

    rule: str
    action: str
    reason: str
    violations: int
    rows: int
    verdict: str


class SourceFacts(TypedDict):
    """The table as it was read: where it came from, and what its contract does not name."""

    origin: dict[str, Any]
    rows: int
    dropped_columns: list[str]
    seconds: float
    differs_from_published: NotRequired[list[str]]


class ValidationFacts(TypedDict):
    """The contract gate: clean + quarantined + excluded = rows."""

    rows: int
    clean: int
    quarantined: int
    excluded: int
    rules: list[RuleResult]
    seconds: NotRequired[float]


class DatasetSize(TypedDict):
    """Rows and resampling units of a dataset; `mean` is that of the target."""

    rows: int
    units: int
    mean: NotRequired[float]


class SplitFacts(TypedDict):
    """The split, its leakage checks, and the settings of the contract that models are trained with."""

    datasets: dict[str, DatasetSize]
    policy: dict[str, Any]
    checks: dict[str, Any]
    sentinel_values: dict[str, list[float]]
    allow_repeats: bool
    never_recommend: list[str]
    decay: float | None
    split_by: str | None
    seconds: float
    purged: NotRequired[int]
    cutoffs: NotRequired[list[str]]
    catalogue: NotRequired[int]
    simultaneous_events: NotRequired[float]
    users_without_new_items: NotRequired[dict[str, int]]
    train_includes_later_events: NotRequired[bool]
    item_attributes: NotRequired[dict[str, int]]


class FitFacts(TypedDict):
    """One fitted candidate: its hyperparameters, and for a combined model what it is composed of."""

    candidate: str
    model: str
    parameters: Any
    importance: dict[str, float]
    composition: dict[str, Any]
    stopped_by: str | None
    seconds: float


class LeaderboardEntry(TypedDict):
    """One candidate on the validation split; `compared_with` is the paired test against the leader at that time."""

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
    compared_with: NotRequired[dict[str, Any]]


class TestEvaluation(TypedDict):
    """The final model and the baseline on the held-out test split."""

    rows: int
    primary: str
    value: float
    low: float
    high: float
    metrics: dict[str, float]
    intervals: dict[str, Estimate]
    curves: dict[str, Any]
    groups: list[dict[str, Any]]
    importance: dict[str, float]
    baseline: Estimate
    data_diagnostics: NotRequired[dict[str, Any]]
    user_examples: NotRequired[list[dict[str, Any]]]
    simulated_optimum: NotRequired[float]
    share_of_optimum: NotRequired[float]


class StageEntry(TypedDict):
    """One finished stage: the digest of its content and the object of the store that holds it."""

    stage: str
    digest: str
    object: str
    reused: bool
    seconds: float | None
    parameters: NotRequired[Any]


class GateEntry(TypedDict):
    """One gate that the run reached."""

    gate: str
    passed: bool
    summary: str


class SkippedCandidate(TypedDict):
    """A candidate that was not fitted, and why."""

    candidate: str
    reason: str


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
    split: NotRequired[SplitFacts]
    leaderboard: NotRequired[list[LeaderboardEntry]]
    evaluation: NotRequired[TestEvaluation]
    package: NotRequired[dict[str, Any]]
    checks: NotRequired[list[dict[str, Any]]]
    verdict: NotRequired[dict[str, Any]]
    champion_estimate: NotRequired[dict[str, float | None]]
    ledger_entry: NotRequired[int]
    stopped: NotRequired[dict[str, Any]]
    seconds: NotRequired[float]


def upgrade(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return run facts of any known version with the keys of `RUN_FACTS_VERSION`; unknown keys are kept."""
    if facts.get("facts_version", 1) >= RUN_FACTS_VERSION:
        return dict(facts)
    new = _renamed(facts, _RUN_KEYS)
    if "params" in new:
        new["params"] = _renamed(new["params"], {"budget": "time_budget"})
    if "source" in new:
        new["source"] = _renamed(new["source"], {"unlike_published": "differs_from_published"})
    if "validate" in new:
        rules = [_renamed(rule, {"bad": "violations"}) for rule in new["validate"].get("rules", [])]
        new["validate"] = {**new["validate"], "rules": rules}
    if "split" in new:
        new["split"] = _upgraded_split(new["split"])
    for name, keys in (
        ("gates", {"said": "summary"}),
        ("skipped", {"why": "reason"}),
        ("leaderboard", _ENTRY_KEYS),
    ):
        if name in new:
            new[name] = [_renamed(entry, keys) for entry in new[name]]
    if "evaluation" in new:
        new["evaluation"] = _renamed(new["evaluation"], _EVALUATION_KEYS)
    return {**new, "facts_version": RUN_FACTS_VERSION}


# Keys of version 1 (before 0.2.0) and what they are called now.
_RUN_KEYS = {
    "about": "publication",
    "asked": "params",
    "begun": "started",
    "test": "evaluation",
    "standing": "champion_estimate",
    "ledger_line": "ledger_entry",
    "refused": "stopped",
}
_SPLIT_KEYS = {
    "parts": "datasets",
    "cuts": "cutoffs",
    "nothing_new": "users_without_new_items",
    "reaches_past_the_answers": "train_includes_later_events",
    "special": "sentinel_values",
    "repeat": "allow_repeats",
    "blocked": "never_recommend",
    "asked": "split_by",
    "items": "item_attributes",
}
_CHECK_KEYS = {
    "foretelling": "single_feature_leaks",
    "histories_reaching_into_the_test": "histories_with_test_events",
    "answers_in_their_histories": "targets_in_history",
}
_ENTRY_KEYS = {"made_of": "composition", "against": "compared_with"}
_EVALUATION_KEYS = {
    "about_data": "data_diagnostics",
    "shoppers": "user_examples",
    "achievable": "simulated_optimum",
    "achieved": "share_of_optimum",
}


def _renamed(facts: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {keys.get(key, key): value for key, value in facts.items()}


def _upgraded_split(facts: Mapping[str, Any]) -> dict[str, Any]:
    new = _renamed(facts, _SPLIT_KEYS)
    if "datasets" in new:
        new["datasets"] = _renamed(new["datasets"], {"refit": "train_valid"})
    return {**new, "checks": _renamed(new.get("checks", {}), _CHECK_KEYS)}
