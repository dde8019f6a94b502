"""`steward lineage`: every step of an intact version is ok, and a change breaks only its own step."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Completed, Crashed
from typer.testing import CliRunner

import steward
from flows.ecommerce_recommendation import CASE
from ml.errors import UsageError
from tasks.settings import load
from tasks.tracking import connection, registry, run_history

# The state directory is created once and changed in place.
pytestmark = pytest.mark.xdist_group("champions")
NAME = "fintech-risk.simulated"
RunCommand = Callable[..., tuple[int, dict[str, Any]]]
Steps = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def steps(trained_champions: Path, run_command: RunCommand) -> Steps:
    """Return the lineage of the unchanged champion by step (of several fits, the last)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(trained_champions / "home"))
        patch.setenv("STEWARD_CONTRACTS", str(trained_champions / "contracts"))
        return {step["name"]: step for step in run_command("lineage", "fintech-risk")[1]["steps"]}


# With few rows, the logistic regression is selected.
OTHER_FITS = ["train constant", "train additive", "train LightGBM", "train ensemble"]

# The simulated data have no item attributes and no segments of users, and the time budget is short.
SKIPPED = ("content", "popularity by segment", "reranker with transformer")


@pytest.mark.parametrize(
    ("arguments", "version", "champion", "fits"),
    [
        (["fintech-risk"], 1, True, OTHER_FITS),
        (["fintech-risk", "2"], 2, False, OTHER_FITS),
        (["health-prediction"], 1, True, OTHER_FITS),
        (
            ["ecommerce-recommendation"],
            1,
            True,
            [f"train {name}" for name in CASE.candidates if name not in SKIPPED],
        ),
        (["ecommerce-recommendation", "--data", "brief"], 1, True, ["train popularity (30 d)"]),
    ],
)
def test_every_step_of_an_unchanged_version_is_ok(
    arguments: list[str],
    version: int,
    champion: bool,
    fits: list[str],
    champions: Path,
    run_command: RunCommand,
) -> None:
    code, result = run_command("lineage", *arguments)
    assert (code, result["broken"], result["version"], result["champion"]) == (0, [], version, champion)
    assert {step["status"] for step in result["steps"]} == {"ok"}, result["steps"]
    # From the decision to the data.
    upper = ["decision", "run", "prefect", "facts", "package", "model", "golden"]
    lower = ["split", "validate", "table", "contract", "source", "code", "libraries"]
    assert [step["name"] for step in result["steps"]] == [*upper, *["fit"] * len(fits), *lower]
    assert [step["recorded"]["stage"] for step in result["steps"] if step["name"] == "fit"] == fits


def test_steps_contain_what_is_recorded(champions: Path, steps: Steps) -> None:
    client = connection.connect(load())
    version = registry.get_version(client, NAME, 1)
    assert steps["run"]["recorded"]["mlflow_run_id"] == version.run_id
    assert steps["package"]["recorded"]["digest"] == version.digest
    assert steps["model"]["recorded"]["parameters"]["candidate"] == "ml.tabular.linear:Linear"
    loans = champions / "loans.csv"
    assert steps["source"]["recorded"]["files"] == {
        "loans.csv": hashlib.sha256(loans.read_bytes()).hexdigest()
    }
    contract = champions / "contracts" / "fintech_risk" / "simulated.json"
    assert steps["contract"]["recorded"]["file"] == str(contract)
    assert (
        steps["contract"]["recorded"]["digest"]
        == hashlib.sha256(json.dumps(json.loads(contract.read_text()), indent=1).encode()).hexdigest()
    )

    validated = steps["validate"]
    (rule,) = [line for line in validated["details"] if line.startswith("quarantine ")]
    assert "quarantine 3 of 1,500 by column_values_to_be_between(age)" in rule
    quarantine = pd.read_parquet(Path(validated["recorded"]["path"]) / "quarantine.parquet")
    assert f"quarantined rows: {validated['recorded']['path']}/quarantine.parquet" in validated["details"]
    assert quarantine["row"].tolist() == [3, 5, 8]
    sizes = {name: size["rows"] for name, size in steps["split"]["recorded"]["datasets"].items()}
    assert sum(sizes.values()) == 1497
    assert steps["libraries"]["recorded"]["pandas"] == {"then": pd.__version__, "now": pd.__version__}


