"""The file of answers: every row of the source accounted for, in its order, whole or not at all."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from tasks.score import answers, counts, left_out, questions, write
from tasks.validate import examine


def contract(id_column: str | None = "id") -> Contract:
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
        "read": {"files": ["x.csv"], "columns": columns},
        "roles": {k: v for k, v in roles.items() if v},
        "budget": 0.9,
    }
    return parse({"name": "toy.rows", "expectations": rules, "meta": meta})


def log_contract() -> Contract:
    columns = {"user": "category", "item": "category", "at": "epoch"}
    meta = {
        "read": {"files": ["x.csv"], "columns": columns},
        "roles": {"user": "user", "item": "item", "time": "at"},
    }
    return parse({"name": "toy.log", "expectations": [], "meta": {**meta, "budget": 0.9}})


ROWS = pd.DataFrame(
    {
        "id": ["c", "a", "e", "b", "d"],
        "a": ["3", "-1", "5", "-2", "4"],
        "kind": ["x", "odd", "x", "out", "x"],
    }
)


def scored(its: Contract) -> pd.DataFrame:
    clean, quarantine, excluded, _ = examine(ROWS, its, scoring=True)
    prediction = pd.DataFrame({"probability": clean["a"] / 10}).set_axis(range(100, 100 + len(clean)))
    return answers(clean, prediction, its, left_out(quarantine, excluded))


def test_a_model_is_asked_with_its_features() -> None:
    clean, *_ = examine(ROWS, contract(), scoring=True)
    asked = questions(clean, contract())
    assert list(asked.columns) == ["a", "kind"]
    assert asked["a"].tolist() == [3, 5, 4]


def test_rows_come_back_in_their_order_with_status_and_reason() -> None:
    rows = scored(contract())
    assert rows["row"].tolist() == [0, 1, 2, 3, 4]
    assert rows["status"].tolist() == ["scored", "quarantined", "scored", "excluded", "scored"]
    assert rows["probability"].fillna(-1).tolist() == [0.3, -1, 0.5, -1, 0.4]
    assert rows["id"].fillna("").tolist() == ["c", "", "e", "", "d"]
    # A row that breaks two rules is one row with both reasons.
    assert rows["reason"].fillna("").tolist() == ["", "no debts; an odd kind", "", "not ours", ""]


def test_without_an_id_the_row_number_says_which() -> None:
    assert list(scored(contract(None)).columns) == ["row", "status", "probability", "reason"]


def test_when_all_are_scored_the_columns_are_the_same() -> None:
    its = contract()
    clean, quarantine, excluded, _ = examine(ROWS.iloc[[0, 2]], its, scoring=True)
    prediction = pd.DataFrame({"probability": [0.1, 0.2]})
    rows = answers(clean, prediction, its, left_out(quarantine, excluded))
    assert list(rows.columns) == list(scored(its).columns)
    assert rows["status"].tolist() == ["scored", "scored"]
    assert rows["reason"].isna().all()


def test_every_row_is_counted_once() -> None:
    clean, quarantine, excluded, _ = examine(ROWS, contract(), scoring=True)
    assert counts(clean, quarantine, excluded) == {"rows": 5, "scored": 3, "quarantined": 1, "excluded": 1}


def test_users_get_their_histories_asked_and_their_lists_back() -> None:
    its = log_contract()
    frame = pd.DataFrame(
        {"user": ["v", "u", "u", None], "item": ["j", "j", "i", "i"], "at": ["5", "9", "2", "1"]}
    )
    clean, quarantine, excluded, _ = examine(frame, its, scoring=True)
    asked = questions(clean, its)
    assert asked["user"].tolist() == ["u", "v"]
    assert asked["items"].tolist() == [["i", "j"], ["j"]]
    assert asked["times"].tolist() == [[2.0, 9.0], [5.0]]
    lists = pd.DataFrame({"user": ["u", "v"], "rank": [1, 1], "item": ["k", "i"], "score": [2.0, 1.0]})
    assert answers(clean, lists, its, left_out(quarantine, excluded)) is lists
    assert counts(clean, quarantine, excluded) == {"rows": 4, "scored": 3, "quarantined": 1, "excluded": 0}


def test_histories_are_asked_with_the_weights_of_the_contract() -> None:
    source = log_contract().source
    meta = source["meta"]
    weighed = {
        **meta,
        "read": {**meta["read"], "columns": {**meta["read"]["columns"], "did": "category"}},
        "roles": {**meta["roles"], "weight": "did"},
        "weights": {"look": 0.5, "buy": 2},
    }
    its = parse({**source, "meta": weighed})
    cells = {
        "user": ["v", "u", "u"],
        "item": ["j", "j", "i"],
        "at": ["5", "9", "2"],
        "did": ["buy", "look", "buy"],
    }
    asked = questions(examine(pd.DataFrame(cells), its, scoring=True)[0], its)
    assert asked["items"].tolist() == [["i", "j"], ["j"]]
    assert asked["weights"].tolist() == [[2.0, 0.5], [2.0]]
    # A file that does not say what was done is asked too: each event counts 1.
    plain = pd.DataFrame(cells).drop(columns="did")
    assert list(questions(examine(plain, its, scoring=True)[0], its).columns) == ["user", "items", "times"]


def test_the_file_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    for rows in (scored(contract()), scored(contract()).head(2)):
        write.fn(rows, out)
        pd.testing.assert_frame_equal(pd.read_parquet(out), rows)
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once while writing, once when the written file should get its name."""
    out = tmp_path / "scores.parquet"
    write.fn(scored(contract()), out)
    before = out.read_bytes()
    with pytest.raises(pa.ArrowException):
        write.fn(pd.DataFrame({"reason": ["text", 1]}, dtype=object), out)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write.fn(scored(contract()), out)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]
