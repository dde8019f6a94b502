"""Load the datasets of a stored split with the settings of their contract."""

from dataclasses import replace
from typing import Any

import pandas as pd

from ml.contract.schema import Contract
from ml.data import item_attributes
from ml.data.dataset import Dataset
from tasks.data_facts import DatasetSettings
from tasks.storage.content_store import StoredResult

# The rows of train and valid together: all events before the test cutoff of a log, or all rows but those of the test.
TRAIN_VALID = "train_valid"


def dataset_settings(contract: Contract) -> DatasetSettings:
    """Return what models need to know of columns and items besides the cells, as facts of a split."""
    return {
        "sentinel_values": {column: list(codes) for column, codes in contract.sentinel_values.items()},
        "allow_repeats": contract.roles.allow_repeat_recommendations,
        "never_recommend": sorted(contract.never_recommend),
        "decay": contract.decay,
        "classes": list(contract.roles.labels),
        "coverage": contract.roles.coverage,
        "text_columns": [column for column in contract.features if column in contract.roles.text],
        "split_by": contract.split.by if contract.is_recommendation else None,
    }


def stored_settings(stored: StoredResult) -> dict[str, Any]:
    """Return the `dataset_settings` in the facts of a split, as fields of `Dataset`."""
    facts = stored.facts
    return {
        "sentinel_values": {
            column: tuple(codes) for column, codes in facts.get("sentinel_values", {}).items()
        },
        "allow_repeats": bool(facts.get("allow_repeats", False)),
        "never_recommend": tuple(facts.get("never_recommend", ())),
        "decay": facts.get("decay"),
        "classes": tuple(facts.get("classes", ())),
        "coverage": facts.get("coverage", Dataset.coverage),
        "text_columns": tuple(facts.get("text_columns", ())),
        "split_by": facts.get("split_by"),
    }


def load_dataset(stored: StoredResult, name: str) -> Dataset:
    """Load one dataset of a split with its settings and the attributes of its items.

    `train_valid` has the rows of both datasets, where the split has not stored it.
    """
    has_items = "items" in stored.table_names
    attributes = item_attributes.attributes_by_item(stored.table("items")) if has_items else {}
    is_joined = name == TRAIN_VALID and name not in stored.table_names
    parts = [stored.table(part) for part in (("train", "valid") if is_joined else (name,))]
    dataset = Dataset.from_table(pd.concat(parts, ignore_index=True) if is_joined else parts[0])
    return replace(dataset, **stored_settings(stored), item_attributes=attributes)
