"""A registered champion scores files, loads without Steward, and predicts over HTTP."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from flows.fintech_risk import fintech_risk
from flows.scoring import score
from ml.errors import DataGateError, DriftError, UsageError
from ml.simulators import SIMULATORS
from tasks.settings import load
from tests.guard import GUARD

# Steward is installed where tests run: the process that represents another machine must not find it.
ALONE = """
import sys
steward = sys.argv[3]
sys.meta_path = [f for f in sys.meta_path if "__editable__" not in type(f).__module__ + getattr(f, "__module__", "")]
sys.path = [p for p in sys.path if p and not p.startswith("__editable__") and p != steward]
import json, mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/fintech-risk.simulated@champion")
rows = pd.read_parquet(sys.argv[2])
import ml
assert not ml.__file__.startswith(steward), ml.__file__
for name in ("tasks", "flows", "steward"):
    assert name not in sys.modules
print(json.dumps(model.predict(rows[model.metadata.get_input_schema().input_names()])["probability"].tolist()))
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    rows = SIMULATORS["lender"](200, 1).rows.drop(columns="defaulted")
    rows.loc[3, "age"] = -1
    path = tmp_path / "new.parquet"
    rows.to_parquet(path)
    return path


def test_scores_loads_and_serves(
    tmp_path: Path, home: Path, contracts: Path, prefect_api: str, unlabelled: Path
) -> None:
    assert fintech_risk(time_budget=2).verdict == "promote"
    out = tmp_path / "scores.parquet"
    facts = score("fintech-risk", str(unlabelled), str(out))
    scores = pd.read_parquet(out)
    assert (facts["rows"], facts["scored"], facts["quarantined"]) == (200, 199, 1)
    assert scores["row"].tolist() == list(range(200))
    assert scores["status"].tolist() == ["quarantined" if n == 3 else "scored" for n in range(200)]
    assert scores["probability"].isna().tolist() == [n == 3 for n in range(200)]
    assert "adults" in scores["reason"][3]
    (removing,) = facts["rules"]
    assert (removing["rule"], removing["kinds"]) == (
        "column_values_to_be_between(age)",
        {"a number below 18": 1},
    )
    assert scores["model_version"].tolist() == [1] * 200
    # The file is compared with the training batch before it is scored.
    assert facts["drift"]["reference"] == "the training batch of version 1"
    assert (facts["drift"]["compared"], facts["drift"]["findings"]) == (True, [])
    damaged, untouched = tmp_path / "damaged.parquet", out.read_bytes()
    pd.read_parquet(unlabelled).assign(credit_history_months=7).to_parquet(damaged)
    with pytest.raises(DriftError, match="credit_history_months: constant, one value in all rows"):
        score("fintech-risk", str(damaged), str(out))
    assert out.read_bytes() == untouched
    # A report beside the output says why a file was refused, until another one is scored there.
    page = tmp_path / "scores.refused.html"
    assert "constant, one value in all rows" in page.read_text()
    for damage, refusal in (
        ({"age": -12345}, "column_values_to_be_between(age) 200 rows (a number below 18)"),
        ({"income": "top-secret"}, "type(income) 200 rows (text where a number is expected)"),
    ):
        pd.read_parquet(unlabelled).assign(**damage).to_parquet(damaged)
        with pytest.raises(DataGateError, match=f"{re.escape(refusal)}.*; report: {page}"):
            score("fintech-risk", str(damaged), str(out))
        text = page.read_text()
        assert refusal in text
        assert "damaged.parquet was not scored" in text
        assert "Undefined" not in text
        assert not re.search("12345|top-secret", text)
    score("fintech-risk", str(unlabelled), str(out))
    assert not page.exists()
    # Rows of a database have the scores of the same rows in a file.
    from_file, database = pd.read_parquet(out), tmp_path / "new.db"
    with closing(sqlite3.connect(database)) as connection:
        pd.read_parquet(unlabelled).to_sql("loans", connection, index=False)
    score("fintech-risk", str(database), str(out), query="SELECT * FROM loans")
    pd.testing.assert_frame_equal(pd.read_parquet(out), from_file)
    with pytest.raises(DataGateError, match=f"no such table: loan; correct --query; report: {page}"):
        score("fintech-risk", f"sqlite:///{database}", str(out), query="SELECT * FROM loan")
    assert f"the query of sqlite:///{database} was not scored" in page.read_text()
    with pytest.raises(
        UsageError,
        match="expected reasons of a recommender or of texts, 0 or more of them; got 3 of fintech-risk",
    ):
        score("fintech-risk", str(unlabelled), str(out), reasons=3)

    uri = load().mlflow_uri
    numbers = pd.read_parquet(unlabelled).astype({"age": "float64"})
    kinds = json.loads((ROOT / "expectations/fintech_risk/simulated.json").read_text())["meta"]["read"][
        "columns"
    ]
    for column in numbers.columns.intersection([c for c, k in kinds.items() if k in ("number", "integer")]):
        numbers[column] = numbers[column].astype("float64")
    typed = tmp_path / "typed.parquet"
    numbers.to_parquet(typed)
    command = [sys.executable, "-W", "ignore", "-c", ALONE, uri, str(typed), str(ROOT)]
    alone = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert alone.returncode == 0, alone.stderr
    predictions = json.loads(alone.stdout)
    scored = scores["status"] == "scored"
    assert scores["probability"][scored].tolist() == [
        a for a, s in zip(predictions, scored, strict=True) if s
    ]

    features = [c for c in kinds if c in numbers and c not in ("application_id", "applied_on", "sex")]
    served = predict_over_http(uri, numbers[features].head(5), tmp_path)
    assert served == pytest.approx(predictions[:5], abs=1e-12)


def serve_command(uri: str, port: int) -> str:
    """Return the README's command with another database and port, and with the interpreter of these tests."""
    lines = (ROOT / "README.md").read_text().splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("    PATH=")]
    command = " ".join(line.strip().removesuffix("\\") for line in lines[first : first + 2])
    changes = {
        "$PWD/.venv/bin": str(Path(sys.executable).parent),
        "sqlite:///mlruns/mlflow.db": uri,
        # Next to the ports of `steward up`.
        "-p 5001": f"-p {port}",
    }
    for before, after in changes.items():
        assert command.count(before) == 1, command
        command = command.replace(before, after)
    return command


def predict_over_http(uri: str, rows: pd.DataFrame, folder: Path) -> list[float]:
    """Serve by the README's command on a free port, in an environment that is not active; request predictions."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inactive = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    server = subprocess.Popen(
        ["sh", "-c", serve_command(uri, port)],
        cwd=folder,
        env={**inactive, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + GUARD
        while not is_reachable(f"{address}/ping"):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.2)
        body = json.dumps({"dataframe_split": json.loads(rows.to_json(orient="split", index=False))}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return [line["probability"] for line in json.load(answer)["predictions"]]
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def is_reachable(address: str) -> bool:
    try:
        with urllib.request.urlopen(address) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
