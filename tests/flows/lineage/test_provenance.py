"""Find the files that a run read by name and sha256, also in another folder of data sets."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.lineage import provenance
from flows.lineage.step import MISSING, MODIFIED, OK
from tasks.settings import Settings


@pytest.mark.parametrize(
    "folder", ["loans", "shared"], ids=["named as the data set", "named by the contract"]
)
def test_a_file_is_found_in_the_current_data_folder(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "now" / folder / "loans.csv"
    path.parent.mkdir(parents=True)
    sha = hashlib.sha256(b"a,b\n").hexdigest()
    facts = {
        "data": "loans",
        "params": {"data": "loans"},
        "files": [str(tmp_path / "then" / folder / "loans.csv")],
        "source": {"origin": {"files": {"loans.csv": sha}}},
    }
    record = SimpleNamespace(
        facts=facts, settings=Settings(state_dir=tmp_path / "home", data_dir=tmp_path / "now")
    )
    assert [file.status for file in provenance.source_files(record)] == [MISSING]
    path.write_bytes(b"other\n")
    assert [(file.status, file.path) for file in provenance.source_files(record)] == [(MODIFIED, path)]
    path.write_bytes(b"a,b\n")
    assert [(file.status, file.path) for file in provenance.source_files(record)] == [(OK, path)]
