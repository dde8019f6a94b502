"""`steward reproduce`: the same again from what is recorded, or what differs and why, and nothing left behind."""

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
# The home is made once, and disturbed in place.
pytestmark = pytest.mark.xdist_group("champions")
NAME = "fintech-risk.simulated"
Ask = Callable[..., tuple[int, dict[str, Any]]]
SEEDED = ["train additive", "train LightGBM", "train ensemble"]
TABULAR = ["train prior", "train logistic regression", *SEEDED]
SHOP = list(CASE.candidates)
# The simulated log has no attributes of items and no segments of users, and its budget is short.
LEFT_OUT = ["content", "popularity by segment", "re-ranked with transformer"]
LEFT_OUT.sort(key=SHOP.index)


def everything_in(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("asked", "stages", "skipped"),
    [
        (["fintech-risk"], TABULAR, []),
        (["fintech-risk", "2"], TABULAR, []),
        (["health-prediction"], TABULAR, []),
        (["ecommerce-recommendation"], [f"train {name}" for name in SHOP if name not in LEFT_OUT], LEFT_OUT),
        (["ecommerce-recommendation", "--data", "brief"], [f"train {SHOP[0]}"], SHOP[1:]),
    ],
)
def test_the_same_again_and_the_home_untouched(
    asked: list[str], stages: list[str], skipped: list[str], champions: Path, ask: Ask
) -> None:
    before = everything_in(champions)
    code, said = ask("reproduce", *asked)
    assert (code, said["verdict"], said["conditions"]) == (0, "identical", [])
    assert all(one["same"] and one["then"] == one["now"] for one in said["compared"])
    # Every stage that the run recorded, every file of the package, and the answers.
    (run,) = [link for link in ask("lineage", *asked)[1]["links"] if link["link"] == "run"]
    recorded = run_history.remembered(connection.connect(load()), run["recorded"]["mlflow_run_id"])
    assert recorded
    assert recorded.facts
    made = {one["what"]: one["now"] for one in said["compared"]}
    digests = {line["stage"]: line["digest"] for line in recorded.facts["stages"]}
    assert {name: made[name] for name in digests} == digests
    assert [name for name in digests if name.startswith("train ")] == stages
    assert {"contract.json", "decision.json", "entities.npy", "model/model.json"} <= set(made)
    assert "golden rows" in said["compared"][-1]["what"]
    assert list(said["skipped"]) == skipped
    assert everything_in(champions) == before


@contextmanager
def facts(change: Callable[[dict[str, Any]], Any]) -> Iterator[None]:
    """Other facts of the champion's run, for a while."""
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


def differing(said: dict[str, Any]) -> list[str]:
    return [one["what"] for one in said["compared"] if not one["same"]]


