"""Files that were cut short are refused where their end shows it, else noted; whole files pass."""

from pathlib import Path

import pytest

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.file_ending import BLOCK_BYTES, check_file_end
from tasks.formats.file_formats import read_file
from tasks.formats.read_limits import ReadLimits

OPTIONS = ReadOptions.model_validate({"files": ["x.csv"], "columns": {"a": "integer", "b": "category"}})
WHOLE = b"a,b\n1,x\n2,y\n"


def notes(folder: Path, data: bytes, options: ReadOptions = OPTIONS) -> list[str]:
    path = folder / "x.csv"
    path.write_bytes(data)
    return check_file_end(path, read_file(path, options, ReadLimits()).table, options)


@pytest.mark.parametrize(
    "data", [WHOLE, WHOLE.replace(b"\n", b"\r\n"), b'a,b\n1,"two\nlines"\n2,5"\n', b"a,b\n"]
)
def test_whole_files_have_no_notes(tmp_path: Path, data: bytes) -> None:
    assert notes(tmp_path, data) == []


def test_a_missing_line_break_is_noted(tmp_path: Path) -> None:
    assert "no line break" in notes(tmp_path, WHOLE.rstrip())[0]


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"a,b\n1," + b"x" * (BLOCK_BYTES - 6), "whole blocks"),
        (WHOLE.rstrip() + bytes(10), "zero bytes"),
        (b'a,b\n1,"x\n2,y\n3,z\n', "quoted cell"),
    ],
)
def test_cut_files_are_refused(tmp_path: Path, data: bytes, got: str) -> None:
    options = OPTIONS.model_copy(update={"missing": ()})
    with pytest.raises(DataGateError, match=got) as error:
        notes(tmp_path, data, options)
    assert "cut short" in str(error.value)


def test_wide_encodings_are_not_examined(tmp_path: Path) -> None:
    wide = OPTIONS.model_copy(update={"encoding": "utf-16"})
    assert notes(tmp_path, WHOLE.decode().encode("utf-16"), wide) == []
