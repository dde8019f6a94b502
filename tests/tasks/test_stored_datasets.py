"""What a contract says of the parts of a split reaches the models through the store."""

from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from tasks.storage.content_store import StageResult, Store
from tasks.stored_datasets import dataset_settings, settings_of

LOG: dict[str, Any] = {
    "read": {"files": ["x.csv"], "columns": {"who": "category", "what": "category", "at": "epoch"}},
    "roles": {"user": "who", "item": "what", "time": "at"},
}
TABLE: dict[str, Any] = {
    "read": {"files": ["x.csv"], "columns": {"bad": "category", "age": "number"}},
    "roles": {"target": {"column": "bad", "positive": ["1"]}},
}
NOTHING: dict[str, Any] = {"special": {}, "repeat": False, "blocked": (), "decay": None, "asked": "time"}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (LOG, {}),
        (LOG | {"roles": LOG["roles"] | {"repeat": True}}, {"repeat": True}),
        (LOG | {"blocked": {"b": "recalled", "a": "sold out"}}, {"blocked": ("a", "b")}),
        (LOG | {"decay": 0.9}, {"decay": 0.9}),
        (LOG | {"split": {"by": "session"}}, {"asked": "session"}),
        (TABLE | {"special": {"age": {"-1": "not told"}}}, {"special": {"age": (-1.0,)}, "asked": None}),
    ],
    ids=["nothing", "repeat", "blocked", "decay", "session", "special"],
)
def test_what_is_said_comes_back(meta: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    contract = parse({"name": "toy.x", "expectations": [], "meta": meta})
    stored = Store(tmp_path).get_or_compute("parts", lambda: StageResult({}, dataset_settings(contract)))
    assert settings_of(stored) == NOTHING | expected