def test_a_seed_that_no_prediction_hangs_on(
    champions: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEWARD_THREADS", str(load().threads + 1))
    with facts(lambda j: j["asked"].update(seed=1)):
        code, said = ask("reproduce", "fintech-risk")
    # The champion is a logistic regression, which draws nothing.
    assert (code, said["verdict"], differing(said)) == (0, "the same predictions", SEEDED)
    threads, *seeds, file = said["conditions"]
    assert threads == f"{load().threads} threads, then {load().threads - 1}"
    assert seeds
    assert all("seed: facts.json says 1" in line for line in seeds)
    assert "the file: facts.json says" in file


def test_another_parameter_is_another_model(champions: Path, ask: Ask) -> None:
    def weaker(j: dict[str, Any]) -> None:
        (line,) = [line for line in j["stages"] if line["stage"] == "train logistic regression"]
        line["parameters"]["strengths"] = [1e-6]
        line["digest"] = "0" * 64

    with facts(weaker):
        code, said = ask("reproduce", "fintech-risk")
    assert (code, said["verdict"]) == (4, "differs")
    assert {"train logistic regression", "model/model.json"} <= set(differing(said))
    last = said["compared"][-1]
    assert (last["what"], last["same"]) == ("predictions for 45 golden rows", False)
    assert " apart" in last["now"]


def test_a_gate_that_says_no_now(champions: Path, ask: Ask) -> None:
    with facts(lambda j: j["asked"].update(as_of="2000-01-01 00:00:00")):
        code, said = ask("reproduce", "fintech-risk")
    assert (code, said["verdict"]) == (4, "differs")
    assert differing(said) == ["gate data"]
    assert "at least 20 clean rows" in said["compared"][-1]["now"]


def test_a_fit_that_the_clock_stopped(champions: Path, ask: Ask) -> None:
    def stopped(j: dict[str, Any]) -> None:
        j["asked"]["budget"] = 1e-9
        (line,) = [line for line in j["leaderboard"] if line["candidate"] == "LightGBM"]
        line["stopped_by"] = "budget"

    with facts(stopped):
        _, said = ask("reproduce", "fintech-risk")
    assert differing(said) == ["train LightGBM"]
    assert "the clock stopped LightGBM, where it stood then" in said["conditions"]


def test_another_source_is_refused(
    tmp_path: Path, champions: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    loans = champions / "loans.csv"
    content = loans.read_bytes()
    try:
        loans.write_bytes(content.replace(b"1", b"2", 1))
        with pytest.raises(DataGateError, match=r"loans\.csv with the sha256 .*another file") as changed:
            ask("reproduce", "fintech-risk")
        loans.unlink()
        with pytest.raises(DataGateError, match="got none; put the file back") as gone:
            ask("reproduce", "fintech-risk")
        assert exit_code(changed.value) == exit_code(gone.value) == 3
        # The same file, where a name would be looked for.
        (tmp_path / "loans").mkdir()
        (tmp_path / "loans" / "loans.csv").write_bytes(content)
        monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path))
        assert ask("reproduce", "fintech-risk")[0] == 0
    finally:
        loans.write_bytes(content)


def test_without_the_golden_rows_the_registered_model_answers(champions: Path, ask: Ask) -> None:
    links = {link["link"]: link for link in ask("lineage", "fintech-risk")[1]["links"]}
    golden = Path(links["golden"]["recorded"]["path"])
    golden.rename(champions / "aside")
    code, said = ask("reproduce", "fintech-risk")
    (champions / "aside").rename(golden)
    assert (code, said["verdict"]) == (0, "identical")
    assert said["compared"][-1]["what"] == "predictions for 50 test rows (the golden ones are gone)"


def test_without_a_record_or_a_package_there_is_nothing_to_compare(champions: Path, ask: Ask) -> None:
    with (
        facts(lambda j: j.clear()),
        pytest.raises(UsageError, match=f"the facts of {NAME} version 1; got none"),
    ):
        ask("reproduce", "fintech-risk")
    client = connection.connect(load())
    folder = registry.download_verified(client, registry.get_version(client, NAME, 1))
    folder.rename(champions / "aside")
    with pytest.raises(PackagingError, match="the package that was registered"):
        ask("reproduce", "fintech-risk")
    (champions / "aside").rename(folder)


def test_other_code_is_named(tmp_path: Path, champions: Path) -> None:
    copy = tmp_path / "copy"
    skip = shutil.ignore_patterns(".venv", ".git", "mlruns", "tests", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=skip)
    linear = copy / "ml" / "linear.py"
    patched = linear.read_text().replace('solver="lbfgs"', 'solver="newton-cg"')
    assert patched != linear.read_text()
    linear.write_text(patched)
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "steward.py", "reproduce", "fintech-risk"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "  train prior: " in done.stdout
    assert "train logistic regression" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["    other code in ml/", "  differs"]
    # Mixtures tell how far they are; nothing else is said beside the answer.
    assert all(line.startswith("    ensemble: ") for line in done.stderr.splitlines())
