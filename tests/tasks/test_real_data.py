"""Read, validate and split the public data sets with texts by their contracts, and compare with plain pandas."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ml.data.row_split import PURGED, TEST, TRAIN, VALID
from ml.drift.compare import Scope, compare
from ml.drift.summary import summarize
from tasks.data_access.locate import find_dataset
from tasks.leakage_gate import check_leakage, raise_if_leaking
from tasks.settings import load
from tasks.source import read_source
from tasks.split import split_rows
from tasks.storage.content_store import Store
from tasks.validate import apply_contract

DATA = load().data_dir
if DATA is None:
    pytest.skip("real data: none ran, because STEWARD_DATA_DIR names no folder", allow_module_level=True)


def read_intents(folder: Path) -> pd.DataFrame:
    """Return the texts of all files; bytes that are no UTF-8 are replaced."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        (messages,) = json.loads(path.read_bytes().decode("utf-8", "replace")).values()
        rows += [(path.stem, "".join(part["text"] for part in message["data"])) for message in messages]
    return pd.DataFrame(rows, columns=["file", "text"])


def count_queries(folder: Path) -> tuple[int, int, int]:
    return sum(len(pd.read_csv(folder / name)) for name in ("train.csv", "test.csv")), 0, 0


def count_commands(folder: Path) -> tuple[int, int, int]:
    """Quarantine commands that a file has twice, and the one with broken bytes."""
    rows = read_intents(folder)
    return len(rows), int(rows.duplicated().sum() + rows["text"].str.contains("\ufffd").sum()), 0


def count_complaints(folder: Path) -> tuple[int, int, int]:
    """Exclude complaints without a narrative, or about a product that was renamed."""
    rows = pd.read_csv(folder / "complaints_sample.csv", dtype=str)
    narrated = rows[rows["Consumer complaint narrative"].notna()]
    renamed = narrated["Product"].isin(
        ["Credit card", "Consumer Loan", "Payday loan", "Bank account or service"]
    )
    return len(rows), 0, len(rows) - len(narrated) + int(renamed.sum())


def count_deliveries(folder: Path) -> tuple[int, int, int]:
    rows = pd.read_csv(folder / "waimai_10k.csv")
    return len(rows), int(rows.duplicated().sum()), 0


def count_reviews(folder: Path) -> tuple[int, int, int]:
    rows = pd.read_csv(folder / "online_shopping_10_cats.zip")
    return len(rows), int(rows["review"].isna().sum() + rows.duplicated().sum()), 0


def count_symptoms(folder: Path) -> tuple[int, int, int]:
    rows = pd.read_csv(folder / "Symptom2Disease.csv")
    return len(rows), int(rows.duplicated(["label", "text"]).sum()), 0


# Data set, count of rows, quarantined and excluded, then purged rows and rows with similar texts as recorded.
EXPECTED = [
    ("customer-service", "banking77", count_queries, 211, 832),
    ("customer-service", "snips", count_commands, 59, 481),
    ("customer-service", "cfpb_complaints_sample", count_complaints, 0, 113),
    ("product-reviews", "waimai_10k", count_deliveries, 0, 143),
    ("product-reviews", "online_shopping_10_cats", count_reviews, 0, 927),
    ("symptom-triage", "symptom2disease", count_symptoms, 0, 71),
]


@pytest.mark.parametrize(
    ("case", "data", "count", "purged", "similar"), EXPECTED, ids=[data for _, data, *_ in EXPECTED]
)
def test_the_contract_of_a_public_data_set_holds(
    case: str,
    data: str,
    count: Callable[[Path], tuple[int, int, int]],
    purged: int,
    similar: int,
    tmp_path: Path,
) -> None:
    assert DATA
    found = find_dataset(case, data, None, load())
    source = read_source(found, Store(tmp_path))
    assert source.facts["differs_from_published"] == []
    result = apply_contract(source.table("rows"), found.contract)
    facts = result.facts
    assert (facts["rows"], facts["quarantined"], facts["excluded"]) == count(DATA / data)
    datasets, division = split_rows(result.clean, found.contract)
    assert (division["purged"], division["similar_texts"]["rows"]) == (purged, similar)
    assert division["similar_texts"]["exposed"] == 0
    assert sum(len(part.frame) for part in datasets.values()) + division["purged"] == len(result.clean)
    checks = check_leakage(datasets, found.contract)
    raise_if_leaking({"checks": checks})
    assert checks["warnings"] == []
    kept = {name: len(datasets[name].frame) for name in (TRAIN, VALID, TEST)}
    assert PURGED not in datasets
    if data == "banking77":
        assert kept[TEST] == 3080
    if found.contract.roles.labels:
        assert all(part.truth.nunique() == len(found.contract.roles.labels) for part in datasets.values())


@pytest.mark.parametrize("data", ["banking77", "snips"])
def test_new_messages_are_scored_whatever_their_file_is_called(data: str, tmp_path: Path) -> None:
    """The name of the file is a column of the split, which neither a rule nor the comparison of batches may refuse."""
    found = find_dataset("customer-service", data, None, load())
    clean = apply_contract(read_source(found, Store(tmp_path)).table("rows"), found.contract).clean
    new = clean.sample(300, random_state=0).drop(columns=[str(found.contract.roles.target), "_row"])
    result = apply_contract(new.assign(part="monday"), found.contract, scoring=True)
    assert len(result.clean) == 300
    assert compare(summarize(clean, found.contract), result.clean, found.contract, Scope(False, False)) == []
