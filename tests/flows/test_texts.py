"""Route simulated messages: a champion, its report, answers and label sets of new messages, and no message anywhere."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from flows.customer_service import CASE, customer_service
from flows.fintech_risk import fintech_risk
from flows.pipeline import check_before_run
from flows.scoring import score
from flows.use_case import RunParameters
from ml.errors import UsageError
from ml.simulators import SIMULATORS
from ml.text.frozen_encoder import FrozenEncoder
from tasks.settings import load
from tasks.tracking import connection, registry

ROOT = Path(__file__).resolve().parents[2]
INTENTS = json.loads((ROOT / "expectations/customer_service/simulated.json").read_text())["meta"]["roles"][
    "target"
]["labels"]


def new_messages() -> pd.DataFrame:
    """Return messages as customers may write them, the last four of them badly."""
    rows = SIMULATORS["mailbox"](200, 7).rows.drop(columns="intent")
    rows.loc[196, "text"] = "🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂"
    rows.loc[197, "text"] = "where is my parcel? " * 5000
    rows.loc[198, "text"] = "wh\u200bere is my par\u200bcel, <b>please</b>?"
    rows.loc[199, "text"] = "où est mon colis? 我的包裹在哪里? где моя посылка?"
    return rows


@pytest.fixture(scope="module")
def known_messages() -> list[str]:
    """Return long messages of the batch that the tests train on; each belongs to one customer."""
    texts = SIMULATORS["mailbox"](1500, 0).rows["text"]
    return texts[texts.str.len() > 60].sample(100, random_state=0).tolist()


def test_messages_are_routed_and_appear_nowhere(
    tmp_path: Path, home: Path, contracts: Path, prefect_api: str, known_messages: list[str]
) -> None:
    outcome = customer_service(time_budget=4)
    assert outcome.verdict == "promote"

    mlflow = connection.connect(load())
    champion = registry.get_champion(mlflow, "customer-service.simulated")
    assert champion is not None
    assert champion.tags["candidate"] == "TF-IDF"
    facts = json.loads(next(home.glob("artifacts/customer-service/*/artifacts/facts.json")).read_text())
    evaluation = facts["evaluation"]
    assert evaluation["value"] > 0.8 > 0.2 > evaluation["baseline"]["value"]
    assert evaluation["share_of_optimum"] > 0.9
    assert evaluation["out_of_scope"]["roc_auc"] > 0.9
    assert evaluation["metrics"]["label_coverage"] > 0.8
    # What the budget does not suffice for is named.
    assert "encoder" in json.dumps(facts["time_budget"]["left_out"])
    page = next(home.glob("artifacts/customer-service/*/artifacts/report.html")).read_text()
    assert "What is taken for what" in page
    assert "are left to people" in page

    new = new_messages()
    source, out = tmp_path / "new.csv", tmp_path / "scores.parquet"
    new.to_csv(source, index=False)
    counts = score("customer-service", str(source), str(out))
    scores = pd.read_parquet(out).set_index("row")
    assert counts["scored"] + counts["quarantined"] == 200
    scored = scores[scores["status"] == "scored"]
    assert len(scored) >= 196
    assert set(scored["label"]) <= set(INTENTS)
    assert set(scored["decision"]) == {"answer", "unsure"}
    columns = [f"probability of {label}" for label in INTENTS]
    assert scored[columns].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert scored["probability"].to_numpy() == pytest.approx(scored[columns].max(axis=1).to_numpy())
    assert all(label in labels for label, labels in zip(scored["label"], scored["labels"], strict=True))
    # Only emojis say nothing about the desk.
    if scores.loc[196, "status"] == "scored":
        assert scores.loc[196, "decision"] == "unsure"

    # Words of the customer's own message speak for the label; they are in the user's file, and nowhere else.
    new.head(20).to_csv(source, index=False)
    score("customer-service", str(source), str(out), reasons=3)
    explained = pd.read_parquet(out)
    assert (explained["reason_words"].map(len) <= 3).all()
    for message, words in zip(new["text"].str.lower(), explained["reason_words"], strict=False):
        assert all(word.lower() in message for word in words)
    assert explained["reason_words"].map(len).sum() > 40

    # The content store has the rows, as for tables; nothing that is shown or registered has.
    # A model's copy of the code has the phrases of the simulator.
    shown = [
        path
        for path in home.rglob("*")
        if path.is_file() and home / "store" not in path.parents and path.suffix != ".py"
    ]
    contents = [path.read_bytes() for path in shown]
    assert len(contents) > 20
    for message in [*known_messages, *new["text"].str.slice(0, 60)]:
        assert not any(message.encode() in content for content in contents), message


def test_use_case_for_texts_refuses_a_target_without_labels(
    tmp_path: Path, home: Path, contracts: Path, prefect_api: str
) -> None:
    path = contracts / "customer_service" / "simulated.json"
    contract = json.loads(path.read_text())
    contract["meta"]["roles"]["target"] = {"column": "intent", "positive": [INTENTS[0]]}
    path.write_text(json.dumps(contract))
    with pytest.raises(
        UsageError, match="expected a target of customer-service with labels; got one with two classes"
    ):
        customer_service(time_budget=1)


def test_table_with_several_classes_ends_with_a_champion(
    tmp_path: Path, home: Path, contracts: Path, prefect_api: str
) -> None:
    """Loans by grade: the use case of two classes answers three of them with other candidates."""
    path = contracts / "fintech_risk" / "simulated.json"
    contract = json.loads(path.read_text())
    rows = SIMULATORS["lender"](1500, 0).rows
    rows["grade"] = pd.cut(
        rows["income"].fillna(rows["income"].median()).rank(), 3, labels=["c", "b", "a"]
    ).astype(str)
    rows.to_csv(tmp_path / "loans.csv", index=False)
    meta = contract["meta"]
    meta["read"] = {"files": ["loans.csv"], "columns": {**meta["read"]["columns"], "grade": "category"}}
    meta["roles"]["target"] = {"column": "grade", "labels": ["a", "b", "c"], "coverage": 0.8}
    meta["roles"]["ignored"] = [*meta["roles"].get("ignored", []), "defaulted", "income"]
    meta["split"] = {"by": "stratified"}
    contract["name"] = "fintech-risk.grades"
    contract["expectations"] = []
    file = tmp_path / "grades.json"
    file.write_text(json.dumps(contract))
    outcome = fintech_risk(data=str(tmp_path / "loans.csv"), contract=str(file), time_budget=5)
    facts = json.loads(next(home.glob("artifacts/fintech-risk/*/artifacts/facts.json")).read_text())
    candidates = [entry["candidate"] for entry in facts["leaderboard"]]
    assert candidates == ["class prior", "logistic regression", "LightGBM"]
    assert outcome.verdict == "promote" or "Accuracy" in outcome.reason
    assert facts["evaluation"]["metrics"]["label_coverage"] > 0.7


def test_missing_weights_are_reported_before_anything_is_written(
    tmp_path: Path, contracts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "home"))
    case = replace(CASE, candidates={"frozen encoder": FrozenEncoder("./no/such/encoder")})
    with pytest.raises(UsageError, match="expected a folder with an encoder; got no folder"):
        check_before_run(case, RunParameters(), load())
    assert not (tmp_path / "home").exists()
