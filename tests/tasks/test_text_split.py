"""The split of a table with texts: similar texts stay together, rows out of scope apart; columns are checked."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.row_split import OUT_OF_SCOPE_TEST, OUT_OF_SCOPE_VALID, TEST, TRAIN, VALID
from ml.errors import LeakageError
from ml.simulators.mailbox import OUT_OF_SCOPE, simulate
from tasks.settings import ROOT
from tasks.split import split, split_rows
from tasks.storage.content_store import StageResult, Store, StoredResult

SOURCE = (ROOT / "expectations/customer_service/simulated.json").read_text()


@pytest.fixture(scope="module")
def clean() -> pd.DataFrame:
    return simulate(1500, 0).rows


def make_contract(
    columns: dict[str, str] | None = None, split: dict[str, Any] | None = None, **roles: Any
) -> Contract:
    source = json.loads(SOURCE)
    meta = source["meta"]
    meta["read"]["columns"] |= columns or {}
    meta["roles"] |= roles
    meta["split"] = split or meta["split"]
    return parse(source)


def run_split(clean: pd.DataFrame, contract: Contract, folder: Path) -> StoredResult:
    store = Store(folder)
    key = f"clean-{pd.util.hash_pandas_object(clean).sum():x}"
    stored = store.get_or_compute(key, lambda: StageResult({"clean": clean}, {}))
    return split.fn(stored, contract, split_rows, datetime(2026, 1, 1, tzinfo=UTC), store)


def test_rows_out_of_scope_are_in_datasets_that_no_model_learns_from(
    clean: pd.DataFrame, tmp_path: Path
) -> None:
    stored = run_split(clean, make_contract(), tmp_path)
    parts = {name: stored.table(name) for name in (TRAIN, VALID, TEST, OUT_OF_SCOPE_VALID, OUT_OF_SCOPE_TEST)}
    intents = clean.set_index("message_id")["intent"]
    for name, part in parts.items():
        is_outside = (intents[part["about:message_id"]] == OUT_OF_SCOPE).to_numpy()
        assert is_outside.all() if name.startswith("out_of_scope") else not is_outside.any()
        np.testing.assert_array_equal(part["truth"].isna(), is_outside)
        assert len(part) > 15
    assert sum(map(len, parts.values())) + stored.facts["purged"] == len(clean)
    assert not set(parts[TRAIN]["unit"]) & set(parts[OUT_OF_SCOPE_VALID]["unit"])
    assert parts[OUT_OF_SCOPE_TEST].index.size < parts[OUT_OF_SCOPE_VALID].index.size
    assert "mean" not in stored.facts["datasets"][TRAIN]
    assert stored.facts["checks"]["shared_entities"] == {}


def test_training_texts_that_a_published_test_file_has_are_purged_and_counted(
    clean: pd.DataFrame, tmp_path: Path
) -> None:
    contract = make_contract(
        site="channel", sensitive=[], split={"by": "site", "sites": ["email"], "valid": 0.2}
    )
    clean = clean[clean["intent"] != OUT_OF_SCOPE].reset_index(drop=True)
    emails = clean[clean["channel"] == "email"][:40]
    copies = emails.assign(
        channel="app", text="  " + emails["text"].str.lower() + "!", message_id="X" + emails["message_id"]
    )
    before = run_split(clean, contract, tmp_path / "before").facts
    stored = run_split(pd.concat([clean, copies], ignore_index=True), contract, tmp_path / "after")
    assert stored.facts["purged"] == before["purged"] + 40
    similar = stored.facts["similar_texts"]
    assert similar["exact"] >= 40
    assert similar["exposed"] == 0
    assert not set(copies["message_id"]) & {*stored.table(TRAIN)["about:message_id"]}


def test_test_rows_with_a_text_of_another_group_are_counted(clean: pd.DataFrame, tmp_path: Path) -> None:
    contract = make_contract({"customer": "category"}, {"by": "hash"}, group="customer")
    again = pd.concat([clean, clean.assign(message_id="X" + clean["message_id"])], ignore_index=True)
    again["customer"] = pd.Series(np.arange(len(again))).map("C{}".format).astype("str")
    exposed = run_split(again, contract, tmp_path).facts["similar_texts"]["exposed"]
    # The copy of a test row is in train or valid with a probability of 0.8; one row in ten is out of scope.
    assert exposed == pytest.approx(0.8 * 0.2 * 0.9 * len(again), rel=0.15)


def test_a_column_that_reveals_the_class_stops_the_run(clean: pd.DataFrame, tmp_path: Path) -> None:
    queue = clean["intent"].str.upper()
    contract = make_contract({"queue": "category"})
    with pytest.raises(LeakageError, match=r"queue \(AUC 1\.0000\)"):
        run_split(clean.assign(queue=queue), contract, tmp_path)
    queue = queue.where(np.random.default_rng(0).random(len(clean)) < 0.5, "?")
    assert (
        run_split(clean.assign(queue=queue), contract, tmp_path).facts["checks"]["single_feature_leaks"] == {}
    )


def test_two_columns_that_reveal_the_class_together_stop_the_run(clean: pd.DataFrame, tmp_path: Path) -> None:
    number = clean["intent"].astype("category").cat.codes.to_numpy().astype(int)
    first = np.random.default_rng(0).integers(0, 13, len(clean))
    columns = {"first": first, "second": (number - first) % 13}
    texts = {name: pd.Series(values).map("Q{}".format).astype("str") for name, values in columns.items()}
    contract = make_contract(dict.fromkeys(columns, "category"))
    with pytest.raises(LeakageError, match="no two features"):
        run_split(clean.assign(**texts), contract, tmp_path)


def test_texts_that_name_their_class_stop_the_run(clean: pd.DataFrame, tmp_path: Path) -> None:
    named = clean.assign(text=clean["text"] + " " + clean["intent"])
    with pytest.raises(LeakageError, match=r"got text \(AUC 1\.0000\)"):
        run_split(named, make_contract(), tmp_path)
    checks = run_split(clean, make_contract(), tmp_path).facts["checks"]
    # The values of a text are no values of a column.
    assert "text" not in {estimate["column"] for estimate in checks["columns"]}
    assert "copies" not in checks
