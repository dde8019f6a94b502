"""A side table of items: found, compared with what was published, checked, recorded, and used by the fit."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ml.errors import CandidateSkipped, DataGateError, UsageError
from ml.estimator import FitResources
from ml.recommenders.content_based import ContentBased, ContentBasedModel
from tasks.data_access.locate import find_dataset
from tasks.evaluate import load_fitted_model
from tasks.settings import Settings
from tasks.source import read_source
from tasks.split import split, split_histories
from tasks.storage.content_store import Store, StoredResult
from tasks.train import fit
from tasks.validate import validate

ITEMS = {**{f"i{n:02}": ["even" if n % 2 == 0 else "odd"] for n in range(20)}, "new": ["odd"], "bare": []}


def as_json(items: dict[str, list[str]]) -> bytes:
    return json.dumps(items).encode()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with the contract and data of a shop where each user takes even or odd items only."""
    rng = np.random.default_rng(0)
    lines = [
        " ".join([f"u{user}", *(f"i{2 * n + user % 2:02}" for n in rng.permutation(10)[:6])])
        for user in range(40)
    ]
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("\n".join(lines))
    (folder / "items.json").write_bytes(as_json(ITEMS))
    contract = {
        "name": "shops.shop",
        "expectations": [],
        "meta": {
            "schema_version": 2,
            "sha256": {"items.json": hashlib.sha256(as_json(ITEMS)).hexdigest()},
            "read": {
                "files": ["log.txt"],
                "format": "sequences",
                "separator": " ",
                "header": False,
                "row_column": "at",
                "columns": {"user": "category", "item": "category", "at": "integer"},
            },
            "roles": {"user": "user", "item": "item", "event_order": "at"},
            "item_attributes": {"file": "items.json", "format": "json"},
        },
    }
    (tmp_path / "contracts" / "shops").mkdir(parents=True)
    (tmp_path / "contracts" / "shops" / "shop.json").write_text(json.dumps(contract))
    return Settings(state_dir=tmp_path, data_dir=tmp_path / "data", contracts=tmp_path / "contracts")


def run_stages(settings: Settings, data: str = "shop") -> dict[str, StoredResult]:
    store = Store(settings.state_dir / "store")
    dataset = find_dataset("shops", data, "shop", settings)
    raw = read_source(dataset, store)
    clean = validate.fn(raw, dataset.contract, None, store)
    splits = split.fn(clean, dataset.contract, split_histories, datetime.now(UTC), store)
    fitted = fit("content", ContentBased(), splits, FitResources(), store)
    return {"source": raw, "validate": clean, "split": splits, "fit": fitted}


def side_table(settings: Settings) -> Path:
    return settings.state_dir / "data" / "shop" / "items.json"


def test_the_fit_uses_the_attributes(settings: Settings) -> None:
    results = run_stages(settings)
    model = load_fitted_model(results["fit"])
    assert isinstance(model, ContentBasedModel)
    assert "new" in model.catalogue.items
    assert "bare" not in model.catalogue.items
    assert results["split"].facts["item_attributes"] == {
        "items": 22,
        "with_attributes": 21,
        "without_interactions": 1,
        "interacted_without_attributes": 0,
    }
    # Predictions need no side table.
    odd = model.predict(results["split"].table("test").filter(regex="^x:").rename(columns=lambda c: c[2:]))
    assert {"new"} < set(odd["item"])


def test_source_facts_have_the_digest_of_the_side_table(settings: Settings) -> None:
    facts = run_stages(settings)["source"].facts
    assert facts["origin"]["files"]["items.json"] == hashlib.sha256(as_json(ITEMS)).hexdigest()
    assert facts["differs_from_published"] == []
    assert [path.name for path in find_dataset("shops", "shop", None, settings).all_files] == [
        "log.txt",
        "items.json",
    ]
    side_table(settings).write_bytes(as_json({**ITEMS, "new": ["even"]}))
    assert run_stages(settings)["source"].facts["differs_from_published"] == ["items.json"]


def test_only_an_unchanged_side_table_reuses_stages(settings: Settings) -> None:
    first = run_stages(settings)
    assert all(stage.reused for stage in run_stages(settings).values())
    side_table(settings).write_bytes(as_json({**ITEMS, "new": ["even"]}))
    second = run_stages(settings)
    assert not any(stage.reused for stage in second.values())
    assert all(second[name].digest != first[name].digest for name in first)


def test_the_side_table_is_found_beside_a_given_file_or_in_the_contract_folder(settings: Settings) -> None:
    elsewhere = settings.state_dir / "elsewhere" / "other.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((side_table(settings).parent / "log.txt").read_bytes())
    assert find_dataset("shops", str(elsewhere), "shop", settings).item_attributes_file == side_table(
        settings
    )
    (elsewhere.parent / "items.json").write_bytes(as_json(ITEMS))
    assert (
        find_dataset("shops", str(elsewhere), "shop", settings).item_attributes_file
        == elsewhere.parent / "items.json"
    )


def test_a_missing_side_table_is_an_error(settings: Settings) -> None:
    side_table(settings).unlink()
    with pytest.raises(UsageError, match=r"items\.json; got none; put the file that lists the items there"):
        find_dataset("shops", "shop", None, settings)


def test_a_side_table_of_other_items_is_an_error(settings: Settings) -> None:
    side_table(settings).write_bytes(as_json({"i1": ["x"], "i2": ["y"]}))
    with pytest.raises(DataGateError, match=r"items of the log in the side table.*none of them among 2"):
        run_stages(settings)


def test_items_outside_the_population_are_left_out(settings: Settings) -> None:
    path = settings.contracts / "shops" / "shop.json"
    contract = json.loads(path.read_text())
    contract["expectations"] = [
        {
            "type": "expect_column_values_to_not_be_in_set",
            "kwargs": {"column": "item", "value_set": ["i03"]},
            "meta": {"action": "exclude", "reason": "no longer sold"},
        }
    ]
    path.write_text(json.dumps(contract))
    results = run_stages(settings)
    assert results["validate"].facts["items_excluded"] == 1
    model = load_fitted_model(results["fit"])
    assert isinstance(model, ContentBasedModel)
    assert {"new", "i05"} < set(model.catalogue.items)
    assert "i03" not in model.catalogue.items


def test_without_a_side_table_the_content_based_candidate_is_skipped(settings: Settings) -> None:
    path = settings.contracts / "shops" / "shop.json"
    contract = json.loads(path.read_text())
    del contract["meta"]["item_attributes"]
    path.write_text(json.dumps(contract))
    with pytest.raises(CandidateSkipped, match="attributes of items"):
        run_stages(settings)
