"""Secrets of the environment and cells of the data are in nothing that is printed or recorded, also after a failure."""

import base64
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pandas as pd
import prefect
import psycopg2
import pytest
from prefect.logging.handlers import APILogHandler

import steward as steward_cli
from flows import fintech_risk
from flows.pipeline import run
from flows.use_case import RunParameters, UseCase
from ml.data.dataset import Dataset
from ml.errors import UnexpectedError, UsageError
from ml.estimator import FitResources
from ml.evaluation.quality_gate import QualityThresholds
from ml.simulators import SIMULATORS
from ml.tabular.constant import Constant
from tasks import library_variables, settings
from tasks.error_boundary import redact_errors
from tasks.settings import load
from tasks.tracking import connection as tracking
from tasks.tracking import registry

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws/5ecret+of/the+cloud",
    "PREFECT_API_KEY": "pnu_5ecretOfThePrefectServer",
    "DATABRICKS_TOKEN": "dapi5ecret0fTheLakehouse",
}


def file_contents(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of every file, and the content of SQLite databases as SQL."""
    for path in (p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()):
        data = path.read_bytes()
        yield str(path), data
        if data.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as connection:
                yield f"{path} (dumped)", "\n".join(connection.iterdump()).encode()


def table_contents(uri: str) -> Iterator[tuple[str, bytes]]:
    """Yield the rows of every table of a PostgreSQL database."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{name}"')
            yield f"table {name}", "\n".join(map(str, cursor.fetchall())).encode()


def places_with(secret: str, places: Iterator[tuple[str, bytes]]) -> list[str]:
    """Return the places that contain a secret, plain or encoded."""
    forms = {secret, quote(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    return [place for place, data in places if any(form.encode() in data for form in forms)]


def steward(uri: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).parent / "steward", *arguments],
        env={**os.environ, **SECRETS, "STEWARD_TRACKING_URI": uri, "PREFECT_LOGGING_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        check=False,
    )


def outputs(done: "subprocess.CompletedProcess[str]") -> Iterator[tuple[str, bytes]]:
    yield "stdout", done.stdout.encode()
    yield "stderr", done.stderr.encode()


def test_successful_run_reveals_no_secret(
    home: Path,
    contracts: Path,
    prefect_api: str,
    postgres: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = postgres("privacy")
    done = steward(uri, "run", "fintech-risk", "--time-budget", "2", "--verbose")
    assert done.returncode == 0, done.stderr
    # The run was complete: champion in that database, files in the state directory.
    monkeypatch.setenv("STEWARD_TRACKING_URI", uri)
    assert registry.get_champion(tracking.connect(load()), "fintech-risk.simulated") is not None
    assert next(home.glob("artifacts/fintech-risk/*/artifacts/report.html"), None)
    server = Path(os.environ["PREFECT_HOME"])
    for secret in (*SECRETS.values(), str(urlsplit(uri).password)):
        assert places_with(secret, outputs(done)) == []
        assert places_with(secret, file_contents(home, server)) == []
        assert places_with(secret, table_contents(uri)) == []
    assert places_with("verdict: promote", outputs(done)) == ["stderr"]
    assert places_with("fintech-risk.simulated", table_contents(uri)) != []


def test_failed_run_reveals_no_secret(home: Path, contracts: Path, prefect_api: str) -> None:
    done = steward("postgresql://ann:5ecret%2Fpw@127.0.0.1:9/mlflow", "run", "fintech-risk", "--verbose")
    assert done.returncode == 2
    assert "Connection refused" in done.stderr
    for secret in (*SECRETS.values(), "5ecret/pw"):
        assert places_with(secret, outputs(done)) == []
        assert places_with(secret, file_contents(home, Path(os.environ["PREFECT_HOME"]))) == []


def test_search_finds_secrets_in_files_and_databases(tmp_path: Path) -> None:
    secret = "a/5ecret"
    (tmp_path / "log.txt").write_text(f"https://ann:{quote(secret, safe='')}@host")
    with closing(sqlite3.connect(tmp_path / "some.db")) as connection, connection:
        connection.execute("CREATE TABLE words (word)")
        # Longer than a database page, so the file contains it in parts.
        connection.execute("INSERT INTO words VALUES (?)", ("x" * 4060 + secret + "x" * 9000,))
    places = [Path(place.split(" ")[0]).name for place in places_with(secret, file_contents(tmp_path))]
    assert sorted(set(places)) == ["log.txt", "some.db"]


# Text that no message and no record may have, wherever in the data it is.
NAME, DIAGNOSIS = "Zebulon-Quaxworthy", "Q99-quaxitis"


def loans_with_markers(rows: int = 1000) -> pd.DataFrame:
    """Return applications with names in ids, in cells that are no number, date or known value, and in a rare value."""
    loans = SIMULATORS["lender"](rows, 0).rows.astype(object)
    loans[f"notes on {NAME}"] = DIAGNOSIS
    loans.loc[5, "application_id"] = f"A0000000 {NAME}"
    loans.loc[6, "income"] = f"{DIAGNOSIS} 12"
    loans.loc[7, "applied_on"] = f"2024-13-45 {NAME}"
    loans.loc[8, "age"] = DIAGNOSIS
    loans.loc[9, "channel"] = NAME
    loans.loc[10, "sex"] = DIAGNOSIS
    return loans


def records(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Yield everything that is recorded, but for tables in the store, which hold the data, and files of models."""
    for place, data in file_contents(*folders):
        is_table = "/store/" in place and place.endswith(".parquet")
        if not is_table and "/models/" not in place:
            yield place, data


class Exploding(Constant):
    """A candidate whose library quotes cells when it fails."""

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> Any:
        raise quoting_error()


def quoting_error() -> Exception:
    """Return an exception, as of a library, that quotes cells, as does the one that it was chained to."""
    try:
        float(f"{NAME}")
    except ValueError as error:
        chained = KeyError(DIAGNOSIS)
        chained.__cause__ = error
        return chained
    raise AssertionError


def raise_quoting(*args: Any, **kwargs: Any) -> Any:
    raise quoting_error()


BREAKS = {
    "source": "tasks.formats.file_formats.read_file",
    "validate": "tasks.validate.cast_columns",
    "split": "tasks.split.key_of",
    "leaderboard": "tasks.evaluate.select_leader",
    "evaluate": "tasks.evaluate.subgroup_metrics",
    "package": "tasks.packaging.save_mlflow_model",
    "outside of a stage": "flows.pipeline.unchanged_inputs.input_key",
}


def test_no_record_of_a_run_has_a_cell(
    tmp_path: Path,
    home: Path,
    contracts: Path,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Bad cells, a missing header, an odd archive, and an error that quotes cells at each stage."""
    path = tmp_path / "loans.csv"
    loans_with_markers().to_csv(path, index=False)
    params = {"data": str(path), "contract": "simulated"}

    def run_case(case: UseCase, **changed: str) -> int:
        def quick(**_: Any) -> Any:
            return prefect.flow(name=case.name)(lambda: run(case, RunParameters(**{**params, **changed})))()

        return steward_cli._run_case(case.name, quick, {})[1]

    failing = replace(fintech_risk.CASE, candidates={"constant": Constant(), "failing": Exploding()})
    quick = replace(fintech_risk.CASE, candidates={"constant": Constant()}, thresholds=QualityThresholds(0.0))
    # In the order of the stages: those that are stored are not computed again.
    for target in BREAKS.values():
        with monkeypatch.context() as patched:
            patched.setattr(target, raise_quoting)
            assert run_case(quick) == 1, target
    assert run_case(failing) == 1
    assert run_case(quick) == 0
    scored = ["score", "fintech-risk", "--data", str(path), "--out", str(tmp_path / "scores.parquet")]
    headless = tmp_path / "headless.csv"
    loans_with_markers().iloc[5:].to_csv(headless, index=False, header=False)
    for command, data, code in (("validate", path, 0), ("validate", headless, 3), ("run", headless, 3)):
        assert cli([command, "fintech-risk", "--data", str(data), "--contract", "simulated"]) == code
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr(f"{NAME}.csv", f"{DIAGNOSIS}\n\x00\xff{NAME}")
    assert (
        cli(["validate", "fintech-risk", "--data", str(tmp_path / "odd.zip"), "--contract", "simulated"]) == 3
    )
    assert cli(scored) == 0

    APILogHandler().flush()
    out, err = capfd.readouterr()
    server = Path(os.environ["PREFECT_HOME"])
    for marker in (NAME, DIAGNOSIS):
        assert marker not in out + err
        assert places_with(marker, records(home, server)) == []
    # The search would find them, the errors can be located, and the explanation has a next step.
    assert places_with(NAME, file_contents(home)) != []
    assert "KeyError at tests/test_privacy.py" in err
    assert places_with("KeyError at ", records(server)) != []
    assert "23 columns, none of them named there; the file may have no header" in err
    assert "set meta.read.header to false" in err


def cli(arguments: list[str]) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["steward", *arguments])
        with pytest.raises(SystemExit) as ended:
            steward_cli.main()
    return int(ended.value.code or 0)


def test_the_text_of_an_error_is_shown_in_the_terminal_on_request(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapped = redact_errors(raise_quoting)
    assert steward_cli._run_case("case", wrapped, {}) == (None, 1)
    without = capsys.readouterr().err
    assert NAME not in without
    assert "unexpected KeyError at tests/test_privacy.py" in without
    assert "STEWARD_DEBUG=1 shows its text and traceback" in without
    monkeypatch.setenv("STEWARD_DEBUG", "1")
    steward_cli._run_case("case", wrapped, {})
    shown = capsys.readouterr().err
    assert NAME in shown
    assert "Traceback" in shown


def test_every_task_and_flow_redacts_errors() -> None:
    for path in (file for folder in ("tasks", "flows") for file in (settings.ROOT / folder).rglob("*.py")):
        decorated = re.findall(
            r"^@(?:task|flow|local_flow)\(.*?\)\n(?=@|def )(\S+)", path.read_text(), re.M | re.S
        )
        assert [name for name in decorated if name != "@redact_errors"] == [], path


def test_an_error_that_leaves_a_stage_has_no_text_of_others() -> None:
    with pytest.raises(UnexpectedError) as redacted:
        redact_errors(raise_quoting)()
    error = redacted.value
    assert error.__suppress_context__
    assert "".join(traceback.format_exception(error)).count(NAME) == 0
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.place, copy.original) == (error.place, None)

    def raise_known() -> None:
        try:
            raise_quoting()
        except KeyError:
            raise UsageError("a", "b", "c")  # noqa: B904

    with pytest.raises(UsageError) as known:
        redact_errors(raise_known)()
    assert "".join(traceback.format_exception(known.value)).count(NAME) == 0


def test_warnings_of_libraries_are_shown_without_their_text() -> None:
    text = library_variables._format_without_text(f"cannot parse {NAME}", UserWarning, "pandas/core.py", 7)
    assert text == "pandas/core.py:7: UserWarning (STEWARD_DEBUG=1 shows its text)\n"
