"""Bad input through the command line: error message and exit code."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import steward
from ml.simulators import SIMULATORS
from operate.console import EXIT_DATA_GATE, EXIT_USAGE
from operate.printing import OUTCOME_FIELDS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("prefect_api")


def command(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    old = sys.argv
    sys.argv = ["steward", *arguments]
    try:
        steward.main()
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = old
    return 0


def edit_contract(contracts: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = contracts / "fintech_risk" / "simulated.json"
    contract = json.loads(path.read_text())
    change(contract)
    path.write_text(json.dumps(contract))


BEFORE_A_RUN = {
    "unknown case": (["run", "nonsense"], None, "a use case (customer-service, ecommerce-recommendation"),
    "unknown data set": (["run", "fintech-risk", "--data", "nonsense"], None, "a data set of fintech-risk"),
    "no file": (
        ["run", "fintech-risk", "--data", "no/such.csv", "--contract", "simulated"],
        None,
        "a file no/such.csv",
    ),
    "negative trials": (["run", "fintech-risk", "--trials", "-1"], None, "0 trials or more"),
    "zero time budget": (
        ["run", "fintech-risk", "--time-budget", "0"],
        None,
        "a time budget of more than 0 seconds",
    ),
    "time budget without end": (
        ["run", "fintech-risk", "--time-budget", "inf"],
        None,
        "a time budget of more than 0 seconds; got inf",
    ),
    "time budget that is no number": (
        ["run", "fintech-risk", "--time-budget", "nan"],
        None,
        "a time budget of more than 0 seconds; got nan",
    ),
    "negative seed": (["run", "fintech-risk", "--seed", "-1"], None, "Invalid value for '--seed'"),
    "seed that no library takes": (
        ["run", "fintech-risk", "--seed", "2147483648"],
        None,
        "a seed from 0 to 2000000000; got 2147483648",
    ),
    "trials of nothing": (
        ["run", "ecommerce-recommendation", "--trials", "3"],
        None,
        "no candidate that is tuned; got 3; leave --trials out",
    ),
    "path instead of a case": (
        ["run", "flows/fintech_risk.py"],
        None,
        "got 'flows/fintech_risk.py'; did you mean fintech-risk?",
    ),
    "data set of another case": (
        ["validate", "fintech-risk", "--data", "pima_diabetes"],
        None,
        "got pima_diabetes, a data set of health-prediction; did you mean health-prediction --data pima_diabetes?",
    ),
    "mistyped data set": (
        ["validate", "fintech-risk", "--data", "simulatd"],
        None,
        "got simulatd; did you mean simulated?",
    ),
    "two contracts": (
        ["run", "fintech-risk", "--contract", "simulated", "--contract", "hmeq"],
        None,
        "expected --contract once; got it 2 times",
    ),
    "not a number": (["run", "fintech-risk", "--seed", "many"], None, "Invalid value for '--seed'"),
    "unknown key": (["run", "fintech-risk"], lambda c: c["meta"].update(rolse={}), "rolse"),
    "unknown column": (["run", "fintech-risk"], lambda c: c["meta"]["roles"].update(id="nobody"), "nobody"),
    "unknown rule": (
        ["run", "fintech-risk"],
        lambda c: c["expectations"][0].update(type="expect_column_values_to_be_lovely"),
        "a known expectation in expectations[0].type",
    ),
    "versions that are no numbers": (
        ["compare", "fintech-risk", "1", "health-prediction.2"],
        None,
        "Invalid value for 'V2'",
    ),
    "no versions to compare": (
        ["compare", "fintech-risk", "1", "2"],
        None,
        "a registered version of fintech-risk.simulated; got none",
    ),
    "rollback without reason": (["champion", "fintech-risk", "--rollback"], None, "--reason TEXT"),
    "no champion to show": (["champion", "fintech-risk"], None, "a decision about fintech-risk.simulated"),
}


@pytest.mark.parametrize("mistake", BEFORE_A_RUN)
def test_usage_errors_are_reported_before_anything_is_written(
    mistake: str,
    tmp_path: Path,
    contracts: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "untouched"
    monkeypatch.setenv("STEWARD_HOME", str(home))
    arguments, change, message = BEFORE_A_RUN[mistake]
    if change:
        edit_contract(contracts, change)
    assert command(*arguments) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_a_state_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, contracts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "file" / "home"))
    assert command("run", "fintech-risk") == EXIT_USAGE
    assert "a writable folder" in capsys.readouterr().err


def loans() -> pd.DataFrame:
    return SIMULATORS["lender"](400, 0).rows


IN_A_RUN = {
    "empty file": (lambda path: path.write_text(""), "as the contract's meta.read describes it"),
    "header only": (lambda path: loans().head(0).to_csv(path, index=False), "enough_rows"),
    "missing column": (
        lambda path: loans().drop(columns="income").to_csv(path, index=False),
        "no column 'income'",
    ),
    "one class": (lambda path: loans().assign(defaulted=0).to_csv(path, index=False), "target_varies"),
    "one row": (lambda path: loans().head(1).to_csv(path, index=False), "enough_rows"),
    "no target": (
        lambda path: loans().assign(defaulted=None).to_csv(path, index=False),
        "max_quarantined_share",
    ),
    "target outside": (
        lambda path: loans().assign(defaulted=7).to_csv(path, index=False),
        "in_set(defaulted)",
    ),
    "text for numbers": (
        lambda path: loans().assign(age="old").to_csv(path, index=False),
        "max_quarantined_share",
    ),
}


@pytest.mark.parametrize("mistake", IN_A_RUN)
def test_bad_data_ends_a_run_rejected(
    mistake: str, tmp_path: Path, home: Path, contracts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, message = IN_A_RUN[mistake]
    path = tmp_path / "loans.csv"
    write(path)
    arguments = ["run", "fintech-risk", "--data", str(path), "--contract", "simulated", "--json"]
    # A budget of thirty years is one.
    assert command(*arguments, "--time-budget", "1e9") == EXIT_DATA_GATE
    out, err = capsys.readouterr()
    assert message in err
    (line,) = out.splitlines()
    outcome = json.loads(line)
    assert list(outcome) == OUTCOME_FIELDS
    assert (outcome["verdict"], outcome["version"], outcome["value"]) == ("rejected", None, None)
    assert message.split("'")[0] in Path(outcome["report"]).read_text().replace("&#39;", "'")
    assert not list(home.rglob(".writing-*"))


def test_extra_columns_are_dropped_and_named(
    tmp_path: Path, home: Path, contracts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "loans.csv"
    loans().assign(shoe_size=43).to_csv(path, index=False)
    assert command("validate", "fintech-risk", "--data", str(path), "--contract", "simulated", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["dropped_columns"]["count"] == 1
    assert facts["clean"] == facts["rows"] == 400


class ClosedPipe(io.StringIO):
    """What stdout is when its reader, such as `head -1`, has ended."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("arguments", [["data"], ["champion", "fintech-risk", "--history"]])
def test_output_into_a_pipe_that_closes_ends_without_a_message(
    arguments: list[str],
    contracts: Path,
    write_ledger: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_ledger(
        "fintech-risk.simulated", {"verdict": "promote", "before": None, "champion": 1, "version": 1}
    )
    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    assert command(*arguments) == 1
    assert capsys.readouterr().err == ""


def test_a_locale_without_utf_8_shows_all_texts(contracts: Path, tmp_path: Path) -> None:
    edit_contract(contracts, lambda c: c["meta"].update(description="Prêts simulés, en m²"))
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "steward.py"), "data"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Prêts simulés, en m²".encode() in done.stdout
