"""Synthetic tables of any size with invalid rows, and a contract that finds these."""

from typing import Any

import numpy as np
import pandas as pd

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.casting import TEXT_DTYPE

NUMBERS = [f"amount_{i}" for i in range(16)]
CATEGORIES = [f"code_{i}" for i in range(4)]
CODES = list("abcdefghij")


def create_table(rows: int, seed: int) -> pd.DataFrame:
    """Create 16 numbers, 4 categories, an id and a target; of 100 rows, one is out of bounds and two miss a value."""
    generator = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: generator.normal(size=rows) for name in NUMBERS}
    codes = np.array(CODES, dtype=object)
    columns |= {
        name: pd.Series(codes[generator.integers(len(CODES), size=rows)], dtype=TEXT_DTYPE)
        for name in CATEGORIES
    }
    columns["applicant"] = pd.Series([f"p{i}" for i in range(rows)], dtype=TEXT_DTYPE)
    columns["defaulted"] = (generator.random(rows) < 0.1).astype(np.float64)
    columns[NUMBERS[0]][::100] = 99.0
    columns[NUMBERS[1]][::50] = np.nan
    return pd.DataFrame(columns)


def create_contract() -> Contract:
    """Create 40 rules of all kinds and actions over the columns of `create_table`."""
    rules = [
        *(
            _rule("column_values_to_be_between", "quarantine", column=c, min_value=-10, max_value=10)
            for c in NUMBERS
        ),
        *(_rule("column_values_to_not_be_null", "warn", column=c, mostly=0.9) for c in NUMBERS),
        *(_rule("column_values_to_be_in_set", "quarantine", column=c, value_set=CODES) for c in CATEGORIES),
        _rule("column_values_to_be_in_set", "fail", column="defaulted", value_set=[0, 1]),
        _rule(
            "column_value_lengths_to_be_between", "quarantine", column="applicant", min_value=2, max_value=9
        ),
        _rule(
            "column_pair_values_a_to_be_greater_than_b",
            "warn",
            column_A=NUMBERS[0],
            column_B=NUMBERS[1],
            ignore_row_if="either_value_is_missing",
        ),
        _rule("table_row_count_to_be_between", "fail", min_value=1),
    ]
    kinds = dict.fromkeys(NUMBERS, "number") | dict.fromkeys([*CATEGORIES, "applicant"], "category")
    read = {"files": ["table.parquet"], "format": "parquet", "columns": {**kinds, "defaulted": "integer"}}
    roles = {"target": {"column": "defaulted", "positive": ["1"]}, "id": "applicant"}
    return parse(
        {
            "name": "fintech-risk.table",
            "expectations": rules,
            "meta": {"schema_version": 2, "read": read, "roles": roles},
        }
    )


def _rule(kind: str, action: str, **kwargs: Any) -> dict[str, Any]:
    return {
        "type": f"expect_{kind}",
        "kwargs": kwargs,
        "meta": {"action": action, "reason": "to be timed"},
    }
