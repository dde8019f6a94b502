"""What recommenders are asked in the benchmark: data sets by protocol, each as parts to learn from and a test part."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.digest import digest_of, table_digest
from ml.interactions.datasets import about_users, judging_part, learning_part

CASE = "ecommerce-recommendation"
# As a part has them.
Attributes = Mapping[str, tuple[str, ...]]
# Data sets by protocol. "last" is leave-one-out as published: the last event of each user is foretold, over the whole
# catalogue. "random" is that of Microsoft Recommenders: three quarters of each user's events teach.
SETS = {
    "last": ("amazon_toys_games", "amazon_sports_outdoors", "movielens_1m", "taobao_multibehaviour"),
    "random": ("movielens_100k",),
    "time": ("movielens_100k", "online_retail", "online_retail:new", "simulated"),
    "session": ("yoochoose_100k_sessions", "diginetica_purchases"),
    "any": ("groceries_baskets",),
}


@dataclass(frozen=True)
class Exam:
    """`learn` has the parts that a model may be fitted on, by variant; `test` is the part that judges all of them."""

    set: str
    protocol: str
    learn: dict[str, Dataset]
    test: Dataset

    @cached_property
    def digest(self) -> str:
        parts = {**self.learn, "test": self.test}
        tables = {name: table_digest(part.to_table()) for name, part in parts.items()}
        beside = {
            "items": self.test.item_attributes,
            "blocked": list(self.test.never_recommend),
            "decay": self.test.decay,
        }
        told = {name: what for name, what in beside.items() if what}
        return digest_of({"tables": tables, "repeat": self.test.allow_repeats, **told})


def load(protocol: str, name: str, seed: int = 0) -> Exam:
    """The exam of a data set, through its contract. Needs STEWARD_DATA_DIR, but for `simulated`."""
    from tasks.split import split_histories

    bare, _, new = name.partition(":")
    rows, contract, attributes = _clean(bare)
    if protocol == "random":
        return _random(name, rows, contract, attributes, seed)
    if new:
        contract = replace(contract, roles=replace(contract.roles, repeat=False))
    if contract.split.by != protocol:
        raise ValueError(
            f"expected {bare} to be split by {protocol}, got {contract.split.by}; see its contract"
        )
    parts, _ = split_histories(rows, contract)
    parts = {
        name: replace(
            part,
            allow_repeats=contract.roles.repeat,
            never_recommend=tuple(contract.blocked),
            decay=contract.decay,
            split_by=contract.split.by,
            item_attributes=attributes,
        )
        for name, part in parts.items()
    }
    if protocol in ("last", "any"):
        # Published models learn nothing from the last but one event, and are shown it when they are asked.
        return Exam(
            name, protocol, {"like for like": parts["train"], "all before": parts["refit"]}, parts["test"]
        )
    return Exam(name, protocol, {"all before": parts["refit"]}, parts["test"])


def _clean(name: str) -> tuple[pd.DataFrame, Contract, Attributes]:
    from ml.data import item_attributes
    from tasks.locate import find_dataset
    from tasks.settings import load as settings
    from tasks.source import read
    from tasks.storage.content_store import Store
    from tasks.validate import examine

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    located = find_dataset(CASE, name, None, settings())
    with tempfile.TemporaryDirectory() as scratch:
        raw = read(located, Store(Path(scratch)))
        rows, *_ = examine(raw.table("rows"), located.contract)
        attributes = item_attributes.attributes(raw.table("items")) if "items" in raw.table_names else {}
    return rows, located.contract, attributes


def _random(name: str, rows: pd.DataFrame, contract: Contract, attributes: Attributes, seed: int) -> Exam:
    """A quarter of each user's events, at random; nothing is held back of what happened later."""
    from ml.interactions import event_log

    events = event_log.log(rows, contract)
    place = np.random.default_rng(seed).random(len(events))
    order = pd.Series(place).groupby(events["user"].to_numpy()).rank(pct=True).to_numpy()
    before, after = events[order <= 0.75], events[order > 0.75]
    about = about_users(rows, contract)
    learn = replace(learning_part(before, contract), item_attributes=attributes)
    test = replace(judging_part(before, after, about, contract), item_attributes=attributes)
    return Exam(name, "random", {"all before": learn}, test)
