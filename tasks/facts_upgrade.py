"""Read run facts and verdicts that earlier versions recorded."""

from collections.abc import Mapping
from typing import Any

from tasks.facts import RUN_FACTS_VERSION

# Verdicts that version 1 recorded, here and in ledgers, and what they are called now.
FORMER_VERDICTS = {"keep": "keep_champion", "incomparable": "champion_unusable", "nothing new": "unchanged"}
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
_ITEM_COUNT_KEYS = {
    "listed": "items",
    "new": "without_interactions",
    "had_without": "interacted_without_attributes",
}
_ENTRY_KEYS = {"made_of": "composition", "against": "compared_with"}
_EVALUATION_KEYS = {
    "about_data": "data_diagnostics",
    "shoppers": "user_examples",
    "achievable": "simulated_optimum",
    "achieved": "share_of_optimum",
}
_ORDER_KEYS = {
    "kept": "direction_agreement",
    "kept_simultaneous": "direction_agreement_simultaneous",
    "kept_apart": "direction_agreement_distinct_times",
    "foretold": "forward_predictability",
    "pairs": "item_pairs",
    "meaning": "interpretation",
}
_USER_EXAMPLE_KEYS = {"shopper": "user", "taken": "chosen", "more": "more_chosen"}
_EXPLAINED_ITEM_KEYS = {
    "taken": "chosen",
    "because": "explanation",
    "others": "other_items_weight",
    "earlier": "earlier_items_weight",
}


def upgrade(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return run facts of any known version with the keys of `RUN_FACTS_VERSION`; unknown keys are kept."""
    if facts.get("facts_version", 1) >= RUN_FACTS_VERSION:
        return _without_column_names(facts)
    new = _without_column_names(_renamed(facts, _RUN_KEYS))
    if "stopped" in new:
        stopped = _renamed(new["stopped"], {"why": "reason", "todo": "next_step"})
        found = new.pop(f"refused_{stopped.get('gate')}", None)
        new["stopped"] = stopped if found is None else {**stopped, "found": _upgraded_found(found)}
    if "params" in new:
        new["params"] = _renamed(new["params"], {"budget": "time_budget"})
    if "source" in new:
        new["source"] = _renamed(new["source"], {"unlike_published": "differs_from_published"})
    if "validate" in new:
        new["validate"] = _upgraded_validation(new["validate"])
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
        new["evaluation"] = _upgraded_evaluation(new["evaluation"])
    if "verdict" in new:
        verdict = new["verdict"]["verdict"]
        new["verdict"] = {**new["verdict"], "verdict": FORMER_VERDICTS.get(verdict, verdict)}
    return {**new, "facts_version": RUN_FACTS_VERSION}


def _without_column_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Count the dropped columns of facts that name them: the names may be cells of a file without a header."""
    source = facts.get("source", {})
    names = source.get("dropped_columns")
    if not isinstance(names, list):
        return dict(facts)
    dropped = {"count": len(names), "positions": {}}
    return {**facts, "source": {**source, "dropped_columns": dropped}}


def _renamed(facts: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {keys.get(key, key): value for key, value in facts.items()}


def _upgraded_validation(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "rules": [_upgraded_rule(rule) for rule in facts.get("rules", [])]}


def _upgraded_rule(facts: Mapping[str, Any]) -> dict[str, Any]:
    new = _renamed(facts, {"bad": "violations"})
    if new.get("action") == "refuse":
        new["action"] = "fail"
    return {**new, "verdict": {"refused": "failed", "acted": "applied"}.get(new["verdict"], new["verdict"])}


def _upgraded_evaluation(facts: Mapping[str, Any]) -> dict[str, Any]:
    new = _renamed(facts, _EVALUATION_KEYS)
    if order := new.get("data_diagnostics", {}).get("order"):
        new["data_diagnostics"] = {**new["data_diagnostics"], "order": _renamed(order, _ORDER_KEYS)}
    if examples := new.get("user_examples"):
        new["user_examples"] = [_upgraded_user_example(example) for example in examples]
    return new


def _upgraded_user_example(facts: Mapping[str, Any]) -> dict[str, Any]:
    new = _renamed(facts, _USER_EXAMPLE_KEYS)
    new["recommended"] = [_renamed(item, _EXPLAINED_ITEM_KEYS) for item in new.get("recommended", [])]
    for item in new["recommended"]:
        if item.get("explanation") is not None:
            item["explanation"] = [_renamed(entry, {"share": "weight"}) for entry in item["explanation"]]
    return new


def _upgraded_found(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Upgrade what a gate had found: the facts of the validation, of the split, or the checks of the quality gate."""
    if "rules" in facts:
        return _upgraded_validation(facts)
    return _upgraded_split(facts) if "parts" in facts else dict(facts)


def _upgraded_split(facts: Mapping[str, Any]) -> dict[str, Any]:
    new = _renamed(facts, _SPLIT_KEYS)
    if "datasets" in new:
        new["datasets"] = _renamed(new["datasets"], {"refit": "train_valid"})
    if "item_attributes" in new:
        new["item_attributes"] = _renamed(new["item_attributes"], _ITEM_COUNT_KEYS)
    if "policy" in new:
        new["policy"] = {**new["policy"], "by": _upgraded_policy(new["policy"].get("by"))}
    if "split_by" in new:
        new["split_by"] = _upgraded_policy(new["split_by"])
    return {**new, "checks": _renamed(new.get("checks", {}), _CHECK_KEYS)}


def _upgraded_policy(split_by: str | None) -> str | None:
    return "random_last_out" if split_by == "any" else split_by
