"""Rows with similar texts are one unit, whatever else identifies them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.row_split import PURGED, TEST, TRAIN, VALID, assign_rows, row_entities, targets
from ml.data.text_units import joined_texts, row_units
from ml.simulators.mailbox import INTENTS, OUT_OF_SCOPE, simulate

COLUMNS = {
    "message_id": "category",
    "received_at": "time",
    "channel": "category",
    "department": "category",
    "language": "category",
    "text": "category",
    "intent": "category",
}


def make_contract(split: dict[str, Any] | None = None, **roles: Any) -> Contract:
    target = {"column": "intent", "labels": list(INTENTS), "out_of_scope": [OUT_OF_SCOPE]}
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": COLUMNS},
        "roles": {"target": target, "text": ["text"], "time": "received_at", **roles},
        "split": split or {"by": "hash"},
    }
    return parse({"name": "toy.mailbox", "expectations": [], "meta": meta})


@pytest.fixture(scope="module")
def messages() -> pd.DataFrame:
    """Return messages, half of which are there twice: the second time in capitals and with another id."""
    rows = simulate(1000, 5).rows
    again = rows[::2].assign(text=rows["text"][::2].str.upper(), message_id="X" + rows["message_id"][::2])
    return pd.concat([rows, again], ignore_index=True)


@pytest.mark.parametrize("by", ["hash", "stratified", "time", "site"])
@pytest.mark.parametrize("roles", [{}, {"id": "message_id"}], ids=["no id", "id"])
def test_similar_texts_are_in_one_dataset(messages: pd.DataFrame, by: str, roles: dict[str, Any]) -> None:
    site = {"site": "channel"} if by == "site" else {}
    split = {"by": by, "sites": ["chat"]} if by == "site" else {"by": by}
    contract = make_contract(split, **roles, **site)
    found = row_units(messages, contract)
    assert found.similar_texts
    assert found.similar_texts.exact >= 500
    labels = assign_rows(messages, targets(messages, contract).to_numpy(), found.units, contract)
    kept = labels != PURGED
    assert (pd.Series(labels[kept]).groupby(found.similar_texts.groups[kept]).nunique() == 1).all()
    assert {TRAIN, VALID, TEST} <= set(labels)


def test_copies_are_as_often_in_test_as_others(messages: pd.DataFrame) -> None:
    contract = make_contract(id="message_id")
    found = row_units(messages, contract)
    labels = assign_rows(messages, targets(messages, contract).to_numpy(), found.units, contract)
    sizes = np.bincount(found.similar_texts.groups)[found.similar_texts.groups]
    assert (labels[sizes > 1] == TEST).mean() == pytest.approx(0.2, abs=0.05)


def test_rows_without_similar_ones_keep_their_entity(messages: pd.DataFrame) -> None:
    contract = make_contract(id="message_id")
    found = row_units(messages, contract)
    sizes = np.bincount(found.similar_texts.groups)[found.similar_texts.groups]
    alone = sizes == 1
    np.testing.assert_array_equal(found.units[alone], row_entities(messages, contract)[alone])
    assert alone.sum() > 300


def test_units_do_not_depend_on_the_order_of_the_rows(messages: pd.DataFrame) -> None:
    contract = make_contract(id="message_id")
    order = np.random.default_rng(0).permutation(len(messages))
    shuffled = row_units(messages.iloc[order].reset_index(drop=True), contract)
    np.testing.assert_array_equal(shuffled.units, row_units(messages, contract).units[order])


def test_groups_are_not_merged_and_tables_without_texts_have_no_similar_ones(messages: pd.DataFrame) -> None:
    contract = make_contract(group="channel")
    found = row_units(messages, contract)
    assert len(np.unique(found.units)) == 3
    assert found.similar_texts
    assert found.similar_texts.rows >= 1000
    without = make_contract(id="message_id", text=[])
    found = row_units(messages, without)
    assert found.similar_texts is None
    np.testing.assert_array_equal(found.units, row_entities(messages, without))


def test_texts_of_several_columns_are_joined_and_missing_ones_are_empty() -> None:
    rows = pd.DataFrame({"a": pd.Series(["x", None], dtype="str"), "b": pd.Series(["y", "z"], dtype="str")})
    assert joined_texts(rows, ("a", "b")) == ["x\x1fy", "\x1fz"]
    assert joined_texts(rows, ("a",)) == ["x", ""]
    assert len(set(row_units_of(["", "", " "]))) == 3


def row_units_of(texts: list[str]) -> list[int]:
    rows = simulate(len(texts), 0).rows.assign(text=pd.Series(texts, dtype="str"))
    return row_units(rows, make_contract(id="message_id")).units.tolist()
