"""Parts of a split as models take them: their tables with what the contract says of these."""

from dataclasses import replace
from typing import Any

from ml.contract.schema import Contract
from ml.data import item_attributes
from ml.data.dataset import Dataset
from tasks.storage.content_store import StoredResult


def dataset_settings(contract: Contract) -> dict[str, Any]:
    """What a model has to know of its columns and items besides their cells, as facts of a split."""
    return {
        "sentinel_values": {column: list(codes) for column, codes in contract.special.items()},
        "allow_repeats": contract.roles.repeat,
        "never_recommend": sorted(contract.blocked),
        "decay": contract.decay,
        "split_by": contract.split.by if contract.is_recommendation else None,
    }


def settings_of(stored: StoredResult) -> dict[str, Any]:
    """What `learned_with` left in the facts, as fields of `ml.estimator.Part`."""
    facts = stored.facts
    return {
        "sentinel_values": {
            column: tuple(codes) for column, codes in facts.get("sentinel_values", {}).items()
        },
        "allow_repeats": bool(facts.get("allow_repeats", False)),
        "never_recommend": tuple(facts.get("never_recommend", ())),
        "decay": facts.get("decay"),
        "split_by": facts.get("split_by"),
    }


def load_dataset(stored: StoredResult, name: str) -> Dataset:
    """The part of that name with all that is told of it, and what the side table says of items."""
    attributes = item_attributes.attributes(stored.table("items")) if "items" in stored.table_names else {}
    return replace(Dataset.from_table(stored.table(name)), **settings_of(stored), item_attributes=attributes)
