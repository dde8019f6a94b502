"""Types of the benchmark of data faults: clean data with their contracts, and faults that damage them.

A module of faults has a tuple `FAULTS`; `benchmarks.faults` runs those of `benchmarks.table_faults` (faults of one
file) and of `benchmarks.batch_faults` (faults of a batch that has a history).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.simulators import SIMULATORS
from tasks.split import SplitFunction, split_histories, split_rows

ROOT = Path(__file__).resolve().parents[1]

Outcome = Literal["refused", "quarantined", "warned", "accepted"]
# What happens to the file: the first training of its model, a later training, or scoring.
Phase = Literal["first training", "training", "scoring"]
# A damaged table is written as CSV, without the index; bytes are the file itself.
Damage = Callable[[pd.DataFrame, np.random.Generator], "pd.DataFrame | bytes"]

REFUSED = frozenset[Outcome]({"refused"})
QUARANTINED = frozenset[Outcome]({"quarantined"})
WARNED = frozenset[Outcome]({"warned"})
ACCEPTED = frozenset[Outcome]({"accepted"})


@dataclass(frozen=True, eq=False)
class CleanData:
    """Where clean batches come from: `draw(rows, seed)` returns one; different seeds, same process.

    `contract_source` is the JSON of the contract; files are CSV.
    """

    name: str
    draw: Callable[[int, int], pd.DataFrame]
    contract_source: Mapping[str, Any]
    split_function: SplitFunction = split_rows

    def contract(self) -> Contract:
        """Return the contract, which reads `table.csv`."""
        contract = parse(dict(self.contract_source))
        return replace(
            contract, read=contract.read.model_copy(update={"files": ("table.csv",), "simulator": None})
        )


@dataclass(frozen=True)
class Fault:
    """A way to damage clean data, and what must become of the file.

    `damage` gets a clean batch and a generator. A fault with one of the `expected` outcomes was caught, or rightly
    accepted; `explanation` says why a known miss is one. Of the outcomes that apply the first one counts: refused,
    quarantined, warned, accepted.
    """

    name: str
    family: str
    data: CleanData
    damage: Damage
    expected: frozenset[Outcome]
    phase: Phase = "first training"
    rows: int = 3000
    explanation: str = ""


def _simulated(simulator: str) -> Callable[[int, int], pd.DataFrame]:
    return lambda rows, seed: SIMULATORS[simulator](rows, seed).rows


@cache
def _shop_world(rows: int) -> pd.DataFrame:
    return SIMULATORS["shop"](rows, 0).rows


def _draw_shop(rows: int, seed: int) -> pd.DataFrame:
    """Draw half of the users of one shop: with another seed of the simulator it would be another shop."""
    events = _shop_world(2 * rows)
    users = np.sort(events["user"].unique())
    chosen = np.random.default_rng(seed).choice(users, len(users) // 2, replace=False)
    return events[events["user"].isin(chosen)].reset_index(drop=True)


def _draw_generated(rows: int, seed: int) -> pd.DataFrame:
    """Draw a table of the usual kinds of columns whose target depends on most of them."""
    rng = np.random.default_rng([7, seed])
    amount, rate = rng.lognormal(7.0, 0.8, rows), rng.beta(2.0, 5.0, rows)
    score, visits = rng.normal(600.0, 60.0, rows), rng.poisson(1.5, rows)
    grade = rng.choice(np.array(["A", "B", "C", "D"]), rows, p=[0.4, 0.3, 0.2, 0.1])
    city = rng.choice(np.array([f"city {i}" for i in range(30)]), rows, p=_zipf(30))
    effect = pd.Series(grade).map({"A": -0.8, "B": -0.2, "C": 0.4, "D": 1.2}).to_numpy()
    log_odds = -0.9 + effect + 0.5 * (np.log(amount) - 7.0) + 2.5 * (rate - 0.3) - 0.01 * (score - 600.0)
    table = pd.DataFrame(
        {
            "case_id": [f"c{seed}-{i}" for i in range(rows)],
            "amount": amount.round(2),
            "rate": rate.round(4),
            "score": score.round(),
            "visits": visits,
            "grade": grade,
            "city": city,
            "outcome": (rng.random(rows) < 1.0 / (1.0 + np.exp(-log_odds))).astype(int),
        }
    )
    return table.assign(amount=table["amount"].mask(rng.random(rows) < 0.05))


def _zipf(n: int) -> np.ndarray:
    weights = 1.0 / np.arange(1.0, n + 1.0)
    return np.asarray(weights / weights.sum())


def _contract_of(path: str) -> dict[str, Any]:
    source: dict[str, Any] = json.loads((ROOT / "expectations" / path).read_text(encoding="utf-8"))
    return source


# No rule of its own: what is caught is caught by the defaults of a contract.
_GENERATED_CONTRACT: Mapping[str, Any] = {
    "name": "fintech-risk.generated",
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": {
            "files": ["table.csv"],
            "columns": {
                "case_id": "category",
                "amount": "number",
                "rate": "number",
                "score": "number",
                "visits": "integer",
                "grade": "category",
                "city": "category",
                "outcome": "integer",
            },
        },
        "roles": {"target": {"column": "outcome", "positive": ["1"]}, "id": "case_id"},
    },
}

LENDER = CleanData("lender", _simulated("lender"), _contract_of("fintech_risk/simulated.json"))
HOSPITAL = CleanData("hospital", _simulated("hospital"), _contract_of("health_prediction/simulated.json"))
SHOP = CleanData("shop", _draw_shop, _contract_of("ecommerce_recommendation/simulated.json"), split_histories)
MAILBOX = CleanData("mailbox", _simulated("mailbox"), _contract_of("customer_service/simulated.json"))
GENERATED = CleanData("generated", _draw_generated, _GENERATED_CONTRACT)
ALL_DATA = (LENDER, HOSPITAL, SHOP, GENERATED)
