"""Model inputs of clean rows, and the file of scores: all rows of the source in their order, written whole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import UnexpectedError
from tasks.score import count_rows, model_inputs, rows_not_scored, score_table, write_scores
from tasks.validate import apply_contract


def make_contract(id_column: str | None = "id") -> Contract:
    columns = {"id": "category", "a": "number", "kind": "category", "y": "integer"}
    roles = {"target": {"column": "y", "positive": ["1"]}, "id": id_column}
    rules = [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "a", "min_value": 0},
            "meta": {"action": "quarantine", "reason": "no debts"},
        },
        {
            "type": "expect_column_values_to_not_be_in_set",
            "kwargs": {"column": "kind", "value_set": ["out"]},
            "meta": {"action": "exclude", "reason": "not ours"},
        },
        {
            "type": "expect_column_values_to_not_be_in_set",
            "kwargs": {"column": "kind", "value_set": ["odd"]},
            "meta": {"action": "quarantine", "reason": "an odd kind"},
        },
    ]
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": columns},
        "roles": {k: v for k, v in roles.items() if v},
        "max_quarantined_share": 0.9,
    }
    return parse({"name": "toy.rows", "expectations": rules, "meta": meta})


def make_log_contract() -> Contract:
    columns = {"user": "category", "item": "category", "at": "epoch"}
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": columns},
        "roles": {"user": "user", "item": "item", "time": "at"},
    }
    return parse({"name": "toy.log", "expectations": [], "meta": {**meta, "max_quarantined_share": 0.9}})


ROWS = pd.DataFrame(
    {
        "id": ["c", "a", "e", "b", "d"],
        "a": ["3", "-1", "5", "-2", "4"],
        "kind": ["x", "odd", "x", "out", "x"],
    }
)


def score_rows(contract: Contract) -> pd.DataFrame:
    clean, quarantine, excluded, _ = apply_contract(ROWS, contract, scoring=True)
    prediction = pd.DataFrame({"probability": clean["a"] / 10}).set_axis(range(100, 100 + len(clean)))
    return score_table(clean, prediction, contract, rows_not_scored(quarantine, excluded))


def test_model_inputs_are_the_features() -> None:
    clean, *_ = apply_contract(ROWS, make_contract(), scoring=True)
    inputs = model_inputs(clean, make_contract())
    assert list(inputs.columns) == ["a", "kind"]
    assert inputs["a"].tolist() == [3, 5, 4]


def test_the_table_has_all_rows_in_their_order_with_status_and_reason() -> None:
    rows = score_rows(make_contract())
    assert rows["row"].tolist() == [0, 1, 2, 3, 4]
    assert rows["status"].tolist() == ["scored", "quarantined", "scored", "excluded", "scored"]
    assert rows["probability"].fillna(-1).tolist() == [0.3, -1, 0.5, -1, 0.4]
    assert rows["id"].fillna("").tolist() == ["c", "", "e", "", "d"]
    # A row that breaks two rules is one row with both reasons.
    assert rows["reason"].fillna("").tolist() == ["", "no debts; an odd kind", "", "not ours", ""]


def test_without_an_id_rows_have_their_number() -> None:
    assert list(score_rows(make_contract(None)).columns) == ["row", "status", "probability", "reason"]


def test_columns_are_the_same_when_all_rows_are_scored() -> None:
    contract = make_contract()
    clean, quarantine, excluded, _ = apply_contract(ROWS.iloc[[0, 2]], contract, scoring=True)
    prediction = pd.DataFrame({"probability": [0.1, 0.2]})
    rows = score_table(clean, prediction, contract, rows_not_scored(quarantine, excluded))
    assert list(rows.columns) == list(score_rows(contract).columns)
    assert rows["status"].tolist() == ["scored", "scored"]
    assert rows["reason"].isna().all()


def test_each_row_is_counted_once() -> None:
    clean, quarantine, excluded, _ = apply_contract(ROWS, make_contract(), scoring=True)
    assert count_rows(clean, quarantine, excluded) == {
        "rows": 5,
        "scored": 3,
        "quarantined": 1,
        "excluded": 1,
    }


def test_model_inputs_of_a_log_are_one_history_per_user() -> None:
    contract = make_log_contract()
    frame = pd.DataFrame(
        {"user": ["v", "u", "u", None], "item": ["j", "j", "i", "i"], "at": ["5", "9", "2", "1"]}
    )
    clean, quarantine, excluded, _ = apply_contract(frame, contract, scoring=True)
    inputs = model_inputs(clean, contract)
    assert inputs["user"].tolist() == ["u", "v"]
    assert inputs["items"].tolist() == [["i", "j"], ["j"]]
    assert inputs["times"].tolist() == [[2.0, 9.0], [5.0]]
    lists = pd.DataFrame({"user": ["u", "v"], "rank": [1, 1], "item": ["k", "i"], "score": [2.0, 1.0]})
    assert score_table(clean, lists, contract, rows_not_scored(quarantine, excluded)) is lists
    assert count_rows(clean, quarantine, excluded) == {
        "rows": 4,
        "scored": 3,
        "quarantined": 1,
        "excluded": 0,
    }


def test_histories_have_the_event_weights_of_the_contract() -> None:
    source = make_log_contract().source
    meta = source["meta"]
    with_weights = {
        **meta,
        "read": {**meta["read"], "columns": {**meta["read"]["columns"], "did": "category"}},
        "roles": {**meta["roles"], "event_weight": "did"},
        "event_weight_by_value": {"look": 0.5, "buy": 2},
    }
    contract = parse({**source, "meta": with_weights})
    cells = {
        "user": ["v", "u", "u"],
        "item": ["j", "j", "i"],
        "at": ["5", "9", "2"],
        "did": ["buy", "look", "buy"],
    }
    inputs = model_inputs(apply_contract(pd.DataFrame(cells), contract, scoring=True)[0], contract)
    assert inputs["items"].tolist() == [["i", "j"], ["j"]]
    assert inputs["weights"].tolist() == [[2.0, 0.5], [2.0]]
    # The column of the weights is optional: each event has weight 1 then.
    unweighted = pd.DataFrame(cells).drop(columns="did")
    assert list(model_inputs(apply_contract(unweighted, contract, scoring=True)[0], contract).columns) == [
        "user",
        "items",
        "times",
    ]


def test_scores_are_written_without_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    for rows in (score_rows(make_contract()), score_rows(make_contract()).head(2)):
        write_scores.fn(rows, path)
        pd.testing.assert_frame_equal(pd.read_parquet(path), rows)
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_failed_write_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails once while writing and once while renaming."""
    path = tmp_path / "scores.parquet"
    write_scores.fn(score_rows(make_contract()), path)
    before = path.read_bytes()
    with pytest.raises(UnexpectedError, match="ArrowTypeError at tasks/score"):
        write_scores.fn(pd.DataFrame({"reason": ["text", 1]}, dtype=object), path)

    def disk_full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(UnexpectedError, match="OSError at tests/tasks/test_score"):
        write_scores.fn(score_rows(make_contract()), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_lists_are_json_texts_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    lists = pd.DataFrame(
        {"user": ["u", "v"], "explanation_items": [np.array(["i", "j"]), None], "score": [0.1, 1.0]}
    )
    write_scores.fn(lists, path)
    assert path.read_text() == 'user,explanation_items,score\nu,"[""i"", ""j""]",0.1\nv,,1.0\n'
    assert list(tmp_path.iterdir()) == [path]
