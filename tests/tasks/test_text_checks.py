"""The contract gate on tables with texts: bad rows are quarantined and counted, and no message has a text."""

import json
from typing import Any

import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import DataGateError
from ml.simulators.mailbox import simulate
from tasks.settings import ROOT
from tasks.validate import apply_contract

SOURCE = (ROOT / "expectations/customer_service/simulated.json").read_text()
SECRET = "my number is 4711"


def make_contract(text: list[str] | None = None, **meta: Any) -> Contract:
    source = json.loads(SOURCE)
    source["meta"] |= {"max_quarantined_share": 0.1, **meta}
    if text:
        source["meta"]["roles"]["text"] = text
        source["meta"]["read"]["columns"] |= dict.fromkeys(text, "category")
    return parse(source)


def messages(**bad: str | None) -> pd.DataFrame:
    rows = simulate(500, 0).rows
    for position, text in bad.items():
        rows.loc[int(position.removeprefix("row")), "text"] = text
    return rows


def result_of(facts: Any, rule: str) -> dict[str, Any]:
    (found,) = [result for result in facts["rules"] if result["rule"] == rule]
    return found


def test_clean_messages_have_no_faults() -> None:
    result = apply_contract(messages(), make_contract())
    assert len(result.quarantine) == 0
    assert result_of(result.facts, "text(text)")["verdict"] == "passed"


@pytest.mark.parametrize("scoring", [False, True])
def test_bad_texts_are_quarantined_with_their_kinds_and_positions(scoring: bool) -> None:
    bad = {
        "row3": None,
        "row5": " \u200b",
        "row7": f"{SECRET} Ã¤",
        "row9": f"{SECRET}\x00",
        "row11": SECRET * 70,
    }
    result = apply_contract(messages(**bad), make_contract(max_text_length=1000), scoring=scoring)
    assert set(result.quarantine["row"]) == {3, 5, 7, 9, 11}
    found = result_of(result.facts, "text(text)")
    assert found["kinds"] == {
        "a text without a visible character": 2,
        "a text of more than 1,000 characters": 1,
        "a text with a NUL character": 1,
        "a text in a wrong encoding": 1,
    }
    assert SECRET not in json.dumps(result.facts)
    assert SECRET not in result.quarantine.to_csv()


def test_too_many_bad_texts_stop_the_run_without_quoting_them() -> None:
    rows = messages()
    rows["text"] = SECRET + " Ã¤ " + rows["message_id"]
    with pytest.raises(DataGateError, match=r"text\(text\) 500 rows") as caught:
        apply_contract(rows, make_contract())
    assert SECRET not in str(caught.value)


def test_texts_in_another_script_are_a_warning() -> None:
    result = apply_contract(messages(row3="где мой заказ", row5="我的包裹在哪里"), make_contract())
    assert len(result.quarantine) == 0
    found = result_of(result.facts, "script(text)")
    assert (found["verdict"], found["violations"]) == ("warned", 2)


def test_one_of_several_texts_is_enough() -> None:
    rows = messages(row3=None, row5=None)
    rows["subject"] = pd.Series(["a question"] * 5 + [None] * 495, dtype="str")
    result = apply_contract(rows, make_contract(["text", "subject"]))
    assert set(result.quarantine["row"]) == {5}
    rows.loc[7, "subject"] = "broken \ufffd"
    assert set(apply_contract(rows, make_contract(["text", "subject"])).quarantine["row"]) == {5, 7}


def test_columns_without_the_role_are_not_looked_at() -> None:
    rows = messages()
    rows.loc[3, "department"] = "Ã¤"
    assert len(apply_contract(rows, make_contract()).quarantine) == 0
