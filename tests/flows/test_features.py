"""Features that a contract declares and texts in a table: from raw columns to a verdict, a reproduction and scores."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.states import State

from flows.fintech_risk import CASE
from flows.lineage.model_version import find_model_version
from flows.lineage.walk import walk
from flows.pipeline import run
from flows.reproduction import reproduce
from flows.scoring import score
from flows.use_case import RunParameters
from ml.errors import FeatureError, LeakageError, PackagingError
from ml.evaluation.quality_gate import QualityThresholds
from ml.features.text_topics import TextTopics
from ml.tabular.constant import Constant
from ml.tabular.linear import Linear
from tasks.settings import load
from tasks.tracking import connection, registry

QUICK = replace(
    CASE,
    candidates={"constant": Constant(), "logistic regression": Linear()},
    thresholds=QualityThresholds(min_primary=0.5),
)
CONTRACT: dict[str, Any] = {
    "name": "fintech-risk.notes",
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": {
            "files": ["loans.csv"],
            "columns": {
                "loan": "category",
                "debt": "number",
                "income": "number",
                "asked_at": "time",
                "paid_at": "time",
                "note": "category",
                "defaulted": "category",
            },
        },
        "roles": {
            "id": "loan",
            "target": {"column": "defaulted", "positive": ["yes"]},
            "text": ["note"],
            "ignored": ["debt", "income"],
        },
        "features": {
            "debt_share": {"kind": "ratio", "columns": ["debt", "income"]},
            "waited_days": {"kind": "days_between", "columns": ["asked_at", "paid_at"]},
            "hour": {"kind": "hour", "columns": ["asked_at"]},
            "no_income": {"kind": "missing", "columns": ["income"]},
        },
    },
}
DECLARED = list(CONTRACT["meta"]["features"])
pytestmark = pytest.mark.usefixtures("prefect_api", "home")


def loans(count: int, seed: int) -> pd.DataFrame:
    """Draw loans whose default depends on debt per income, on the hour, and on what the note is about."""
    rng = np.random.default_rng(seed)
    debt, income = rng.uniform(0, 1000, count), rng.uniform(100, 1000, count).round()
    worried = rng.random(count) < 0.3
    hour = rng.integers(0, 24, count)
    risk = 1.2 * (debt / income - 1) + 2 * worried + 0.08 * (hour - 12) - 0.5
    asked = (
        pd.Timestamp("2024-01-01")
        + pd.to_timedelta(rng.integers(0, 300, count), "D")
        + pd.to_timedelta(hour, "h")
    )
    numbers = rng.integers(10**8, 10**9, count)
    return pd.DataFrame(
        {
            "loan": [f"loan-{seed}-{n}" for n in range(count)],
            "debt": debt.round(2),
            "income": np.where(rng.random(count) < 0.1, np.nan, income),
            "asked_at": asked,
            "paid_at": asked + pd.to_timedelta(rng.integers(1, 20, count), "D"),
            "note": [
                f"{'lost my job and cannot pay' if w else 'a new kitchen for our house'} {rng.integers(50)} ref{n}"
                for w, n in zip(worried, numbers, strict=True)
            ],
            "defaulted": np.where(rng.random(count) < 1 / (1 + np.exp(-risk)), "yes", "no"),
        }
    )


def parameters(folder: Path, rows: pd.DataFrame, features: Mapping[str, Any] | None = None) -> RunParameters:
    """Write rows and contract to files, and return the parameters of a run on them."""
    data, file = folder / "loans.csv", folder / "notes.json"
    rows.to_csv(data, index=False)
    contract = json.loads(json.dumps(CONTRACT))
    contract["meta"]["features"] |= features or {}
    file.write_text(json.dumps(contract))
    return RunParameters(data=str(data), contract=str(file))


def run_flow(params: RunParameters) -> State[Any]:
    return flow(name="fintech-risk")(lambda: run(QUICK, params))(return_state=True)


def finished_tasks(state: State[Any]) -> list[str]:
    with get_client(sync_client=True) as client:
        only = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        return sorted({r.name.split("-")[0] for r in client.read_task_runs(flow_run_filter=only)})


def test_derived_columns_are_trained_on_packaged_reproduced_and_scored(tmp_path: Path, home: Path) -> None:
    state = run_flow(parameters(tmp_path, loans(1200, 0)))
    outcome = state.result()
    assert outcome.verdict == "promote"
    assert "features" in finished_tasks(state)
    facts = json.loads(next(home.glob("artifacts/fintech-risk/*/artifacts/facts.json")).read_text())
    assert [entry["name"] for entry in facts["features"]["declared"]] == DECLARED
    assert [entry["column"] for entry in facts["features"]["texts"]] == ["note"]
    importance = facts["evaluation"]["importance"]
    assert {*DECLARED, "note: topic 1", "note: characters", "note: words"} <= set(importance)
    assert not {"debt", "income", "asked_at", "paid_at", "note"} & set(importance)
    assert facts["evaluation"]["value"] > facts["evaluation"]["baseline"]["value"] + 0.1
    page = next(home.glob("artifacts/fintech-risk/*/artifacts/report.html")).read_text()
    assert "debt / income" in page
    assert "days from asked_at to paid_at" in page

    client = connection.connect(load())
    champion = registry.get_champion(client, "fintech-risk.notes")
    assert champion is not None
    # A reference that one customer wrote is in no file that is shown or registered.
    shown = [
        p for p in home.rglob("*") if p.is_file() and home / "store" not in p.parents and p.suffix != ".py"
    ]
    references = [note.split()[-1].encode() for note in loans(1200, 0)["note"]]
    assert not [path for path in shown for reference in references if reference in path.read_bytes()]

    record = find_model_version("fintech-risk", "notes", champion.number, load())
    steps = {step.name: step.status for step in walk(record)}
    assert steps["features"] == "ok"
    assert [c.name for c in reproduce(record, QUICK) if not c.is_same] == []

    new, out = loans(60, 1).drop(columns="defaulted"), tmp_path / "scores.parquet"
    new.loc[0, ["income", "paid_at"]] = None
    new.loc[1, "income"] = 0.0
    source = tmp_path / "new.csv"
    new.to_csv(source, index=False)
    counts = score("fintech-risk", str(source), str(out), "notes")
    scores = pd.read_parquet(out)
    assert counts["scored"] == 60
    assert scores["probability"].between(0, 1).all()
    assert scores["probability"].nunique() > 30


def test_run_stops_where_a_feature_has_no_value_at_all(tmp_path: Path) -> None:
    rows = loans(400, 0).assign(paid_at=None)
    rows.loc[0, "paid_at"] = None
    state = run_flow(parameters(tmp_path, rows))
    assert state.is_failed()
    with pytest.raises(
        FeatureError, match=r"expected a value of each declared feature .* none of 'waited_days'"
    ):
        state.result()
    assert finished_tasks(state) == ["drift", "features", "source", "split", "summarize", "validate"]
    client = connection.connect(load())
    assert client.search_registered_models() == []
    (failed,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert (failed.info.status, failed.data.tags["steward.verdict"]) == ("FAILED", "rejected")
    report = Path(failed.info.artifact_uri.removeprefix("file://")) / "report.html"
    assert "The features gate stopped the run" in report.read_text()


def test_packaging_gate_stops_features_that_differ_after_reloading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clean process computes the features from the raw columns by the model's own code, which is not patched.
    transform = TextTopics.transform
    monkeypatch.setattr(TextTopics, "transform", lambda topics, texts: transform(topics, texts) + 1e-6)
    state = run_flow(parameters(tmp_path, loans(600, 0)))
    with pytest.raises(PackagingError, match="same probability after reloading"):
        state.result()
    assert connection.connect(load()).search_registered_models() == []


def test_split_gate_stops_a_declared_feature_that_reveals_the_target(tmp_path: Path) -> None:
    rows = loans(600, 0)
    late = np.where(rows["defaulted"] == "yes", 60, 30)
    noise = np.random.default_rng(0).integers(0, 3000, len(rows))
    asked = rows["asked_at"] + pd.to_timedelta(noise, "D") - pd.Timedelta(days=3000)
    rows = rows.assign(asked_at=asked, paid_at=asked + pd.to_timedelta(late, "D"))
    state = run_flow(parameters(tmp_path, rows))
    with pytest.raises(LeakageError, match="waited_days"):
        state.result()
    assert "features" not in finished_tasks(state)
