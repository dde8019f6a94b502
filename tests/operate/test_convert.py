"""Contracts are converted to the Open Data Contract Standard and back on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steward
from ml.errors import StewardError

ROOT = Path(__file__).resolve().parents[2]
HMEQ = ROOT / "expectations" / "fintech_risk" / "hmeq.json"
FOREIGN = """
apiVersion: v3.0.2
kind: DataContract
id: loans
version: 1.0.0
status: active
schema:
- name: loans
  properties:
  - {name: income, logicalType: number, required: true}
  - {name: defaulted, logicalType: string}
  quality:
  - {type: sql, query: 'SELECT 1', mustBe: 1}
"""


def convert(*arguments: object) -> str:
    done = CliRunner().invoke(steward.app, ["convert", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_there_and_back(tmp_path: Path) -> None:
    standard, back = tmp_path / "hmeq.yaml", tmp_path / "hmeq.json"
    assert convert(HMEQ, "-o", standard) == f"{standard}: fintech-risk.hmeq, 18 rules\n"
    assert convert(standard, "-o", back, "--case", "fintech-risk").startswith(
        f"{back}: fintech-risk.hmeq, 18 rules"
    )
    assert json.loads(back.read_text())["meta"] == json.loads(HMEQ.read_text())["meta"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hmeq.json", "hmeq.yaml"]


def test_a_file_of_another_project(tmp_path: Path) -> None:
    given, written = tmp_path / "loans.yaml", tmp_path / "loans.json"
    given.write_text(FOREIGN)
    target = ("--target", "defaulted", "--positive", "yes")
    printed = convert(given, "-o", written, "--case", "fintech-risk", *target)
    assert "not imported: a rule of the table (sql): it has no expectation" in printed
    roles = json.loads(written.read_text())["meta"]["roles"]
    assert roles == {"target": {"column": "defaulted", "positive": ["yes"]}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.json", "-o", "new.yaml"), "FILE.json or FILE.yaml that exists"),
        (
            ("loans.yaml", "-o", "new.yaml", "--case", "fintech-risk"),
            "FILE.json in a folder that exists; got new.yaml",
        ),
        (("loans.yaml", "-o", "new.json"), "--case with FILE.yaml"),
        (("loans.yaml", "-o", "new.json", "--case", "nonsense"), "a use case"),
        (
            ("loans.yaml", "-o", "new.json", "--case", "fintech-risk"),
            "a target for a contract that another project",
        ),
        (
            ("loans.yaml", "-o", "new.json", "--case", "fintech-risk", "--target", "defaulted"),
            "give both, or none",
        ),
        (
            (
                "loans.yaml",
                "-o",
                "old.json",
                "--case",
                "fintech-risk",
                "--target",
                "defaulted",
                "--positive",
                "1",
            ),
            "exists",
        ),
        ((HMEQ, "-o", "none/new.yaml"), "FILE.yaml or FILE.yml in a folder that exists"),
        (
            (HMEQ, "-o", "new.yaml", "--case", "fintech-risk"),
            "no --case, --target or --positive for a contract",
        ),
    ],
)
def test_mistakes_are_named_and_write_nothing(
    arguments: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loans.yaml").write_text(FOREIGN)
    Path("old.json").write_text("mine")
    with pytest.raises(StewardError) as raised:
        convert(*arguments)
    assert message in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loans.yaml", "old.json"]
    assert Path("old.json").read_text() == "mine"
