"""Public tables to compare candidates on, each through its contract: the rows are those that a run would learn from."""

import logging
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.digest import digest_of, row_hashes, table_digest

# The case that holds the contract; breast cancer (Wisconsin) comes with scikit-learn.
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
}


@dataclass(frozen=True)
class BenchmarkTable:
    """All rows of a table, those of one group (where `grouped`) never to be divided."""

    name: str
    part: Dataset
    grouped: bool

    @cached_property
    def digest(self) -> str:
        codes = {column: list(values) for column, values in self.part.sentinel_values.items()}
        return digest_of({"table": table_digest(self.part.to_table()), "special": codes})


def load(name: str, published: bool = False) -> BenchmarkTable:
    """The clean rows of a data set of `SETS`. Needs STEWARD_DATA_DIR; raises a StewardError as a run would.

    With `published`, rows outside of the contract's population stay: published figures for diabetes_130 have those who
    died or went to a hospice among the negatives, which are easily told.
    """
    return _breast_cancer() if SETS[name] == "scikit-learn" else _through_contract(name, published)


def _through_contract(name: str, published: bool) -> BenchmarkTable:
    from ml.data.row_split import answers, entities
    from tasks.locate import find_dataset
    from tasks.settings import load as settings
    from tasks.source import read
    from tasks.storage.content_store import Store
    from tasks.validate import examine

    located = find_dataset(SETS[name], name, None, settings())
    contract = located.contract
    if published:
        contract = replace(contract, rules=tuple(rule for rule in contract.rules if rule.action != "exclude"))
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        rows, *_ = examine(read(located, Store(Path(scratch))).table("rows"), contract)
    frame = rows[list(contract.features)]
    units = entities(rows, contract)
    grouped = bool(contract.roles.group) and len(np.unique(units)) < len(units)
    return BenchmarkTable(
        name, Dataset(frame, answers(rows, contract), units, sentinel_values=contract.special), grouped
    )


def _breast_cancer() -> BenchmarkTable:
    """Cells of a biopsy; malignant is what is asked for."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = bunch.data.astype("float64")
    truth = (bunch.target == list(bunch.target_names).index("malignant")).astype("float64")
    return BenchmarkTable("breast_cancer", Dataset(frame, truth, row_hashes(frame)), grouped=False)
