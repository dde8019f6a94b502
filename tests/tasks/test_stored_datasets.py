"""The settings of a contract reach the datasets of a split through the store."""

from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from tasks.storage.content_store import StageResult, Store
from tasks.stored_datasets import dataset_settings, stored_settings

LOG: dict[str, Any] = {
    "schema_version": 2,
    "read": {"files": ["x.csv"], "columns": {"user": "category", "item": "category", "at": "epoch"}},
    "roles": {"user": "user", "item": "item", "time": "at"},
}
TABLE: dict[str, Any] = {
    "schema_version": 2,
    "read": {"files": ["x.csv"], "columns": {"bad": "category", "age": "number"}},
    "roles": {"target": {"column": "bad", "positive": ["1"]}},
}
DEFAULTS: dict[str, Any] = {
    "sentinel_values": {},
    "allow_repeats": False,
    "never_recommend": (),
    "decay": None,
    "split_by": "time",
    "classes": (),
    "coverage": 0.9,
    "text_columns": (),
}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (LOG, {}),
        (LOG | {"roles": LOG["roles"] | {"allow_repeat_recommendations": True}}, {"allow_repeats": True}),
        (LOG | {"never_recommend": {"b": "recalled", "a": "sold out"}}, {"never_recommend": ("a", "b")}),
        (LOG | {"decay": 0.9}, {"decay": 0.9}),
        (LOG | {"split": {"by": "session"}}, {"split_by": "session"}),
        (
            TABLE
            | {
                "read": {"files": ["x.csv"], "columns": {"bad": "category", "note": "category"}},
                "roles": {
                    "target": {"column": "bad", "labels": ["a", "b"], "coverage": 0.8},
                    "text": ["note"],
                },
            },
            {"classes": ("a", "b"), "coverage": 0.8, "text_columns": ("note",), "split_by": None},
        ),
        (
            TABLE | {"sentinel_values": {"age": {"-1": "not asked"}}},
            {"sentinel_values": {"age": (-1.0,)}, "split_by": None},
        ),
    ],
    ids=[
        "defaults",
        "repeats",
        "never recommend",
        "decay",
        "session",
        "classes and texts",
        "sentinel values",
    ],
)
def test_settings_of_the_contract_are_loaded_from_the_store(
    meta: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    contract = parse({"name": "toy.x", "expectations": [], "meta": meta})
    stored = Store(tmp_path).get_or_compute("split", lambda: StageResult({}, dataset_settings(contract)))
    assert stored_settings(stored) == DEFAULTS | expected
