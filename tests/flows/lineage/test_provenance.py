"""Files that a run read are found again by name and sha256, also when the folder of data sets is another one now."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.lineage import provenance
from flows.lineage.link import CHANGED, GONE, OK


@pytest.mark.parametrize("folder", ["loans", "shared"], ids=["of its own name", "that its contract names"])
def test_a_file_is_found_in_todays_folder_of_data_sets(tmp_path: Path, folder: str) -> None:
    there = tmp_path / "now" / folder / "loans.csv"
    there.parent.mkdir(parents=True)
    sha = hashlib.sha256(b"a,b\n").hexdigest()
    facts = {
        "data": "loans",
        "asked": {"data": "loans"},
        "files": [str(tmp_path / "then" / folder / "loans.csv")],
        "source": {"origin": {"files": {"loans.csv": sha}}},
    }
    trace = SimpleNamespace(facts=facts, settings=SimpleNamespace(data_dir=tmp_path / "now"))
    assert [file.status for file in provenance.files(trace)] == [GONE]
    there.write_bytes(b"other\n")
    assert [(file.status, file.path) for file in provenance.files(trace)] == [(CHANGED, there)]
    there.write_bytes(b"a,b\n")
    assert [(file.status, file.path) for file in provenance.files(trace)] == [(OK, there)]
