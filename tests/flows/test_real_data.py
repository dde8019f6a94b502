"""Run public data sets through the flows and compare counts and metrics with independently known values.

Three data sets are run completely, once; the tests check what that run recorded. The others go through source,
validation and split.
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

from flows import ecommerce_recommendation, fintech_risk, health_prediction
from flows.recording.outcome import RunOutcome
from flows.scoring import score
from flows.training_flow import training_flow
from flows.use_case import UseCase
from ml.data.dataset import Dataset
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.tabular.additive import Additive
from ml.tabular.extra_trees import ExtraTrees
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.data_access.locate import find_dataset
from tasks.settings import load
from tasks.source import read_source
from tasks.split import split, split_histories, split_rows
from tasks.storage.content_store import Store
from tasks.tracking import connection, registry
from tasks.validate import validate

DATA = load().data_dir
if DATA is None:
    pytest.skip(
        "real data: none ran, because STEWARD_DATA_DIR names no folder of public data sets",
        allow_module_level=True,
    )


def count_borrowers(folder: Path) -> tuple[int, int, int]:
    """Count rows, quarantined, excluded: copies of an earlier row except for its number, and minors are quarantined."""
    rows = pd.read_csv(folder / "cs-training.csv", index_col=0)
    return len(rows), int((rows.duplicated() | (rows["age"] < 18)).sum()), 0


def count_patients(folder: Path) -> tuple[int, int, int]:
    """Keep the first stay of each patient who could be readmitted; 11, 13, 14, 19, 20, 21 are death and hospice."""
    rows = pd.read_csv(folder / "diabetic_data.csv", dtype=str, keep_default_na=False)
    alive = rows[~rows["discharge_disposition_id"].isin(["11", "13", "14", "19", "20", "21"])]
    first = alive.sort_values("encounter_id", key=pd.to_numeric).drop_duplicates("patient_nbr")
    return len(rows), int((first["gender"] == "Unknown/Invalid").sum()), len(rows) - len(first)


def count_viewers(folder: Path) -> tuple[int, int, int]:
    """Exclude film 267, which is called unknown; users who rated a film twice are quarantined."""
    rows = pd.read_csv(folder / "u.data", sep="\t", names=["user", "item", "rating", "time"])
    films = rows[rows["item"] != 267]
    return len(rows), int(films.duplicated(["user", "item"], keep=False).sum()), len(rows) - len(films)


@dataclass(frozen=True)
class ExpectedRun:
    """What is known about a data set independently of Steward.

    The interval of the metric must be inside `metric_range`: lower means a broken model, higher than any published
    result means a leak.
    """

    data: str
    case: UseCase
    file: str
    count: Callable[[Path], tuple[int, int, int]]
    counts: tuple[int, int, int]
    metric_range: tuple[float, float]
    # Whether no model beats the baseline, which is then champion.
    baseline_wins: bool = False
    # Files besides the one with the rows.
    other_files: tuple[str, ...] = ()


EXPECTED_RUNS = [
    # Published: logistic regression .845, LightGBM .869, the best of 78 methods .872.
    ExpectedRun(
        "give_me_some_credit",
        fintech_risk.CASE,
        "cs-training.csv",
        count_borrowers,
        (150_000, 610, 0),
        (0.845, 0.890),
    ),
    # Published, without the exclusions: logistic regression .667, LightGBM .657, the best of 78 methods .686.
    ExpectedRun(
        "diabetes_130_hospitals",
        health_prediction.CASE,
        "diabetic_data.csv",
        count_patients,
        (101_766, 3, 31_776),
        (0.630, 0.700),
    ),
    # Measured earlier: .40, on users who mostly have no history. Published splits ignore time.
    ExpectedRun(
        "movielens_100k",
        ecommerce_recommendation.CASE,
        "u.data",
        count_viewers,
        (100_000, 0, 9),
        (0.350, 0.460),
        baseline_wins=True,
        other_files=("u.item",),
    ),
]
RUNS = [pytest.param(e, id=e.data, marks=pytest.mark.xdist_group(f"real-{e.data}")) for e in EXPECTED_RUNS]


@dataclass(frozen=True)
class FinishedRun:
    """A run of a data set: what was expected, its state directory and its outcome."""

    expected: ExpectedRun
    state_dir: Path
    outcome: RunOutcome

    @property
    def folder(self) -> Path:
        assert DATA
        return DATA / self.expected.data

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(Path(self.outcome.report).with_name("facts.json").read_text())
        return facts


# Smaller than the candidates of the use cases, so that tests take seconds; benchmarks measure the full ones.
LIGHT = {
    "additive": Additive(max_rounds=200),
    "ensemble": Ensemble(
        presets=(
            Preset(
                max_rows=float("inf"),
                folds=2,
                repeats=1,
                members={
                    "logistic": Linear(max_bins=8),
                    "trees": GradientBoosting(max_rounds=100, target_encode_from=8),
                    "forest": ExtraTrees(trees=10),
                },
            ),
        )
    ),
}


@pytest.fixture(scope="module", params=RUNS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prefect_api: str
) -> Iterator[FinishedRun]:
    """Run one data set, in a state directory that is kept for its tests."""
    expected: ExpectedRun = request.param
    home = tmp_path_factory.mktemp(expected.data) / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(home))
        candidates = {name: LIGHT.get(name, each) for name, each in expected.case.candidates.items()}
        flow = training_flow(replace(expected.case, candidates=candidates))
        yield FinishedRun(expected, home, flow(data=expected.data))


def test_a_champion_is_registered_and_reported(run: FinishedRun) -> None:
    outcome = run.outcome
    assert (outcome.verdict, outcome.version, outcome.reused) == ("promote", 1, [])
    assert outcome.gates == ["contract", "drift", "split", "packaging", "quality", "promotion"]
    champion = registry.get_champion(connection.connect(load()), outcome.champion)
    assert champion is not None
    assert champion.name == f"{outcome.case}.{run.expected.data}"
    assert (champion.number, champion.tags["candidate"]) == (1, outcome.candidate)
    (line,) = (run.state_dir / "ledger" / f"{champion.name}.jsonl").read_text().splitlines()
    assert json.loads(line)["champion"] == 1
    report = Path(outcome.report).read_text()
    assert run.facts["publication"]["publisher"] in report
    assert f"{outcome.rows:,}" in report


def test_every_row_is_accounted_for(run: FinishedRun) -> None:
    outcome, stage = run.outcome, run.facts["validate"]
    counts = (outcome.rows, outcome.quarantined, outcome.excluded)
    assert counts == run.expected.counts == run.expected.count(run.folder)
    assert stage["clean"] + stage["quarantined"] + stage["excluded"] == stage["rows"] == outcome.rows


def test_the_metric_is_in_the_range_of_published_results(run: FinishedRun) -> None:
    outcome, (floor, ceiling) = run.outcome, run.expected.metric_range
    assert outcome.value is not None
    assert outcome.low is not None
    assert outcome.high is not None
    assert outcome.baseline is not None
    assert floor < outcome.low < outcome.value < outcome.high < ceiling
    leaderboard = {entry["candidate"]: entry for entry in run.facts["leaderboard"]}
    baseline = next(iter(leaderboard))
    if run.expected.baseline_wins:
        assert (outcome.candidate, outcome.value) == (baseline, outcome.baseline)
        return
    assert outcome.low > outcome.baseline
    assert outcome.candidate != baseline
    assert leaderboard[outcome.candidate]["value"] > leaderboard[baseline]["value"]


def test_the_files_are_the_published_ones(run: FinishedRun) -> None:
    source = run.facts["source"]
    shas = {
        name: hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
        for name in (run.expected.file, *run.expected.other_files)
    }
    assert run.facts["publication"]["sha256"] == source["origin"]["files"] == shas
    assert source["differs_from_published"] == []


def identifying_numbers(text: str) -> set[str]:
    """Find numbers that would identify a person elsewhere: long integers (patients, stays, instants) and fractions."""
    found = re.findall(r"(?<![\w.])(?:\d{8,}|\d+\.\d{9,})(?![\w.])", text)
    # Numbers such as 0.000123456 have few significant digits: models contain thousands of them by chance.
    return {number for number in found if len(number.replace(".", "").lstrip("0")) >= 8}


def test_mlflow_contains_no_personal_rows(run: FinishedRun) -> None:
    private = identifying_numbers((run.folder / run.expected.file).read_text())
    assert len(private) > 10_000
    with sqlite3.connect(run.state_dir / "mlflow.db") as database:
        kept = {"mlflow.db": "\n".join(database.iterdump())}
    files = [path for path in (run.state_dir / "artifacts").rglob("*") if path.is_file()]
    hashes = [path for path in files if path.name == "entities.npy"]
    # Everything except the hashes is text, so this search covers it.
    kept |= {str(path): path.read_text() for path in files if path not in hashes}
    assert {"report.html", "facts.json", "MLmodel", "contract.json"} < {Path(name).name for name in kept}
    assert {
        name: found for name, text in kept.items() if (found := identifying_numbers(text) & private)
    } == {}
    (entities,) = (np.load(path) for path in hashes)
    assert entities.dtype == np.uint64
    # Any number that the data assigns to a person is smaller.
    assert entities.min() > 2**32


@pytest.mark.parametrize("run", RUNS[:1], indirect=True)
def test_the_champion_scores_every_unlabelled_row(run: FinishedRun, tmp_path: Path) -> None:
    file, out = run.folder / "cs-test.csv.zip", tmp_path / "scores.parquet"
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


def count_lines_after_header(folder: Path) -> tuple[int, int, int]:
    """Count every line except the header as a clean row."""
    (file,) = folder.glob("*.csv")
    return len(file.read_text().splitlines()) - 1, 0, 0


def count_lines(folder: Path) -> tuple[int, int, int]:
    """Count every line as a clean row."""
    (file,) = (*folder.glob("german.data"), *folder.glob("processed.cleveland.data"))
    return len(file.read_text().splitlines()), 0, 0


def count_heart_patients(folder: Path) -> tuple[int, int, int]:
    """Count the patients of four hospitals; copies within one hospital are quarantined."""
    files = sorted(folder.glob("processed.*.data"))
    rows = [pd.read_csv(file, header=None, na_values="?") for file in files]
    return sum(map(len, rows)), sum(int(each.duplicated().sum()) for each in rows), 0


def count_census(folder: Path) -> tuple[int, int, int]:
    """Quarantine lines that the files have twice, also with the survey weight."""
    rows = [
        line
        for name in ("adult.data", "adult.test")
        for line in (folder / name).read_text().split("\n")
        if line
    ]
    return len(rows), len(rows) - len(set(rows)), 0


def count_kidney_patients(folder: Path) -> tuple[int, int, int]:
    """Leave out lines with another number of cells; quarantine impossible values of sodium and potassium."""
    text = (folder / "chronic_kidney_disease_full.arff").read_text().partition("@data")[2]
    rows = [cells for line in text.split("\n") if len(cells := line.strip().split(",")) == 25]
    salts = [(row[12].strip(), row[13].strip()) for row in rows]
    impossible = [(s != "?" and float(s) < 80) or (p != "?" and float(p) > 12) for s, p in salts]
    return len(rows), sum(impossible), 0


def count_followed(folder: Path) -> tuple[int, int, int]:
    """Exclude people without a sign of the time, and those last seen alive within 10 years."""
    years = pd.read_csv(folder / "NHANESI_subset_y.csv")["y"]
    return len(years), 0, int(((years == 0) | ((years < 0) & (years > -10))).sum())


def count_cardio_patients(folder: Path) -> tuple[int, int, int]:
    """Quarantine impossible blood pressures, and diastolic values that are not below the systolic ones."""
    rows = pd.read_csv(folder / "cardio_train.csv", sep=";")
    high, low = rows["ap_hi"], rows["ap_lo"]
    alive = high.between(40, 370) & low.between(20, 360) & (low < high)
    return len(rows), int((~alive).sum()), 0


@dataclass(frozen=True)
class ExpectedRows:
    """What is known about the rows that reach the candidates.

    `missing` counts missing cells and `sentinels` cells with sentinel values, by column, as published or counted here.
    """

    data: str
    case: str
    folder: str
    count: Callable[[Path], tuple[int, int, int]]
    counts: tuple[int, int, int]
    positives: int
    missing: Mapping[str, int] = field(default_factory=dict)
    sentinels: Mapping[str, int] = field(default_factory=dict)


EXPECTED_ROWS = [
    ExpectedRows(
        "taiwan_credit_default",
        "fintech-risk",
        "taiwan_credit_default",
        count_lines_after_header,
        (30_000, 0, 0),
        6_636,
        # -2, -1 and 0 of PAY_0.
        sentinels={"PAY_0": 2_759 + 5_686 + 14_737},
    ),
    ExpectedRows("german_credit", "fintech-risk", "german_credit", count_lines, (1_000, 0, 0), 300),
    ExpectedRows(
        "hmeq",
        "fintech-risk",
        "hmeq",
        count_lines_after_header,
        (5_960, 0, 0),
        1_189,
        missing={
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
    ExpectedRows(
        "pima_diabetes",
        "health-prediction",
        "pima_diabetes",
        count_lines_after_header,
        (768, 0, 0),
        268,
        sentinels={"Glucose": 5, "BloodPressure": 35, "SkinThickness": 227, "Insulin": 374, "BMI": 11},
    ),
    ExpectedRows(
        "heart_disease",
        "health-prediction",
        "heart_disease",
        count_lines,
        (303, 0, 0),
        139,
        missing={"ca": 4, "thal": 2},
    ),
    ExpectedRows(
        "heart_disease_sites",
        "health-prediction",
        "heart_disease",
        count_heart_patients,
        (920, 2, 0),
        508,
        missing={
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
        sentinels={"chol": 123 + 49, "trestbps": 1},
    ),
    ExpectedRows(
        "cardio_70k", "health-prediction", "cardio_70k", count_cardio_patients, (70_000, 1_308, 0), 33_984
    ),
    ExpectedRows(
        "telco_churn",
        "fintech-risk",
        "telco_churn",
        count_lines_after_header,
        (7_043, 0, 0),
        1_869,
        missing={"TotalCharges": 11},
    ),
    ExpectedRows(
        "home_credit_sample",
        "fintech-risk",
        "home_credit_sample",
        count_lines_after_header,
        (19_999, 0, 0),
        1_578,
        missing={
            "AMT_GOODS_PRICE": 15,
            "NAME_TYPE_SUITE": 83,
            "OCCUPATION_TYPE": 6_248,
            "EXT_SOURCE_1": 11_246,
            "EXT_SOURCE_2": 50,
            "EXT_SOURCE_3": 3_976,
        },
        sentinels={"DAYS_EMPLOYED": 3_573},
    ),
    ExpectedRows(
        "adult",
        "fintech-risk",
        "adult",
        count_census,
        (48_842, 29, 0),
        7_841 + 3_846 - 2,
        missing={"workclass": 2_799, "occupation": 2_809, "native_country": 856},
        sentinels={"capital_gain": 244},
    ),
    ExpectedRows(
        "heart_failure", "health-prediction", "heart_failure", count_lines_after_header, (299, 0, 0), 96
    ),
    ExpectedRows(
        "hepatitis",
        "health-prediction",
        "hepatitis",
        count_lines_after_header,
        (155, 0, 0),
        32,
        missing={
            "STEROID": 1,
            "FATIGUE": 1,
            "MALAISE": 1,
            "ANOREXIA": 1,
            "LIVER_BIG": 10,
            "LIVER_FIRM": 11,
            "SPLEEN_PALPABLE": 5,
            "SPIDERS": 5,
            "ASCITES": 5,
            "VARICES": 5,
            "BILIRUBIN": 6,
            "ALK_PHOSPHATE": 29,
            "SGOT": 4,
            "ALBUMIN": 16,
            "PROTIME": 67,
        },
    ),
    ExpectedRows(
        "chronic_kidney_disease",
        "health-prediction",
        "chronic_kidney_disease",
        count_kidney_patients,
        (397, 3, 0),
        245,
        missing={
            "age": 9,
            "bp": 12,
            "sg": 46,
            "al": 45,
            "su": 48,
            "rbc": 149,
            "pc": 64,
            "pcc": 4,
            "ba": 4,
            "bgr": 42,
            "bu": 19,
            "sc": 17,
            "sod": 85,
            "pot": 85,
            "hemo": 51,
            "pcv": 69,
            "wbcc": 104,
            "rbcc": 129,
            "htn": 2,
            "dm": 2,
            "cad": 2,
            "appet": 1,
            "pe": 1,
            "ane": 1,
        },
    ),
    # Deaths within 10 years; the followed are those with a sign, and alive after 10 years or dead.
    ExpectedRows(
        "nhanes1_survival",
        "health-prediction",
        "nhanes1_survival",
        count_followed,
        (9_932, 0, 397),
        1_503,
        missing={
            "Diastolic BP": 55,
            "Sedimentation rate": 800,
            "Systolic BP": 54,
            "White blood cells": 1_016,
            "Pulse pressure": 56,
        },
    ),
]


@pytest.mark.parametrize("expected", [pytest.param(rows, id=rows.data) for rows in EXPECTED_ROWS])
def test_the_expected_rows_reach_the_candidates(expected: ExpectedRows, tmp_path: Path) -> None:
    assert DATA
    store, folder = Store(tmp_path / "store"), DATA / expected.folder
    dataset = find_dataset(expected.case, expected.data, None, load())
    contract = dataset.contract
    raw = read_source(dataset, store)
    published = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in contract.read.files
    }
    assert (raw.facts["origin"]["files"], raw.facts["differs_from_published"]) == (published, [])
    assert contract.publication["sha256"] == published
    assert raw.facts["dropped_columns"]["count"] == 0

    clean = validate.fn(raw, contract, None, store)
    counted = tuple(clean.facts[key] for key in ("rows", "quarantined", "excluded"))
    assert counted == expected.counts == expected.count(folder)

    stored = split.fn(clean, contract, split_rows, datetime.now(UTC), store)
    datasets = [Dataset.from_table(stored.table(name)) for name in ("train", "valid", "test")]
    frame = pd.concat([part.frame for part in datasets])
    assert len(frame) == expected.counts[0] - expected.counts[1] - expected.counts[2]
    assert sum(part.truth.sum() for part in datasets) == expected.positives
    missing = frame.isna().sum()
    assert missing[missing > 0].to_dict() == expected.missing
    assert {
        c: int(frame[c].isin(contract.sentinel_values[c]).sum()) for c in expected.sentinels
    } == expected.sentinels
    if contract.split.by == "stratified":
        shares = [part.truth.mean() for part in datasets]
        assert max(shares) - min(shares) < 0.01
    if contract.split.by == "site":
        assert set(datasets[2].metadata["hospital"]) == set(contract.split.sites)


def lines(folder: Path, *names: str) -> Iterator[list[str]]:
    """Yield the cells of each line of files, read without any library."""
    for name in names:
        for line in (folder / name).read_text().splitlines():
            yield re.split(r"[ \t;]" if "," not in line else ",", line)


def count_toys(folder: Path) -> tuple[int, int, int]:
    return sum(len(cells) - 1 for cells in lines(folder, "Toys_and_Games.txt")), 0, 0


def count_sports(folder: Path) -> tuple[int, int, int]:
    return sum(len(cells) - 1 for cells in lines(folder, "Sports_and_Outdoors.txt")), 0, 0


def count_films(folder: Path) -> tuple[int, int, int]:
    return len(pd.read_parquet(folder / "sequences.parquet")), 0, 0


def count_invoices(folder: Path) -> tuple[int, int, int]:
    """Keep paid products of known customers; of identical lines only the first is kept."""
    rows = pd.read_parquet(folder / "online_retail.parquet")
    product = rows["StockCode"].str.fullmatch(r"\d{5}[A-Za-z]*")
    bought = rows["InvoiceNo"].str.isdigit() & (rows["Quantity"] > 0) & (rows["UnitPrice"] > 0)
    kept = rows[product & bought & rows["CustomerID"].notna()].drop(columns="Description")
    return len(rows), int(kept.duplicated().sum()), len(rows) - len(kept)


def count_clicks(folder: Path) -> tuple[int, int, int]:
    names = ("yoochoose-clicks-100k_train_full.txt", "yoochoose-clicks-100k_test.txt")
    rows = [tuple(cells) for cells in lines(folder, *names) if cells[0] != "SessionId"]
    return len(rows), len(rows) - len(set(rows)), 0


def count_carts(folder: Path) -> tuple[int, int, int]:
    names = ("cart.csv", "buy.train.txt", "buy.test.txt")
    return sum(cells[0] != "uid" for cells in lines(folder, *names)), 0, 0


def count_baskets(folder: Path) -> tuple[int, int, int]:
    return sum(line.count(",") + 1 for line in (folder / "groceries.csv").read_text().splitlines()), 0, 0


def count_orders(folder: Path) -> tuple[int, int, int]:
    rows = [tuple(cells) for cells in lines(folder, "train-purchases.csv")][1:]
    return len(rows), len(rows) - len(set(rows)), 0


@dataclass(frozen=True)
class ExpectedLog:
    """What is known about a log: users, items, and users of the test split.

    `example` is one user of the test split, from the publisher's test or the file: id, history and target.
    """

    data: str
    count: Callable[[Path], tuple[int, int, int]]
    counts: tuple[int, int, int]
    users: int
    items: int
    test_users: int
    example: tuple[str, tuple[str, ...], str] | None = None
    dropped: tuple[str, ...] = ()
    # Item attributes: items, those with attributes, of these the ones without interactions, distinct attributes.
    item_attributes: tuple[int, int, int, int] | None = None


EXPECTED_LOGS = [
    # Users, items and interactions as S3-Rec publishes them.
    ExpectedLog(
        "amazon_toys_games",
        count_toys,
        (167_597, 0, 0),
        19_412,
        11_924,
        19_412,
        ("3", ("9", "10", "11", "12", "4", "5", "13", "14"), "15"),
        item_attributes=(11_924, 11_924, 0, 1_027),
    ),
    ExpectedLog(
        "amazon_sports_outdoors",
        count_sports,
        (296_337, 0, 0),
        35_598,
        18_357,
        35_598,
        item_attributes=(18_357, 18_357, 0, 2_277),
    ),
    # Filtered as published for SASRec: films with at least five ratings.
    ExpectedLog(
        "movielens_1m",
        count_films,
        (999_611, 0, 0),
        6_040,
        3_416,
        6_040,
        item_attributes=(3_883, 3_883, 467, 18),
    ),
    ExpectedLog(
        "online_retail",
        count_invoices,
        (541_909, 5_189, 145_572),
        4_334,
        3_659,
        1_880,
        dropped=("Description",),
    ),
    ExpectedLog("yoochoose_100k_sessions", count_clicks, (83_846, 1, 0), 21_210, 2_933, 4_167),
    ExpectedLog(
        "taobao_multibehaviour",
        count_carts,
        (453_518, 0, 0),
        48_749,
        39_493,
        48_749,
        ("1", ("7675", "11555", "1211", "13803", "1211", "11555"), "28639"),
        ("3",),
    ),
    ExpectedLog("groceries_baskets", count_baskets, (43_367, 0, 0), 9_835, 169, 6_033),
    ExpectedLog(
        "diginetica_purchases",
        count_orders,
        (18_025, 28, 0),
        12_630,
        11_244,
        559,
        item_attributes=(184_047, 184_047, 172_803, 1_217),
    ),
]


@pytest.mark.parametrize("expected", [pytest.param(log, id=log.data) for log in EXPECTED_LOGS])
def test_the_expected_histories_reach_the_candidates(expected: ExpectedLog, tmp_path: Path) -> None:
    assert DATA
    store, folder = Store(tmp_path / "store"), DATA / expected.data
    dataset = find_dataset("ecommerce-recommendation", expected.data, None, load())
    contract = dataset.contract
    raw = read_source(dataset, store)
    files = (*contract.read.files, *([contract.item_attributes.file] if contract.item_attributes else []))
    published = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    assert (raw.facts["origin"]["files"], raw.facts["differs_from_published"]) == (published, [])
    assert contract.publication["sha256"] == published
    assert raw.facts["dropped_columns"]["count"] == len(expected.dropped)

    clean = validate.fn(raw, contract, None, store)
    counted = tuple(clean.facts[key] for key in ("rows", "quarantined", "excluded"))
    assert counted == expected.counts == expected.count(folder)
    assert clean.table("clean")[str(contract.roles.user)].nunique() == expected.users

    stored = split.fn(clean, contract, split_histories, datetime.now(UTC), store)
    test, train_valid = (Dataset.from_table(stored.table(name)) for name in ("test", "train_valid"))
    assert stored.facts["catalogue"] == expected.items
    assert len(test.frame) == expected.test_users
    assert not any(stored.facts["checks"].values())
    # A champion of the same log is compared with on all test users, also where they buy an item again.
    evaluator = ecommerce_recommendation.CASE.evaluator
    training_keys = evaluator.training_keys(train_valid)
    assert len(evaluator.rows_not_trained_on(test, training_keys)) == expected.test_users
    if expected.example:
        user, history, target = expected.example
        ((items, truth),) = [
            (tuple(test.frame["items"].iat[row]), list(test.truth.iat[row]))
            for row in np.flatnonzero(test.frame["user"] == user)
        ]
        assert (items, truth) == (history, [target])
    if stored.facts["train_includes_later_events"]:
        # Every event is in a history or is the single target of its user.
        assert train_valid.frame["items"].map(len).sum() + expected.test_users == clean.facts["clean"]
    assert bool(expected.item_attributes) == bool(contract.item_attributes)
    if expected.item_attributes:
        facts, attributes = stored.facts["item_attributes"], stored.table("items")["attribute"].nunique()
        counted_items = (facts["items"], facts["with_attributes"], facts["without_interactions"], attributes)
        assert (counted_items, facts["interacted_without_attributes"]) == (expected.item_attributes, 0)
