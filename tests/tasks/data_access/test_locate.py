"""Finding a contract and its files: nothing outside of the data folders is read because a contract names it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ml.errors import ContractError, UsageError
from tasks.data_access.locate import find_dataset, load_contract
from tasks.settings import ROOT, load

CASE = "fintech-risk"


def contract(**meta: Any) -> dict[str, Any]:
    columns = {"id": "category", "amount": "number", "bad": "category"}
    roles = {"target": {"column": "bad", "positive": ["1"]}, "id": "id"}
    read = {"files": ["rows.csv"], "columns": columns}
    return {
        "name": f"{CASE}.small",
        "expectations": [],
        "meta": {"schema_version": 2, "read": read, "roles": roles, **meta},
    }


def log() -> dict[str, Any]:
    return contract(
        read={"files": ["rows.csv"], "columns": {"user": "category", "item": "category", "n": "integer"}},
        roles={"user": "user", "item": "item", "event_order": "n"},
        item_attributes={"file": "items.csv", "item": "item", "attributes": ["colour"]},
    )


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data" / "small").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("id,amount,bad\n")
    return tmp_path / "data"


def written(folder: Path, source: dict[str, Any]) -> str:
    path = folder.parent / "small.json"
    path.write_text(json.dumps(source))
    return str(path)


def test_a_link_out_of_the_data_folders_is_refused(data_dir: Path) -> None:
    file = data_dir / "small" / "rows.csv"
    file.symlink_to(data_dir.parent / "secret.csv")
    with pytest.raises(ContractError, match="a link that leads out of it"):
        find_dataset(CASE, "small", written(data_dir, contract()), load())
    (data_dir / "small" / "items.csv").symlink_to(data_dir.parent / "secret.csv")
    own = data_dir.parent / "own" / "rows.csv"
    own.parent.mkdir()
    own.write_text("")
    with pytest.raises(ContractError, match=r"items\.csv.*a link that leads out"):
        find_dataset(CASE, str(own), written(data_dir, log()), load())


def test_a_link_inside_the_data_folders_is_followed(data_dir: Path) -> None:
    (data_dir / "other").mkdir()
    (data_dir / "other" / "rows.csv").write_text("")
    (data_dir / "small" / "rows.csv").symlink_to(data_dir / "other" / "rows.csv")
    found = find_dataset(CASE, "small", written(data_dir, contract()), load())
    assert found.files == (data_dir / "small" / "rows.csv",)


def test_the_folder_of_a_data_set_may_be_on_another_disk(data_dir: Path) -> None:
    disk = data_dir.parent / "disk"
    disk.mkdir()
    (disk / "rows.csv").write_text("")
    (data_dir / "small").rmdir()
    (data_dir / "small").symlink_to(disk)
    assert find_dataset(CASE, "small", written(data_dir, contract()), load()).files


def test_a_file_that_the_operator_names_may_be_anywhere(data_dir: Path) -> None:
    for name in (str(data_dir.parent / "secret.csv"), str(data_dir / ".." / "secret.csv")):
        assert find_dataset(CASE, name, written(data_dir, contract()), load()).files == (Path(name),)
    link = data_dir.parent / "link.csv"
    link.symlink_to(data_dir.parent / "secret.csv")
    assert find_dataset(CASE, str(link), written(data_dir, contract()), load()).files == (link,)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"expectations": []', '"expectations": [], "expectations": []', "each key once in the contract"),
        ('"expectations": []', '"expectations": ' + "[" * 900 + "]" * 900, "at most 32 nested values"),
        ("rows.csv", "../../secret.csv", "the name of a file in the folder of the data set"),
        ("rows.csv", "/etc/passwd", "the name of a file in the folder of the data set"),
    ],
)
def test_a_contract_of_a_stranger_is_refused_when_it_is_loaded(
    data_dir: Path, old: str, new: str, problem: str
) -> None:
    path = data_dir.parent / "small.json"
    path.write_text(json.dumps(contract()).replace(old, new))
    with pytest.raises(ContractError, match=problem):
        load_contract(CASE, str(path), load())


def test_a_large_contract_is_not_read_to_its_end(data_dir: Path) -> None:
    path = data_dir.parent / "large.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ContractError, match="at most 4 MB"):
        load_contract(CASE, str(path), load())


def test_a_contract_that_is_no_file_is_an_error() -> None:
    for name in ("/dev/zero.json", str(ROOT / "expectations") + "/.json"):
        with pytest.raises(UsageError):
            load_contract(CASE, name, load())
