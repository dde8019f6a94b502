"""Each mistake in the contract of a log is an error that names its place and the next step."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.errors import ContractError

EXAMPLES = Path(__file__).parent / "examples"
PURCHASES, BEHAVIOURS, SEQUENCES = (
    json.loads((EXAMPLES / f"{name}.json").read_text()) for name in ("purchases", "behaviours", "sequences")
)


def changed(source: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with another value at a path such as meta/read/columns; ... removes the key."""
    copy = deepcopy(source)
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place: Any = copy
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (
            "meta/event_weight_by_value",
            ...,
            "expected a weight of each value of 'did' in meta.event_weight_by_value; got none",
        ),
        (
            "meta/event_weight_by_value",
            {},
            "expected a weight of each value of 'did' in meta.event_weight_by_value; got none",
        ),
        ("meta/event_weight_by_value", [1], "expected an object in meta.event_weight_by_value; got a list"),
        (
            "meta/event_weight_by_value/look",
            0,
            "expected a number above 0 in meta.event_weight_by_value['look']; got 0",
        ),
        (
            "meta/event_weight_by_value/look",
            -0.5,
            "expected a number above 0 in meta.event_weight_by_value['look']; got -0.5",
        ),
        (
            "meta/event_weight_by_value/look",
            float("nan"),
            "expected a finite number in meta.event_weight_by_value['look']; got nan",
        ),
        (
            "meta/event_weight_by_value/look",
            float("inf"),
            "expected a finite number in meta.event_weight_by_value['look']; got inf",
        ),
        (
            "meta/event_weight_by_value/look",
            "1",
            "expected a number in meta.event_weight_by_value['look']; got '1'",
        ),
        (
            "meta/event_weight_by_value/look",
            True,
            "expected a number in meta.event_weight_by_value['look']; got true",
        ),
        (
            "meta/roles/event_weight",
            ...,
            "expected a category with the role event_weight for meta.event_weight_by_value; got none",
        ),
        (
            "meta/read/columns/did",
            "integer",
            "the role event_weight for meta.event_weight_by_value; got 'integer'",
        ),
        (
            "meta/read/columns/did",
            "time",
            "number or integer for the event_weight 'did' in meta.roles; got 'time'",
        ),
        ("meta/roles/event_weight", "nowhere", "expected columns of meta.read.columns in meta.roles"),
    ],
    ids=str,
)
def test_mistake_about_event_weights_is_named(path: str, value: Any, text: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(BEHAVIOURS, path, value))
    assert text in str(error.value)
    assert error.value.next_step


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("meta/roles/event_order", ..., "meta.roles"),
        ("meta/read/columns/place", "category", "meta.read.row_column"),
        ("meta/split", {"by": "time"}, "user, item and time"),
        ("meta/split", {"by": "session"}, "user, item and time"),
        ("meta/split", {"by": "random_last_out"}, "meta.split"),
        ("meta/split", {"by": "hash"}, "meta.split.by"),
        ("meta/split", {"by": "last", "test": 0.2}, "meta.split by last"),
        ("meta/split", {"by": "last", "sites": ["a"]}, "meta.split by last"),
        ("meta/read/header", True, "format sequences"),
        ("meta/read/separator", "", "format sequences"),
        ("meta/read/columns/more", "category", "format sequences"),
        ("meta/read/row_column", "nowhere", "meta.read.row_column"),
        ("meta/read/row_column", "what", "meta.read.row_column"),
        ("meta/read/format", "lines", "meta.read.format"),
    ],
    ids=str,
)
def test_mistake_about_sequences_is_named_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(SEQUENCES, path, value))
    assert place in str(error.value)
    assert error.value.next_step


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("meta/roles/item", ..., "user, item and time"),
        ("meta/roles/time", ..., "user, item and time"),
        ("meta/roles/target", {"column": "pieces"}, "user, item and time"),
        ("meta/split", {"by": "hash"}, "meta.split.by"),
        ("meta/read/columns/what", "integer", "meta.roles"),
        ("meta/read/rows", ..., "meta.read.rows"),
        ("meta/read/rows", 1.5, "meta.read.rows"),
        ("meta/read/seed", True, "meta.read.seed"),
        ("meta/read/simulator", ..., "meta.read.simulator"),
    ],
    ids=str,
)
def test_mistake_about_events_is_named_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(PURCHASES, path, value))
    assert place in str(error.value)


def test_baskets_are_in_one_file() -> None:
    meta = {"read": {**SEQUENCES["meta"]["read"], "format": "baskets", "files": ["a.txt", "b.txt"]}}
    meta["read"] |= {"columns": {**meta["read"]["columns"], "file": "category"}, "source_column": "file"}
    with pytest.raises(ContractError, match="one file"):
        parse({**SEQUENCES, "meta": {**SEQUENCES["meta"], **meta}})


@pytest.mark.parametrize(
    ("decay", "text"),
    [
        (0, "a number above 0 in meta.decay; got 0"),
        (-0.5, "a number above 0 in meta.decay; got -0.5"),
        (1.1, "a number of at most 1 in meta.decay; got 1.1"),
        (float("nan"), "a finite number in meta.decay; got nan"),
        ("0.9", "a number in meta.decay; got '0.9'"),
    ],
)
def test_decay_is_above_0_and_at_most_1(decay: Any, text: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(PURCHASES, "meta/decay", decay))
    assert f"expected {text}" in str(error.value)
