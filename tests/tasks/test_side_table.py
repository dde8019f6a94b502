"""A side table of items goes from its file to the fit: found, verified, named, and another one is other data."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ml.errors import CandidateSkipped, DataGateError, UsageError
from ml.estimator import FitResources
from ml.recommenders.content_based import Content, ContentModel
from tasks.evaluate import load_fitted_model
from tasks.locate import find_dataset
from tasks.settings import Settings
from tasks.source import read
from tasks.split import split, split_histories
from tasks.storage.content_store import Store, StoredResult
from tasks.train import fit
from tasks.validate import validate

ITEMS = {**{f"i{n:02}": ["even" if n % 2 == 0 else "odd"] for n in range(20)}, "new": ["odd"], "bare": []}


def told(items: dict[str, list[str]]) -> bytes:
    return json.dumps(items).encode()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A shop where each user takes even or odd items only."""
    rng = np.random.default_rng(0)
    lines = [
        " ".join([f"u{user}", *(f"i{2 * n + user % 2:02}" for n in rng.permutation(10)[:6])])
        for user in range(40)
    ]
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("\n".join(lines))
    (folder / "items.json").write_bytes(told(ITEMS))
    contract = {
        "name": "shops.shop",
        "expectations": [],
        "meta": {
            "sha256": {"items.json": hashlib.sha256(told(ITEMS)).hexdigest()},
            "read": {
                "files": ["log.txt"],
                "format": "sequences",
                "separator": " ",
                "header": False,
                "row_column": "at",
                "columns": {"user": "category", "item": "category", "at": "integer"},
            },
            "roles": {"user": "user", "item": "item", "position": "at"},
            "items": {"file": "items.json", "format": "json"},
        },
    }
    (tmp_path / "contracts" / "shops").mkdir(parents=True)
    (tmp_path / "contracts" / "shops" / "shop.json").write_text(json.dumps(contract))
    return Settings(home=tmp_path, data_dir=tmp_path / "data", contracts=tmp_path / "contracts")


def stages(settings: Settings, data: str = "shop") -> dict[str, StoredResult]:
    store = Store(settings.home / "store")
    located = find_dataset("shops", data, "shop", settings)
    raw = read(located, store)
    clean = validate.fn(raw, located.contract, None, store)
    parts = split.fn(clean, located.contract, split_histories, datetime.now(UTC), store)
    fitted = fit("content", Content(), parts, FitResources(), 60.0, store)
    return {"source": raw, "validate": clean, "split": parts, "fit": fitted}


def items_of(settings: Settings) -> Path:
    return settings.home / "data" / "shop" / "items.json"


def test_it_reaches_the_fit(settings: Settings) -> None:
    made = stages(settings)
    model = load_fitted_model(made["fit"])
    assert isinstance(model, ContentModel)
    assert "new" in model.catalogue.items
    assert "bare" not in model.catalogue.items
    assert made["split"].facts["items"] == {"listed": 22, "with_attributes": 21, "new": 1, "had_without": 0}
    # Who asks needs no side table.
    odd = model.predict(made["split"].table("test").filter(regex="^x:").rename(columns=lambda c: c[2:]))
    assert {"new"} < set(odd["item"])


def test_lineage_names_it(settings: Settings) -> None:
    facts = stages(settings)["source"].facts
    assert facts["origin"]["files"]["items.json"] == hashlib.sha256(told(ITEMS)).hexdigest()
    assert facts["unlike_published"] == []
    assert [path.name for path in find_dataset("shops", "shop", None, settings).paths] == [
        "log.txt",
        "items.json",
    ]
    items_of(settings).write_bytes(told({**ITEMS, "new": ["even"]}))
    assert stages(settings)["source"].facts["unlike_published"] == ["items.json"]


def test_another_side_table_reuses_nothing_and_the_same_one_everything(settings: Settings) -> None:
    first = stages(settings)
    assert all(stage.reused for stage in stages(settings).values())
    items_of(settings).write_bytes(told({**ITEMS, "new": ["even"]}))
    second = stages(settings)
    assert not any(stage.reused for stage in second.values())
    assert all(second[name].digest != first[name].digest for name in first)


def test_it_lies_beside_a_file_that_is_given_or_where_the_contract_says(settings: Settings) -> None:
    elsewhere = settings.home / "elsewhere" / "other.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes((items_of(settings).parent / "log.txt").read_bytes())
    assert find_dataset("shops", str(elsewhere), "shop", settings).item_attributes_file == items_of(settings)
    (elsewhere.parent / "items.json").write_bytes(told(ITEMS))
    assert (
        find_dataset("shops", str(elsewhere), "shop", settings).item_attributes_file
        == elsewhere.parent / "items.json"
    )


def test_one_that_is_not_there_is_refused(settings: Settings) -> None:
    items_of(settings).unlink()
    with pytest.raises(UsageError, match=r"items\.json; got none; put the file that lists the items there"):
        find_dataset("shops", "shop", None, settings)


def test_one_of_other_items_is_refused(settings: Settings) -> None:
    items_of(settings).write_bytes(told({"i1": ["x"], "i2": ["y"]}))
    with pytest.raises(DataGateError, match=r"items of the log in the side table.*none of them among 2"):
        stages(settings)


def test_what_is_outside_the_population_is_not_new(settings: Settings) -> None:
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
    made = stages(settings)
    assert made["validate"].facts["items_excluded"] == 1
    model = load_fitted_model(made["fit"])
    assert isinstance(model, ContentModel)
    assert {"new", "i05"} < set(model.catalogue.items)
    assert "i03" not in model.catalogue.items


def test_without_one_content_is_left_out(settings: Settings) -> None:
    path = settings.contracts / "shops" / "shop.json"
    contract = json.loads(path.read_text())
    del contract["meta"]["items"]
    path.write_text(json.dumps(contract))
    with pytest.raises(CandidateSkipped, match="attributes of items"):
        stages(settings)
