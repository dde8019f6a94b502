"""`steward reproduce`: the same model from its records, or what differs and why; no file is changed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.ecommerce_recommendation import CASE
from ml.errors import DataGateError, PackagingError, UsageError
from operate.console import exit_code
from tasks.settings import load
from tasks.tracking import connection, registry, run_history

ROOT = Path(__file__).resolve().parents[2]
# The state directory is created once and changed in place.
pytestmark = pytest.mark.xdist_group("champions")
NAME = "fintech-risk.simulated"
RunCommand = Callable[..., tuple[int, dict[str, Any]]]
RANDOM_STAGES = ["train additive", "train LightGBM", "train ensemble"]
TABULAR_STAGES = ["train constant", "train logistic regression", *RANDOM_STAGES]
RECOMMENDERS = list(CASE.candidates)
# The simulated log has no item attributes and no segments of users, and the time budget is short.
SKIPPED = ["content", "popularity by segment", "reranker with transformer"]
SKIPPED.sort(key=RECOMMENDERS.index)


def file_digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("arguments", "stages", "skipped"),
    [
        (["fintech-risk"], TABULAR_STAGES, []),
        (["fintech-risk", "2"], TABULAR_STAGES, []),
        (["health-prediction"], TABULAR_STAGES, []),
        (
            ["ecommerce-recommendation"],
            [f"train {name}" for name in RECOMMENDERS if name not in SKIPPED],
            SKIPPED,
        ),
        (["ecommerce-recommendation", "--data", "brief"], [f"train {RECOMMENDERS[0]}"], RECOMMENDERS[1:]),
    ],
)
def test_reproduction_is_identical_and_changes_no_file(
    arguments: list[str], stages: list[str], skipped: list[str], champions: Path, run_command: RunCommand
) -> None:
    before = file_digests(champions)
    code, result = run_command("reproduce", *arguments)
    assert (code, result["verdict"], result["conditions"]) == (0, "identical", [])
    assert all(item["is_same"] and item["recorded"] == item["current"] for item in result["compared"])
    # Every recorded stage, every file of the package, and the predictions.
    (run,) = [step for step in run_command("lineage", *arguments)[1]["steps"] if step["name"] == "run"]
    recorded = run_history.read_run(connection.connect(load()), run["recorded"]["mlflow_run_id"])
    assert recorded
    assert recorded.facts
    current = {item["name"]: item["current"] for item in result["compared"]}
    digests = {entry["stage"]: entry["digest"] for entry in recorded.facts["stages"]}
    assert {name: current[name] for name in digests} == digests
    assert [name for name in digests if name.startswith("train ")] == stages
    assert {"contract.json", "decision.json", "entities.npy", "model/model.json"} <= set(current)
    assert "golden rows" in result["compared"][-1]["name"]
    assert list(result["skipped"]) == skipped
    assert file_digests(champions) == before


@contextmanager
def edited_facts(change: Callable[[dict[str, Any]], Any]) -> Iterator[None]:
    """Change the facts of the champion's run while the context is open."""
    client = connection.connect(load())
    run = client.get_run(registry.get_version(client, NAME, 1).run_id)
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "facts.json"
    before = path.read_text()
    content = json.loads(before)
    change(content)
    path.write_text(json.dumps(content))
    try:
        yield
    finally:
        path.write_text(before)


def differing(result: dict[str, Any]) -> list[str]:
    return [item["name"] for item in result["compared"] if not item["is_same"]]


