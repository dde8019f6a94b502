"""Public tables to compare candidates on, read through their contracts: the rows that a run would train on."""

import logging
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.digest import json_digest, row_hashes, table_digest

# The use case whose contract describes the data set; breast cancer (Wisconsin) comes with scikit-learn.
SETS = {
    "give_me_some_credit": "fintech-risk",
    "taiwan_credit_default": "fintech-risk",
    "german_credit": "fintech-risk",
    "hmeq": "fintech-risk",
    "diabetes_130_hospitals": "health-prediction",
    "pima_diabetes": "health-prediction",
    "heart_disease": "health-prediction",
    "cardio_70k": "health-prediction",
    "breast_cancer": "scikit-learn",
    # Contracts came after all choices of hyperparameters; of these only telco_churn had a part in one.
    "adult": "fintech-risk",
    "home_credit_sample": "fintech-risk",
    "telco_churn": "fintech-risk",
    "heart_failure": "health-prediction",
    "hepatitis": "health-prediction",
    "chronic_kidney_disease": "health-prediction",
}


@dataclass(frozen=True)
class BenchmarkTable:
    """All rows of a table; with `grouped`, rows of a group must stay in one fold."""

    name: str
    dataset: Dataset
    grouped: bool

    @cached_property
    def digest(self) -> str:
        sentinels = {column: list(values) for column, values in self.dataset.sentinel_values.items()}
        return json_digest({"table": table_digest(self.dataset.to_table()), "sentinel_values": sentinels})


def load_table(name: str, whole_population: bool = False) -> BenchmarkTable:
    """Load the clean rows of a data set of `SETS`. Needs STEWARD_DATA_DIR; raises a StewardError as a run would.

    With `whole_population`, rows that the contract excludes stay: published results for diabetes_130 count patients who
    died or went to a hospice as negatives, which are easy to classify.
    """
    if SETS[name] == "scikit-learn":
        return _breast_cancer()
    return _load_through_contract(name, whole_population)


def _load_through_contract(name: str, whole_population: bool) -> BenchmarkTable:
    from ml.data.row_split import row_entities, targets
    from tasks.data_access.locate import find_dataset
    from tasks.settings import load as load_settings
    from tasks.source import read_source
    from tasks.storage.content_store import Store
    from tasks.validate import apply_contract

    source = find_dataset(SETS[name], name, None, load_settings())
    contract = source.contract
    if whole_population:
        contract = replace(contract, rules=tuple(rule for rule in contract.rules if rule.action != "exclude"))
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        raw = read_source(source, Store(Path(scratch)))
        rows, *_ = apply_contract(raw.table("rows"), contract)
    units = row_entities(rows, contract)
    dataset = Dataset(
        rows[list(contract.features)],
        targets(rows, contract),
        units,
        sentinel_values=contract.sentinel_values,
    )
    grouped = bool(contract.roles.group) and len(np.unique(units)) < len(units)
    return BenchmarkTable(name, dataset, grouped)


def _breast_cancer() -> BenchmarkTable:
    """Cells of biopsies; malignant is the positive class."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = bunch.data.astype("float64")
    truth = (bunch.target == list(bunch.target_names).index("malignant")).astype("float64")
    return BenchmarkTable("breast_cancer", Dataset(frame, truth, row_hashes(frame)), grouped=False)
