"""`steward lineage`: every link of an undisturbed version holds, and a disturbance breaks its own link only."""

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

# The home is made once, and disturbed in place.
pytestmark = pytest.mark.xdist_group("champions")
NAME = "fintech-risk.simulated"
Ask = Callable[..., tuple[int, dict[str, Any]]]
Links = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def links(made: Path, ask: Ask) -> Links:
    """The undisturbed way back from the champion, link by link (of the fits, the last)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(made / "home"))
        patch.setenv("STEWARD_CONTRACTS", str(made / "contracts"))
        return {link["link"]: link for link in ask("lineage", "fintech-risk")[1]["links"]}


# On few rows, nothing beats the logistic regression.
BEATEN = ["train prior", "train additive", "train LightGBM", "train ensemble"]

# Nothing is said of what the simulated items are, nor of segments of their users; and the budget is short.
LEFT_OUT = ("content", "popularity by segment", "re-ranked with transformer")


@pytest.mark.parametrize(
    ("asked", "version", "champion", "fits"),
    [
        (["fintech-risk"], 1, True, BEATEN),
        (["fintech-risk", "2"], 2, False, BEATEN),
        (["health-prediction"], 1, True, BEATEN),
        (
            ["ecommerce-recommendation"],
            1,
            True,
            [f"train {name}" for name in CASE.candidates if name not in LEFT_OUT],
        ),
        (["ecommerce-recommendation", "--data", "brief"], 1, True, ["train popularity of 30 days"]),
    ],
)
def test_every_link_holds(
    asked: list[str], version: int, champion: bool, fits: list[str], champions: Path, ask: Ask
) -> None:
    code, said = ask("lineage", *asked)
    assert (code, said["broken"], said["version"], said["champion"]) == (0, [], version, champion)
    assert {link["status"] for link in said["links"]} == {"ok"}, said["links"]
    # From the decision down to what everything came from.
    above = ["decision", "run", "prefect", "facts", "package", "model", "golden"]
    below = ["split", "validate", "table", "contract", "source", "code", "libraries"]
    assert [link["link"] for link in said["links"]] == [*above, *["fit"] * len(fits), *below]
    assert [link["recorded"]["stage"] for link in said["links"] if link["link"] == "fit"] == fits


def test_the_chain_tells_what_is_recorded(champions: Path, links: Links) -> None:
    client = connection.connect(load())
    version = registry.get_version(client, NAME, 1)
    assert links["run"]["recorded"]["mlflow_run_id"] == version.run_id
    assert links["package"]["recorded"]["digest"] == version.digest
    assert links["model"]["recorded"]["parameters"]["candidate"] == "ml.tabular.linear:Linear"
    loans = champions / "loans.csv"
    assert links["source"]["recorded"]["files"] == {
        "loans.csv": hashlib.sha256(loans.read_bytes()).hexdigest()
    }
    contract = champions / "contracts" / "fintech_risk" / "simulated.json"
    assert links["contract"]["recorded"]["file"] == str(contract)
    assert (
        links["contract"]["recorded"]["digest"]
        == hashlib.sha256(json.dumps(json.loads(contract.read_text()), indent=1).encode()).hexdigest()
    )

    validated = links["validate"]
    (rule,) = [line for line in validated["details"] if line.startswith("quarantine ")]
    assert "quarantine 3 of 1,500 by column_values_to_be_between(age)" in rule
    quarantine = pd.read_parquet(Path(validated["recorded"]["path"]) / "quarantine.parquet")
    assert f"quarantined rows: {validated['recorded']['path']}/quarantine.parquet" in validated["details"]
    assert quarantine["row"].tolist() == [3, 5, 8]
    sizes = {part: facts["rows"] for part, facts in links["split"]["recorded"]["parts"].items()}
    assert sum(sizes.values()) == 1497
    assert links["libraries"]["recorded"]["pandas"] == {"then": pd.__version__, "now": pd.__version__}


def test_a_person_reads_it_from_top_to_bottom(champions: Path) -> None:
    done = CliRunner().invoke(steward.app, ["lineage", "fintech-risk", "2"])
    assert done.exit_code == 0
    head, *lines, end = done.stdout.splitlines()
    assert (head, end.strip()) == (f"{NAME} version 2, champion is version 1", "every link holds")
    told = [line for line in lines if not line.startswith(" " * 4)]
    assert all(line.endswith("  ok") for line in told)
    assert "line 2, " in told[0]
    assert "champion before: version 1" in told[0]
    assert any("by known_by(2025-06-01 00:00): nobody knew it then" in line for line in lines)


def test_what_was_skipped_is_told(champions: Path, ask: Ask) -> None:
    _, said = ask("lineage", "ecommerce-recommendation", "--data", "brief")
    (model,) = [link for link in said["links"] if link["link"] == "model"]
    skipped = [line for line in model["details"] if "was skipped" in line]
    assert [line.partition(" was")[0] for line in skipped] == list(CASE.candidates)[1:]
    assert "the training budget of 1e-09 s was spent" in skipped[0]


@contextmanager
def written(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """A file or a folder that is not there for a while."""
    aside = Path(os.environ["STEWARD_HOME"]).parent / f"aside-{path.name}"
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def both(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield


def appended(path: Path) -> AbstractContextManager[None]:
    return written(path, path.read_bytes() + b"\n")


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> AbstractContextManager[None]:
    content = json.loads(path.read_text())
    change(content)
    return written(path, json.dumps(content).encode())


def facts(links: Links, change: Callable[[dict[str, Any]], Any]) -> AbstractContextManager[None]:
    return edited(artifacts(links) / "facts.json", change)


def artifacts(links: Links) -> Path:
    return Path(links["facts"]["recorded"]["artifacts"].removeprefix("file://"))


def held(links: Links, name: str) -> Path:
    return Path(links[name]["recorded"]["path"])


def ledger(champions: Path) -> Path:
    return champions / "home" / "ledger" / f"{NAME}.jsonl"


@contextmanager
def crashed(links: Links) -> Iterator[None]:
    """A flow run that Prefect is told has crashed."""
    run = UUID(links["prefect"]["recorded"]["flow_run_id"])
    with get_client(sync_client=True) as server:
        server.set_flow_run_state(run, Crashed(), force=True)
        yield
        server.set_flow_run_state(run, Completed(), force=True)


@contextmanager
def alias_moved() -> Iterator[None]:
    client = connection.connect(load())
    registry.move_alias(client, NAME, 2)
    yield
    registry.move_alias(client, NAME, 1)


@contextmanager
def run_deleted(links: Links) -> Iterator[None]:
    client = connection.connect(load())
    client.delete_run(links["run"]["recorded"]["mlflow_run_id"])
    yield
    client.restore_run(links["run"]["recorded"]["mlflow_run_id"])


# What is done to the home, by the links that it breaks and what they then say.
DISTURBED: dict[str, tuple[Callable[[Path, Links], AbstractContextManager[None]], dict[str, str]]] = {
    "a byte more in the source": (lambda c, _: appended(c / "loans.csv"), {"source": "changed"}),
    "no source": (lambda c, _: gone(c / "loans.csv"), {"source": "gone"}),
    "another contract": (
        lambda c, _: edited(
            c / "contracts/fintech_risk/simulated.json", lambda j: j["meta"].update(budget=0.03)
        ),
        {"contract": "changed"},
    ),
    "a contract with its columns in another order": (
        lambda c, _: edited(
            c / "contracts/fintech_risk/simulated.json",
            lambda j: j["meta"]["read"]["columns"].update(age=j["meta"]["read"]["columns"].pop("age")),
        ),
        {"contract": "changed"},
    ),
    "no contract": (lambda c, _: gone(c / "contracts/fintech_risk/simulated.json"), {"contract": "gone"}),
    "a byte more in the model": (
        lambda _, links: appended(held(links, "package") / "model/model.json"),
        {"package": "changed"},
    ),
    "other code beside the model": (
        lambda _, links: appended(held(links, "package").parents[1] / "code/ml/linear.py"),
        {"package": "changed"},
    ),
    "no model": (lambda _, links: gone(held(links, "package").parents[1]), {"package": "gone"}),
    "no object of the fit": (lambda _, links: gone(held(links, "model")), {"model": "gone"}),
    "no golden rows": (lambda _, links: gone(held(links, "golden")), {"golden": "gone"}),
    "no object of another fit": (lambda _, links: gone(held(links, "fit")), {"fit": "gone"}),
    "no object of the split": (lambda _, links: gone(held(links, "split")), {"split": "gone"}),
    "another row in quarantine": (
        lambda _, links: written(
            held(links, "validate") / "quarantine.parquet",
            (held(links, "validate") / "excluded.parquet").read_bytes(),
        ),
        {"validate": "changed"},
    ),
    "half a table": (
        lambda _, links: written(held(links, "table") / "rows.parquet", b"PAR1"),
        {"table": "changed"},
    ),
    "no facts": (lambda _, links: gone(artifacts(links) / "facts.json"), {"facts": "gone"}),
    "half the facts": (
        lambda _, links: written(artifacts(links) / "facts.json", b'{"asked": {"seed": 0}'),
        {"facts": "gone"},
    ),
    "facts without their stages": (
        lambda _, links: facts(links, lambda j: j.pop("stages")),
        {"facts": "changed"},
    ),
    "neither facts nor model": (
        lambda _, links: both(gone(artifacts(links) / "facts.json"), gone(held(links, "package").parents[1])),
        {"facts": "gone", "package": "gone"},
    ),
    "no report": (lambda _, links: gone(artifacts(links) / "report.html"), {"facts": "gone"}),
    "facts with another seed": (
        lambda _, links: facts(links, lambda j: j["asked"].update(seed=1)),
        {"facts": "changed"},
    ),
    "facts with a better figure": (
        lambda _, links: facts(links, lambda j: j["test"]["metrics"].update(roc_auc=0.99)),
        {"facts": "changed"},
    ),
    "facts with another split": (
        lambda _, links: facts(links, lambda j: j["stages"][2].update(digest="0" * 64)),
        {"facts": "changed", "split": "gone"},
    ),
    "facts with fewer rows in quarantine": (
        lambda _, links: facts(links, lambda j: j["validate"].update(quarantined=2)),
        {"facts": "changed", "validate": "changed"},
    ),
    "facts with fewer rows in the test": (
        lambda _, links: facts(links, lambda j: j["split"]["parts"]["test"].update(rows=2)),
        {"facts": "changed", "split": "changed"},
    ),
    "facts with another publisher, which nothing else tells": (
        lambda _, links: facts(links, lambda j: j["about"].update(publisher="a better one")),
        {"facts": "changed"},
    ),
    "another pandas": (
        lambda _, links: facts(links, lambda j: j["versions"].update(pandas="2.0.0")),
        {"facts": "changed", "libraries": "changed"},
    ),
    "code that is nowhere": (
        lambda _, links: facts(links, lambda j: j["code"].update(dirty=True, digests={"ml": "0" * 64})),
        {"facts": "changed", "code": "gone"},
    ),
    "a line less in the ledger": (
        lambda c, _: written(ledger(c), ledger(c).read_bytes().partition(b"\n")[2]),
        {"decision": "gone"},
    ),
    "a gap in the ledger": (
        lambda c, _: written(ledger(c), ledger(c).read_bytes().replace(b'{"line": 2', b'{"line": 3')),
        {"decision": "changed"},
    ),
    "a ledger that speaks of another model": (
        lambda c, links: written(
            ledger(c),
            ledger(c).read_bytes().replace(links["package"]["recorded"]["digest"].encode(), b"0" * 64),
        ),
        {"decision": "changed"},
    ),
    "no ledger": (lambda c, _: gone(ledger(c)), {"decision": "gone"}),
    "an alias moved by hand": (lambda *_: alias_moved(), {"decision": "changed"}),
    "a deleted run": (lambda _, links: run_deleted(links), {"run": "gone", "facts": "gone"}),
    "a flow run that says otherwise": (lambda _, links: crashed(links), {"prefect": "changed"}),
}


# Links that have nothing to be held against when others are broken.
UNTOLD = {
    frozenset({"package"}): ["contract"],
    frozenset({"package", "facts"}): ["contract", "model"],
}


@pytest.mark.parametrize("disturbance", DISTURBED)
def test_a_disturbance_breaks_its_own_link_only(
    disturbance: str, champions: Path, links: Links, ask: Ask
) -> None:
    disturb, expected = DISTURBED[disturbance]
    with disturb(champions, links):
        code, said = ask("lineage", "fintech-risk", "1")
    assert {link["link"]: link["status"] for link in said["links"] if link["status"] != "ok"} == expected | (
        dict.fromkeys(UNTOLD.get(frozenset(expected), ()), "unchecked")
    )
    assert (code, said["broken"]) == (1, list(expected))


def test_the_facts_of_a_killed_run_are_those_of_the_run_that_resumed_it(champions: Path, ask: Ask) -> None:
    _, said = ask("lineage", "health-prediction")
    of = {link["link"]: link for link in said["links"]}
    run = of["run"]
    client = connection.connect(load())
    version = registry.get_version(client, "health-prediction.simulated", 1)
    assert run["recorded"]["mlflow_run_id"] != version.run_id
    assert run["details"] == [f"registered by the run {version.run_id}, which ended before it decided"]
    killed = run_history.remembered(client, version.run_id)
    assert killed
    assert (killed.status, killed.facts) == ("KILLED", None)

    # As a run leaves them that had time to say that it ends.
    left = Path(killed.artifacts.removeprefix("file://")) / "facts.json"
    left.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(artifacts(of) / "facts.json", left)
    assert ask("lineage", "health-prediction") == (0, said)
    left.unlink()


def test_asking_for_what_is_not_there_makes_nothing(
    tmp_path: Path, champions: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"\(1, 2\); got version 7"):
        ask("lineage", "fintech-risk", "7")
    with pytest.raises(UsageError, match=r"fintech-risk\.o'x; got none"):
        ask("lineage", "fintech-risk", "--data", "o'x")
    with pytest.raises(UsageError, match="a use case"):
        ask("lineage", "fintech")
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="steward run fintech-risk"):
        ask("lineage", "fintech-risk")
    assert not (tmp_path / "empty").exists()