def test_text_output_has_a_line_for_each_step(champions: Path) -> None:
    done = CliRunner().invoke(steward.app, ["lineage", "fintech-risk", "2"])
    assert done.exit_code == 0
    head, *lines, end = done.stdout.splitlines()
    assert (head, end.strip()) == (f"{NAME} version 2, champion is version 1", "no broken step")
    summaries = [line for line in lines if not line.startswith(" " * 4)]
    assert all(line.endswith("  ok") for line in summaries)
    assert "entry 2, " in summaries[0]
    assert "champion before: version 1" in summaries[0]
    assert any("by as_of(2025-06-01 00:00): the row is later than as_of" in line for line in lines)


def test_skipped_candidates_are_listed(champions: Path, run_command: RunCommand) -> None:
    _, result = run_command("lineage", "ecommerce-recommendation", "--data", "brief")
    (model,) = [step for step in result["steps"] if step["name"] == "model"]
    skipped = [line for line in model["details"] if "was skipped" in line]
    assert [line.partition(" was")[0] for line in skipped] == list(CASE.candidates)[1:]
    assert "got 0 s of the time budget of 1e-09 s" in skipped[0]


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """Move a file or folder away while the context is open."""
    aside = Path(os.environ["STEWARD_HOME"]).parent / f"aside-{path.name}"
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def together(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield


def append_byte(path: Path) -> AbstractContextManager[None]:
    return replaced(path, path.read_bytes() + b"\n")


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> AbstractContextManager[None]:
    content = json.loads(path.read_text())
    change(content)
    return replaced(path, json.dumps(content).encode())


def edit_facts(steps: Steps, change: Callable[[dict[str, Any]], Any]) -> AbstractContextManager[None]:
    return edit_json(artifact_folder(steps) / "facts.json", change)


def artifact_folder(steps: Steps) -> Path:
    return Path(steps["facts"]["recorded"]["artifacts"].removeprefix("file://"))


def folder_of(steps: Steps, name: str) -> Path:
    return Path(steps[name]["recorded"]["path"])


def ledger_file(champions: Path) -> Path:
    return champions / "home" / "ledger" / f"{NAME}.jsonl"


@contextmanager
def flow_run_crashed(steps: Steps) -> Iterator[None]:
    """Set the flow run to Crashed in Prefect while the context is open."""
    run = UUID(steps["prefect"]["recorded"]["flow_run_id"])
    with get_client(sync_client=True) as server:
        server.set_flow_run_state(run, Crashed(), force=True)
        yield
        server.set_flow_run_state(run, Completed(), force=True)


@contextmanager
def alias_moved_by_hand() -> Iterator[None]:
    client = connection.connect(load())
    registry.set_champion(client, NAME, 2)
    yield
    registry.set_champion(client, NAME, 1)


@contextmanager
def run_deleted(steps: Steps) -> Iterator[None]:
    client = connection.connect(load())
    client.delete_run(steps["run"]["recorded"]["mlflow_run_id"])
    yield
    client.restore_run(steps["run"]["recorded"]["mlflow_run_id"])


# What is changed in the state directory, and the status of the steps that it breaks.
CHANGES: dict[str, tuple[Callable[[Path, Steps], AbstractContextManager[None]], dict[str, str]]] = {
    "an additional byte in the source": (lambda c, _: append_byte(c / "loans.csv"), {"source": "modified"}),
    "no source": (lambda c, _: moved_away(c / "loans.csv"), {"source": "missing"}),
    "another contract": (
        lambda c, _: edit_json(
            c / "contracts/fintech_risk/simulated.json",
            lambda j: j["meta"].update(max_quarantined_share=0.03),
        ),
        {"contract": "modified"},
    ),
    "a contract with its columns in another order": (
        lambda c, _: edit_json(
            c / "contracts/fintech_risk/simulated.json",
            lambda j: j["meta"]["read"]["columns"].update(age=j["meta"]["read"]["columns"].pop("age")),
        ),
        {"contract": "modified"},
    ),
    "no contract": (
        lambda c, _: moved_away(c / "contracts/fintech_risk/simulated.json"),
        {"contract": "missing"},
    ),
    "an additional byte in the model": (
        lambda _, steps: append_byte(folder_of(steps, "package") / "model/model.json"),
        {"package": "modified"},
    ),
    "modified code of the package": (
        lambda _, steps: append_byte(folder_of(steps, "package").parents[1] / "code/ml/tabular/linear.py"),
        {"package": "modified"},
    ),
    "no model": (lambda _, steps: moved_away(folder_of(steps, "package").parents[1]), {"package": "missing"}),
    "no object of the fit": (lambda _, steps: moved_away(folder_of(steps, "model")), {"model": "missing"}),
    "no golden rows": (lambda _, steps: moved_away(folder_of(steps, "golden")), {"golden": "missing"}),
    "no object of another fit": (lambda _, steps: moved_away(folder_of(steps, "fit")), {"fit": "missing"}),
    "no object of the split": (lambda _, steps: moved_away(folder_of(steps, "split")), {"split": "missing"}),
    "another row in quarantine": (
        lambda _, steps: replaced(
            folder_of(steps, "validate") / "quarantine.parquet",
            (folder_of(steps, "validate") / "excluded.parquet").read_bytes(),
        ),
        {"validate": "modified"},
    ),
    "a damaged table": (
        lambda _, steps: replaced(folder_of(steps, "table") / "rows.parquet", b"PAR1"),
        {"table": "modified"},
    ),
    "no facts": (lambda _, steps: moved_away(artifact_folder(steps) / "facts.json"), {"facts": "missing"}),
    "incomplete facts": (
        lambda _, steps: replaced(artifact_folder(steps) / "facts.json", b'{"params": {"seed": 0}'),
        {"facts": "missing"},
    ),
    "facts without their stages": (
        lambda _, steps: edit_facts(steps, lambda j: j.pop("stages")),
        {"facts": "modified"},
    ),
    "neither facts nor model": (
        lambda _, steps: together(
            moved_away(artifact_folder(steps) / "facts.json"),
            moved_away(folder_of(steps, "package").parents[1]),
        ),
        {"facts": "missing", "package": "missing"},
    ),
    "no report": (lambda _, steps: moved_away(artifact_folder(steps) / "report.html"), {"facts": "missing"}),
    "facts with another seed": (
        lambda _, steps: edit_facts(steps, lambda j: j["params"].update(seed=1)),
        {"facts": "modified"},
    ),
    "facts with a better metric": (
        lambda _, steps: edit_facts(steps, lambda j: j["evaluation"]["metrics"].update(roc_auc=0.99)),
        {"facts": "modified"},
    ),
    "facts with another split": (
        lambda _, steps: edit_facts(steps, lambda j: j["stages"][3].update(digest="0" * 64)),
        {"facts": "modified", "split": "missing"},
    ),
    "facts with fewer rows in quarantine": (
        lambda _, steps: edit_facts(steps, lambda j: j["validate"].update(quarantined=2)),
        {"facts": "modified", "validate": "modified"},
    ),
    "facts with fewer test rows": (
        lambda _, steps: edit_facts(steps, lambda j: j["split"]["datasets"]["test"].update(rows=2)),
        {"facts": "modified", "split": "modified"},
    ),
    "facts with another publisher, which is recorded nowhere else": (
        lambda _, steps: edit_facts(steps, lambda j: j["publication"].update(publisher="a better one")),
        {"facts": "modified"},
    ),
    "facts with another version of pandas": (
        lambda _, steps: edit_facts(steps, lambda j: j["versions"].update(pandas="2.0.0")),
        {"facts": "modified", "libraries": "modified"},
    ),
    "facts with code that does not exist": (
        lambda _, steps: edit_facts(steps, lambda j: j["code"].update(dirty=True, digests={"ml": "0" * 64})),
        {"facts": "modified", "code": "missing"},
    ),
    "a ledger without its first entry": (
        lambda c, _: replaced(ledger_file(c), ledger_file(c).read_bytes().partition(b"\n")[2]),
        {"decision": "missing"},
    ),
    "a gap in the ledger": (
        lambda c, _: replaced(
            ledger_file(c), ledger_file(c).read_bytes().replace(b'{"line": 2', b'{"line": 3')
        ),
        {"decision": "modified"},
    ),
    "a ledger entry about another model": (
        lambda c, steps: replaced(
            ledger_file(c),
            ledger_file(c).read_bytes().replace(steps["package"]["recorded"]["digest"].encode(), b"0" * 64),
        ),
        # The package is compared with the digest that the ledger holds.
        {"decision": "modified", "package": "modified"},
    ),
    "no ledger": (lambda c, _: moved_away(ledger_file(c)), {"decision": "missing"}),
    "an alias moved by hand": (lambda *_: alias_moved_by_hand(), {"decision": "modified"}),
    "a deleted run": (lambda _, steps: run_deleted(steps), {"run": "missing", "facts": "missing"}),
    "another state of the flow run": (lambda _, steps: flow_run_crashed(steps), {"prefect": "modified"}),
}


# Steps that cannot be compared with anything when others are broken.
UNVERIFIED_STEPS = {
    frozenset({"package"}): ["contract"],
    frozenset({"decision", "package"}): ["contract"],
    frozenset({"package", "facts"}): ["contract", "model"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_breaks_only_its_own_step(
    change: str, champions: Path, steps: Steps, run_command: RunCommand
) -> None:
    make_change, expected = CHANGES[change]
    with make_change(champions, steps):
        code, result = run_command("lineage", "fintech-risk", "1")
    assert {
        step["name"]: step["status"] for step in result["steps"] if step["status"] != "ok"
    } == expected | (dict.fromkeys(UNVERIFIED_STEPS.get(frozenset(expected), ()), "unverified"))
    assert (code, result["broken"]) == (1, list(expected))


def test_facts_of_a_killed_run_are_those_of_the_run_that_resumed_it(
    champions: Path, run_command: RunCommand
) -> None:
    _, result = run_command("lineage", "health-prediction")
    steps = {step["name"]: step for step in result["steps"]}
    run = steps["run"]
    client = connection.connect(load())
    version = registry.get_version(client, "health-prediction.simulated", 1)
    assert run["recorded"]["mlflow_run_id"] != version.run_id
    assert run["details"] == [f"registered by the run {version.run_id}, which ended before it decided"]
    killed = run_history.read_run(client, version.run_id)
    assert killed
    assert (killed.status, killed.facts) == ("KILLED", None)

    # As if the killed run had still written its facts.
    facts_file = Path(killed.artifact_uri.removeprefix("file://")) / "facts.json"
    facts_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(artifact_folder(steps) / "facts.json", facts_file)
    assert run_command("lineage", "health-prediction") == (0, result)
    facts_file.unlink()


def test_unknown_version_creates_nothing(
    tmp_path: Path, champions: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"\(1, 2\); got version 7"):
        run_command("lineage", "fintech-risk", "7")
    with pytest.raises(UsageError, match=r"fintech-risk\.o'x; got none"):
        run_command("lineage", "fintech-risk", "--data", "o'x")
    with pytest.raises(UsageError, match="a use case"):
        run_command("lineage", "fintech")
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="steward run fintech-risk"):
        run_command("lineage", "fintech-risk")
    assert not (tmp_path / "empty").exists()
