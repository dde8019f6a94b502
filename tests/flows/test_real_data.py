"""Public data sets, through the flows as a user calls them, against counts and figures that are known from elsewhere.

Three data sets are run whole, once, in one process; tests look at what that run left behind. The others go through
source, validation and split, as a run would bring them to its candidates.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import fintech_risk, health_prediction
from flows.ecommerce_recommendation import ecommerce_recommendation
from flows.recording.outcome import RunOutcome
from flows.scoring import score
from ml.data.dataset import Dataset
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.tabular.additive import Additive
from ml.tabular.extra_trees import Forest
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.locate import find_dataset
from tasks.settings import load
from tasks.source import read
from tasks.split import split, split_histories, split_rows
from tasks.storage.content_store import Store
from tasks.tracking import connection, registry
from tasks.validate import validate

DATA = load().data_dir
if DATA is None:
    pytest.skip(
        "real data: none ran, as STEWARD_DATA_DIR names no folder of public data sets",
        allow_module_level=True,
    )


def borrowers(folder: Path) -> tuple[int, int, int]:
    """Rows, quarantined, excluded: copies of an earlier row but for its number, and minors."""
    rows = pd.read_csv(folder / "cs-training.csv", index_col=0)
    return len(rows), int((rows.duplicated() | (rows["age"] < 18)).sum()), 0


def patients(folder: Path) -> tuple[int, int, int]:
    """Of those who could come back, the first stay of each; death and hospice are discharges 11, 13, 14, 19, 20, 21."""
    rows = pd.read_csv(folder / "diabetic_data.csv", dtype=str, keep_default_na=False)
    alive = rows[~rows["discharge_disposition_id"].isin(["11", "13", "14", "19", "20", "21"])]
    first = alive.sort_values("encounter_id", key=pd.to_numeric).drop_duplicates("patient_nbr")
    return len(rows), int((first["gender"] == "Unknown/Invalid").sum()), len(rows) - len(first)


def viewers(folder: Path) -> tuple[int, int, int]:
    """Film 267 is called unknown; whoever rated a film twice would be known by no rating."""
    rows = pd.read_csv(folder / "u.data", sep="\t", names=["user", "item", "rating", "time"])
    films = rows[rows["item"] != 267]
    return len(rows), int(films.duplicated(["user", "item"], keep=False).sum()), len(rows) - len(films)


@dataclass(frozen=True)
class Known:
    """What is known of a data set from outside of Steward.

    The interval of the metric has to lie within `between`: below is a broken model, and above, what nobody has
    reached, a leak.
    """

    data: str
    flow: Callable[..., RunOutcome]
    file: str
    count: Callable[[Path], tuple[int, int, int]]
    counts: tuple[int, int, int]
    between: tuple[float, float]
    # Where nothing beats the simplest model, it is the champion.
    simplest: bool = False
    # Files beside the one with the rows.
    beside: tuple[str, ...] = ()


KNOWN = [
    # Published: logistic regression .845, LightGBM .869, the best of 78 methods .872.
    Known(
        "give_me_some_credit",
        fintech_risk.fintech_risk,
        "cs-training.csv",
        borrowers,
        (150_000, 610, 0),
        (0.845, 0.890),
    ),
    # Published, without the exclusions: logistic regression .667, LightGBM .657, the best of 78 methods .686.
    Known(
        "diabetes_130_hospitals",
        health_prediction.health_prediction,
        "diabetic_data.csv",
        patients,
        (101_766, 3, 31_776),
        (0.630, 0.700),
    ),
    # Measured before: .40, on users who mostly have no history. Published splits mix up the times.
    Known(
        "movielens_100k",
        ecommerce_recommendation,
        "u.data",
        viewers,
        (100_000, 0, 9),
        (0.350, 0.460),
        simplest=True,
        beside=("u.item",),
    ),
]
EACH = [pytest.param(k, id=k.data, marks=pytest.mark.xdist_group(f"real-{k.data}")) for k in KNOWN]


@dataclass(frozen=True)
class Ran:
    """A data set, the home in which it was run, and what the flow said."""

    known: Known
    home: Path
    outcome: RunOutcome

    @property
    def folder(self) -> Path:
        assert DATA
        return DATA / self.known.data

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(Path(self.outcome.report).with_name("facts.json").read_text())
        return facts


# What takes minutes on so many rows takes seconds here: benchmarks say what the whole of it is worth.
LIGHT = {
    "additive": Additive(max_rounds=200),
    "ensemble": Ensemble(
        presets=(
            Preset(
                rows=float("inf"),
                folds=2,
                repeats=1,
                members={
                    "logistic": Linear(bins=8),
                    "trees": GradientBoosting(max_rounds=100, statistics_from=8),
                    "forest": Forest(trees=10),
                },
            ),
        )
    ),
}


@pytest.fixture(scope="module", params=EACH)
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prefect_api: str
) -> Iterator[Ran]:
    """One run, in a home that stays for the tests of this data set."""
    known: Known = request.param
    home = tmp_path_factory.mktemp(known.data) / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(home))
        for module in (fintech_risk, health_prediction):
            patch.setattr(
                module, "CASE", replace(module.CASE, candidates={**module.CASE.candidates, **LIGHT})
            )
        yield Ran(known, home, known.flow(data=known.data))


def test_a_champion_is_registered_and_reported(ran: Ran) -> None:
    outcome = ran.outcome
    assert (outcome.verdict, outcome.version, outcome.reused) == ("promote", 1, [])
    assert outcome.gates == ["contract", "split", "packaging", "quality", "promotion"]
    champion = registry.champion(connection.connect(load()), outcome.champion)
    assert champion is not None
    assert champion.name == f"{outcome.case}.{ran.known.data}"
    assert (champion.number, champion.tags["candidate"]) == (1, outcome.candidate)
    (line,) = (ran.home / "ledger" / f"{champion.name}.jsonl").read_text().splitlines()
    assert json.loads(line)["champion"] == 1
    report = Path(outcome.report).read_text()
    assert ran.facts["about"]["publisher"] in report
    assert f"{outcome.rows:,}" in report


def test_every_row_is_accounted_for(ran: Ran) -> None:
    outcome, stage = ran.outcome, ran.facts["validate"]
    counts = (outcome.rows, outcome.quarantined, outcome.excluded)
    assert counts == ran.known.counts == ran.known.count(ran.folder)
    assert stage["clean"] + stage["quarantined"] + stage["excluded"] == stage["rows"] == outcome.rows


def test_the_figure_lies_where_others_have_found_it(ran: Ran) -> None:
    outcome, (floor, ceiling) = ran.outcome, ran.known.between
    assert outcome.value is not None
    assert outcome.low is not None
    assert outcome.high is not None
    assert outcome.baseline is not None
    assert floor < outcome.low < outcome.value < outcome.high < ceiling
    board = {line["candidate"]: line for line in ran.facts["leaderboard"]}
    baseline = next(iter(board))
    if ran.known.simplest:
        assert (outcome.candidate, outcome.value) == (baseline, outcome.baseline)
        return
    assert outcome.low > outcome.baseline
    assert outcome.candidate != baseline
    assert board[outcome.candidate]["value"] > board[baseline]["value"]


def test_the_files_are_those_that_were_published(ran: Ran) -> None:
    source = ran.facts["source"]
    shas = {
        name: hashlib.sha256((ran.folder / name).read_bytes()).hexdigest()
        for name in (ran.known.file, *ran.known.beside)
    }
    assert ran.facts["about"]["sha256"] == source["origin"]["files"] == shas
    assert source["unlike_published"] == []


def distinctive(text: str) -> set[str]:
    """What names a person if it comes up elsewhere: long numbers (patients, stays, instants) and long fractions."""
    found = re.findall(r"(?<![\w.])(?:\d{8,}|\d+\.\d{9,})(?![\w.])", text)
    # 0.000123456 has few digits that tell anything: models hold thousands of such by chance.
    return {number for number in found if len(number.replace(".", "").lstrip("0")) >= 8}


def test_mlflow_holds_no_row_of_a_person(ran: Ran) -> None:
    private = distinctive((ran.folder / ran.known.file).read_text())
    assert len(private) > 10_000
    with sqlite3.connect(ran.home / "mlflow.db") as database:
        kept = {"mlflow.db": "\n".join(database.iterdump())}
    files = [path for path in (ran.home / "artifacts").rglob("*") if path.is_file()]
    hashes = [path for path in files if path.name == "entities.npy"]
    # Everything but the hashes is text, so that nothing hides from this search.
    kept |= {str(path): path.read_text() for path in files if path not in hashes}
    assert {"report.html", "facts.json", "MLmodel", "contract.json"} < {Path(name).name for name in kept}
    assert {name: found for name, text in kept.items() if (found := distinctive(text) & private)} == {}
    (entities,) = (np.load(path) for path in hashes)
    assert entities.dtype == np.uint64
    # Any number that the data give to a person is smaller.
    assert entities.min() > 2**32


@pytest.mark.parametrize("ran", EACH[:1], indirect=True)
def test_the_champion_answers_for_each_unlabelled_row(ran: Ran, tmp_path: Path) -> None:
    file, out = ran.folder / "cs-test.csv.zip", tmp_path / "scores.parquet"
    rows = pd.read_csv(file, index_col=0)
    minors = rows["age"].to_numpy() < 18
    facts = score("fintech-risk", str(file), str(out), "give_me_some_credit")
    counted = {"rows": 101_503, "scored": 101_503 - minors.sum(), "quarantined": minors.sum(), "excluded": 0}
    assert {name: facts[name] for name in counted} == counted
    scores = pd.read_parquet(out)
    assert scores["row"].tolist() == list(range(len(rows)))
    assert (scores["status"] == "quarantined").tolist() == minors.tolist()
    scored = scores[scores["status"] == "scored"]
    assert scored["probability"].between(0, 1).all()
    # One applicant in fifteen defaulted in the labelled rows.
    assert 0.05 < scored["probability"].mean() < 0.09
    late = rows["NumberOfTimes90DaysLate"].to_numpy()[scored["row"]]
    assert scored["probability"][late > 0].mean() > 4 * scored["probability"][late == 0].mean()


def titled(folder: Path) -> tuple[int, int, int]:
    """Every line is a row that stays, but the first, which names the columns."""
    (file,) = folder.glob("*.csv")
    return len(file.read_text().splitlines()) - 1, 0, 0


def untitled(folder: Path) -> tuple[int, int, int]:
    """Every line is a row that stays."""
    (file,) = (*folder.glob("german.data"), *folder.glob("processed.cleveland.data"))
    return len(file.read_text().splitlines()), 0, 0


def hearts(folder: Path) -> tuple[int, int, int]:
    """Four hospitals: within one, who is a copy of an earlier patient is none."""
    files = sorted(folder.glob("processed.*.data"))
    rows = [pd.read_csv(file, header=None, na_values="?") for file in files]
    return sum(map(len, rows)), sum(int(each.duplicated().sum()) for each in rows), 0


def examined(folder: Path) -> tuple[int, int, int]:
    """Blood pressures that nobody lives with, or the diastolic one not below the systolic one."""
    rows = pd.read_csv(folder / "cardio_train.csv", sep=";")
    high, low = rows["ap_hi"], rows["ap_lo"]
    alive = high.between(40, 370) & low.between(20, 360) & (low < high)
    return len(rows), int((~alive).sum()), 0


@dataclass(frozen=True)
class Brought:
    """What is known of the rows that reach the candidates.

    `holes` are cells that are missing, `codes` those that the contract calls special, both by column, as the
    publisher or the data's own readers count them.
    """

    data: str
    case: str
    folder: str
    count: Callable[[Path], tuple[int, int, int]]
    counts: tuple[int, int, int]
    positives: int
    holes: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)


BROUGHT = [
    Brought(
        "taiwan_credit_default",
        "fintech-risk",
        "taiwan_credit_default",
        titled,
        (30_000, 0, 0),
        6_636,
        # -2, -1 and 0 of PAY_0.
        codes={"PAY_0": 2_759 + 5_686 + 14_737},
    ),
    Brought("german_credit", "fintech-risk", "german_credit", untitled, (1_000, 0, 0), 300),
    Brought(
        "hmeq",
        "fintech-risk",
        "hmeq",
        titled,
        (5_960, 0, 0),
        1_189,
        holes={
            "DEBTINC": 1267,
            "DEROG": 708,
            "DELINQ": 580,
            "MORTDUE": 518,
            "YOJ": 515,
            "NINQ": 510,
            "CLAGE": 308,
            "JOB": 279,
            "REASON": 252,
            "CLNO": 222,
            "VALUE": 112,
        },
    ),
    Brought(
        "pima_diabetes",
        "health-prediction",
        "pima_diabetes",
        titled,
        (768, 0, 0),
        268,
        codes={"Glucose": 5, "BloodPressure": 35, "SkinThickness": 227, "Insulin": 374, "BMI": 11},
    ),
    Brought(
        "heart_disease",
        "health-prediction",
        "heart_disease",
        untitled,
        (303, 0, 0),
        139,
        holes={"ca": 4, "thal": 2},
    ),
    Brought(
        "heart_disease_sites",
        "health-prediction",
        "heart_disease",
        hearts,
        (920, 2, 0),
        508,
        holes={
            "ca": 609,
            "thal": 484,
            "slope": 307,
            "fbs": 90,
            "oldpeak": 62,
            "trestbps": 59,
            "thalach": 55,
            "exang": 55,
            "chol": 29,
            "restecg": 2,
        },
        codes={"chol": 123 + 49, "trestbps": 1},
    ),
    Brought("cardio_70k", "health-prediction", "cardio_70k", examined, (70_000, 1_308, 0), 33_984),
]


@pytest.mark.parametrize("known", [pytest.param(b, id=b.data) for b in BROUGHT])
def test_the_rows_that_reach_the_candidates_are_those_that_are_known(known: Brought, tmp_path: Path) -> None:
    assert DATA
    store, folder = Store(tmp_path / "store"), DATA / known.folder
    located = find_dataset(known.case, known.data, None, load())
    contract = located.contract
    raw = read(located, store)
    published = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in contract.read.files
    }
    assert (raw.facts["origin"]["files"], raw.facts["unlike_published"]) == (published, [])
    assert contract.about["sha256"] == published
    assert raw.facts["dropped_columns"] == []

    clean = validate.fn(raw, contract, None, store)
    counted = tuple(clean.facts[key] for key in ("rows", "quarantined", "excluded"))
    assert counted == known.counts == known.count(folder)

    stored = split.fn(clean, contract, split_rows, datetime.now(UTC), store)
    parts = [Dataset.from_table(stored.table(name)) for name in ("train", "valid", "test")]
    frame = pd.concat([part.frame for part in parts])
    assert len(frame) == known.counts[0] - known.counts[1]
    assert sum(part.truth.sum() for part in parts) == known.positives
    holes = frame.isna().sum()
    assert holes[holes > 0].to_dict() == known.holes
    assert {c: int(frame[c].isin(contract.special[c]).sum()) for c in known.codes} == known.codes
    if contract.split.by == "stratified":
        shares = [part.truth.mean() for part in parts]
        assert max(shares) - min(shares) < 0.01
    if contract.split.by == "site":
        assert set(parts[2].metadata["hospital"]) == set(contract.split.sites)


def lines(folder: Path, *names: str) -> Iterator[list[str]]:
    """The lines of files, in cells, as a reader without any library finds them."""
    for name in names:
        for line in (folder / name).read_text().splitlines():
            yield re.split(r"[ \t;]" if "," not in line else ",", line)


def toys(folder: Path) -> tuple[int, int, int]:
    return sum(len(cells) - 1 for cells in lines(folder, "Toys_and_Games.txt")), 0, 0


def sports(folder: Path) -> tuple[int, int, int]:
    return sum(len(cells) - 1 for cells in lines(folder, "Sports_and_Outdoors.txt")), 0, 0


def films(folder: Path) -> tuple[int, int, int]:
    return len(pd.read_parquet(folder / "sequences.parquet")), 0, 0


def invoices(folder: Path) -> tuple[int, int, int]:
    """Of known customers, products that were paid for; a line that is the same in every cell stays once."""
    rows = pd.read_parquet(folder / "online_retail.parquet")
    product = rows["StockCode"].str.fullmatch(r"\d{5}[A-Za-z]*")
    bought = rows["InvoiceNo"].str.isdigit() & (rows["Quantity"] > 0) & (rows["UnitPrice"] > 0)
    kept = rows[product & bought & rows["CustomerID"].notna()].drop(columns="Description")
    return len(rows), int(kept.duplicated().sum()), len(rows) - len(kept)


def clicks(folder: Path) -> tuple[int, int, int]:
    names = ("yoochoose-clicks-100k_train_full.txt", "yoochoose-clicks-100k_test.txt")
    rows = [tuple(cells) for cells in lines(folder, *names) if cells[0] != "SessionId"]
    return len(rows), len(rows) - len(set(rows)), 0


def carts(folder: Path) -> tuple[int, int, int]:
    names = ("cart.csv", "buy.train.txt", "buy.test.txt")
    return sum(cells[0] != "uid" for cells in lines(folder, *names)), 0, 0


def baskets(folder: Path) -> tuple[int, int, int]:
    return sum(line.count(",") + 1 for line in (folder / "groceries.csv").read_text().splitlines()), 0, 0


def orders(folder: Path) -> tuple[int, int, int]:
    rows = [tuple(cells) for cells in lines(folder, "train-purchases.csv")][1:]
    return len(rows), len(rows) - len(set(rows)), 0


@dataclass(frozen=True)
class Log:
    """What is known of a log: its users and items, and how many users the test asks.

    `holds` is what the publisher's own test or a reader of the file finds of one user: history so far and answer.
    """

    data: str
    count: Callable[[Path], tuple[int, int, int]]
    counts: tuple[int, int, int]
    users: int
    items: int
    asked: int
    holds: tuple[str, tuple[str, ...], str] | None = None
    dropped: tuple[str, ...] = ()
    # Of the side table: items, those with attributes, of these the ones that nobody had, and different attributes.
    listed: tuple[int, int, int, int] | None = None


LOGS = [
    # Users, items and interactions as S3-Rec publishes them.
    Log(
        "amazon_toys_games",
        toys,
        (167_597, 0, 0),
        19_412,
        11_924,
        19_412,
        ("3", ("9", "10", "11", "12", "4", "5", "13", "14"), "15"),
        listed=(11_924, 11_924, 0, 1_027),
    ),
    Log(
        "amazon_sports_outdoors",
        sports,
        (296_337, 0, 0),
        35_598,
        18_357,
        35_598,
        listed=(18_357, 18_357, 0, 2_277),
    ),
    # As the SASRec filter is published: films with at least five ratings.
    Log("movielens_1m", films, (999_611, 0, 0), 6_040, 3_416, 6_040, listed=(3_883, 3_883, 467, 18)),
    Log("online_retail", invoices, (541_909, 5_189, 145_572), 4_334, 3_659, 1_880, dropped=("Description",)),
    Log("yoochoose_100k_sessions", clicks, (83_846, 1, 0), 21_210, 2_933, 4_167),
    Log(
        "taobao_multibehaviour",
        carts,
        (453_518, 0, 0),
        48_749,
        39_493,
        48_749,
        ("1", ("7675", "11555", "1211", "13803", "1211", "11555"), "28639"),
        ("3",),
    ),
    Log("groceries_baskets", baskets, (43_367, 0, 0), 9_835, 169, 6_033),
    Log(
        "diginetica_purchases",
        orders,
        (18_025, 28, 0),
        12_630,
        11_244,
        559,
        listed=(184_047, 184_047, 172_803, 1_217),
    ),
]


@pytest.mark.parametrize("known", [pytest.param(log, id=log.data) for log in LOGS])
def test_the_histories_that_reach_the_candidates_are_those_that_are_known(known: Log, tmp_path: Path) -> None:
    assert DATA
    store, folder = Store(tmp_path / "store"), DATA / known.data
    located = find_dataset("ecommerce-recommendation", known.data, None, load())
    contract = located.contract
    raw = read(located, store)
    named = (*contract.read.files, *([contract.items.file] if contract.items else []))
    published = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in named}
    assert (raw.facts["origin"]["files"], raw.facts["unlike_published"]) == (published, [])
    assert contract.about["sha256"] == published
    assert raw.facts["dropped_columns"] == list(known.dropped)

    clean = validate.fn(raw, contract, None, store)
    counted = tuple(clean.facts[key] for key in ("rows", "quarantined", "excluded"))
    assert counted == known.counts == known.count(folder)
    assert clean.table("clean")[str(contract.roles.user)].nunique() == known.users

    stored = split.fn(clean, contract, split_histories, datetime.now(UTC), store)
    test, refit = (Dataset.from_table(stored.table(name)) for name in ("test", "refit"))
    assert stored.facts["catalogue"] == known.items
    assert len(test.frame) == known.asked
    assert not any(stored.facts["checks"].values())
    if known.holds:
        user, history, answer = known.holds
        ((items, truth),) = [
            (tuple(test.frame["items"].iat[row]), list(test.truth.iat[row]))
            for row in np.flatnonzero(test.frame["user"] == user)
        ]
        assert (items, truth) == (history, [answer])
    if stored.facts["reaches_past_the_answers"]:
        # Every event is history or the one answer of its user.
        assert refit.frame["items"].map(len).sum() + known.asked == clean.facts["clean"]
    assert bool(known.listed) == bool(contract.items)
    if known.listed:
        facts, attributes = stored.facts["items"], stored.table("items")["attribute"].nunique()
        counted_items = (facts["listed"], facts["with_attributes"], facts["new"], attributes)
        assert (counted_items, facts["had_without"]) == (known.listed, 0)
