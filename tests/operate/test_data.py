"""`steward data --export`: a file that the champion of the data set scores."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import steward
from ml.errors import UsageError

# The state directory is created once.
pytestmark = pytest.mark.xdist_group("champions")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(steward.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_exported_file_is_scored_to_csv_with_the_version(champions: Path, tmp_path: Path) -> None:
    new, scores = tmp_path / "new.csv", tmp_path / "scores.csv"
    text = run("data", "--export", "fintech-risk.simulated", "--rows", "40", str(new))
    assert text.startswith(f"40 rows of fintech-risk.simulated without defaulted: {new}\n")
    # The second line is the command that scores the file.
    command = text.splitlines()[1].split()[1:]
    command[command.index("scores.csv")] = str(scores)
    assert "40 rows scored by fintech-risk.simulated version 1" in run(*command)
    rows, exported = pd.read_csv(scores), pd.read_csv(new)
    assert "defaulted" not in exported
    assert rows["application_id"].tolist() == exported["application_id"].tolist()
    assert rows["model_version"].tolist() == [1] * 40
    assert rows["probability"].between(0, 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--export", "simulated", "new.csv"],
            "name one of customer-service.simulated, ecommerce-recommendation.simulated, fintech-risk",
        ),
        (["--export", "nonsense", "new.csv"], "got nonsense; see `steward data`"),
        (["--export", "hmeq"], "--export NAME and FILE together"),
        (["new.csv"], "--export NAME and FILE together"),
        (["--export", "hmeq", "new.xlsx"], "FILE.csv or FILE.parquet in a folder that exists; got new.xlsx"),
        (["--export", "hmeq", "README.md"], "got README.md"),
        (["--fault", "null-spike"], "--export NAME with --fault"),
        (["--export", "hmeq", "--fault", "null-spike", "new.csv"], "a simulator with faults .* got files"),
        (
            ["--export", "fintech-risk.simulated", "--fault", "gremlins", "new.csv"],
            "a fault (biased-labels, .*); got 'gremlins'",
        ),
        (
            ["--export", "fintech-risk.simulated", "--fault", "null-spike", "new.parquet"],
            "FILE.csv in a folder that exists",
        ),
    ],
)
def test_mistakes_are_reported_and_write_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.sub(r"([()])", r"\\\1", message)):
        run("data", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("mine")
    with pytest.raises(UsageError, match="expected a new file"):
        run("data", "--export", "fintech-risk.simulated", str(path))
    assert path.read_text() == "mine"


def test_rows_of_a_log_are_exported(home: Path, contracts: Path, tmp_path: Path) -> None:
    name = "ecommerce-recommendation.simulated"
    printed = json.loads(
        run("data", "--json", "--export", name, "--rows", "200", str(tmp_path / "new.parquet"))
    )
    rows = pd.read_parquet(tmp_path / "new.parquet")
    assert 0 < printed["rows"] == len(rows) <= 200
    assert printed["columns"] == list(rows.columns)


def test_a_simulated_batch_is_exported_with_a_fault(contracts: Path, tmp_path: Path) -> None:
    """It has its target, and another seed damages other rows of the same batch."""
    name, file = "fintech-risk.simulated", tmp_path / "0.csv"
    text = run("data", "--export", name, "--rows", "60", "--fault", "infinities", str(file))
    expected = f"60 rows of {name} with the fault infinities: {file}\n"
    assert text == expected + f"    steward run fintech-risk --contract simulated --data {file}\n"
    run(
        "data",
        "--export",
        name,
        "--rows",
        "60",
        "--fault",
        "infinities",
        "--seed",
        "1",
        str(tmp_path / "1.csv"),
    )
    first, second = (pd.read_csv(tmp_path / f"{seed}.csv") for seed in (0, 1))
    assert first.drop(columns="loan_amount").equals(second.drop(columns="loan_amount"))
    assert "defaulted" in first
    assert (first["loan_amount"] == float("inf")).any()
    assert not first["loan_amount"].equals(second["loan_amount"])