def test_other_seed_changes_only_random_candidates(
    champions: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEWARD_THREADS", str(load().threads + 1))
    with edited_facts(lambda j: j["params"].update(seed=1)):
        code, result = run_command("reproduce", "fintech-risk")
    # The champion is a logistic regression, which uses no random numbers.
    stages = [*RANDOM_STAGES, "leaderboard", "evaluation"]
    assert (code, result["verdict"], differing(result)) == (0, "same predictions", stages)
    threads, file, *seeds = result["conditions"]
    assert threads == f"{load().threads} threads, then {load().threads - 1}"
    assert seeds
    assert all("seed: 1 in facts.json" in line for line in seeds)
    assert "digest of facts.json: " in file


def test_other_hyperparameter_gives_another_model(champions: Path, run_command: RunCommand) -> None:
    def with_strong_penalty(j: dict[str, Any]) -> None:
        (entry,) = [entry for entry in j["stages"] if entry["stage"] == "train logistic regression"]
        entry["parameters"]["inverse_penalties"] = [1e-6]
        entry["digest"] = "0" * 64

    with edited_facts(with_strong_penalty):
        code, result = run_command("reproduce", "fintech-risk")
    assert (code, result["verdict"]) == (4, "differs")
    assert {"train logistic regression", "model/model.json"} <= set(differing(result))
    last = result["compared"][-1]
    assert (last["name"], last["is_same"]) == ("predictions for 45 golden rows", False)
    assert ", differs by up to " in last["current"]


def test_gate_that_fails_now_is_a_difference(champions: Path, run_command: RunCommand) -> None:
    with edited_facts(lambda j: j["params"].update(as_of="2000-01-01 00:00:00")):
        code, result = run_command("reproduce", "fintech-risk")
    assert (code, result["verdict"]) == (4, "differs")
    assert differing(result) == ["data gate"]
    assert "at least 20 clean rows" in result["compared"][-1]["current"]


def test_fit_stopped_by_the_time_budget_is_a_condition(champions: Path, run_command: RunCommand) -> None:
    def stopped(j: dict[str, Any]) -> None:
        (stage,) = [entry for entry in j["stages"] if entry["stage"] == "train LightGBM"]
        stage["time_limit"] = 1e-9
        (entry,) = [entry for entry in j["leaderboard"] if entry["candidate"] == "LightGBM"]
        entry["stopped_by"] = "budget"

    with edited_facts(stopped):
        _, result = run_command("reproduce", "fintech-risk")
    assert differing(result) == ["train LightGBM", "leaderboard"]
    assert "LightGBM was stopped by the time budget" in result["conditions"]


def test_modified_or_missing_source_is_rejected(
    tmp_path: Path, champions: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    loans = champions / "loans.csv"
    content = loans.read_bytes()
    try:
        loans.write_bytes(content.replace(b"1", b"2", 1))
        with pytest.raises(DataGateError, match=r"loans\.csv with the sha256 .*another file") as modified:
            run_command("reproduce", "fintech-risk")
        loans.unlink()
        with pytest.raises(DataGateError, match="got none; put the file back") as missing:
            run_command("reproduce", "fintech-risk")
        assert exit_code(modified.value) == exit_code(missing.value) == 3
        # The same file in the folder of data sets.
        (tmp_path / "loans").mkdir()
        (tmp_path / "loans" / "loans.csv").write_bytes(content)
        monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path))
        assert run_command("reproduce", "fintech-risk")[0] == 0
    finally:
        loans.write_bytes(content)


def test_without_golden_rows_the_registered_model_predicts_test_rows(
    champions: Path, run_command: RunCommand
) -> None:
    steps = {step["name"]: step for step in run_command("lineage", "fintech-risk")[1]["steps"]}
    golden = Path(steps["golden"]["recorded"]["path"])
    golden.rename(champions / "aside")
    code, result = run_command("reproduce", "fintech-risk")
    (champions / "aside").rename(golden)
    assert (code, result["verdict"]) == (0, "identical")
    assert result["compared"][-1]["name"] == "predictions for 50 test rows (the golden rows are missing)"


def test_missing_facts_or_package_is_rejected(champions: Path, run_command: RunCommand) -> None:
    with (
        edited_facts(lambda j: j.clear()),
        pytest.raises(UsageError, match=f"the facts of {NAME} version 1; got none"),
    ):
        run_command("reproduce", "fintech-risk")
    client = connection.connect(load())
    location = registry.artifact_location(client, registry.get_version(client, NAME, 1))
    folder = Path(location.removeprefix("file://"))
    folder.rename(champions / "aside")
    with pytest.raises(PackagingError, match="the registered package"):
        run_command("reproduce", "fintech-risk")
    (champions / "aside").rename(folder)


def test_modified_code_is_a_condition(tmp_path: Path, champions: Path) -> None:
    copy = tmp_path / "copy"
    skip = shutil.ignore_patterns(".venv", ".git", "mlruns", "tests", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=skip)
    linear = copy / "ml" / "tabular" / "linear.py"
    patched = linear.read_text().replace('solver="lbfgs"', 'solver="newton-cg"')
    assert patched != linear.read_text()
    linear.write_text(patched)
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "steward.py", "reproduce", "fintech-risk"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "  train constant: " in done.stdout
    assert "train logistic regression" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["    other code in ml/", "  differs"]
    # Nothing else is printed to stderr but what is running.
    assert [line for line in done.stderr.splitlines() if not line.endswith(" s so far")] == []
