"""Splits of public logs for recommenders: by protocol, datasets to train on and one to test on."""

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
from ml.data.digest import json_digest, table_digest
from ml.interactions.datasets import evaluation_dataset, training_dataset, user_metadata

CASE = "ecommerce-recommendation"
# As in `ml.data.dataset.Dataset.item_attributes`.
Attributes = Mapping[str, tuple[str, ...]]
ONLY_NEW, NO_ATTRIBUTES = "new", "no-attributes"
VARIANTS = (ONLY_NEW, NO_ATTRIBUTES)
# Data sets by protocol. "last" is leave-one-out as published: the targets are the last event of each user. "random" is
# the protocol of Microsoft Recommenders: three quarters of each user's events are for training.
SETS = {
    "last": ("amazon_toys_games", "amazon_sports_outdoors", "movielens_1m", "taobao_multibehaviour"),
    "random": ("movielens_100k",),
    "time": ("movielens_100k", "online_retail", "online_retail:new", "simulated"),
    "session": ("yoochoose_100k_sessions", "diginetica_purchases"),
    "random_last_out": ("groceries_baskets",),
}


@dataclass(frozen=True)
class NextItemSplit:
    """A data set split by a protocol: `train` has the datasets to fit on by variant; all are tested on `test`."""

    set: str
    protocol: str
    train: dict[str, Dataset]
    test: Dataset

    @cached_property
    def digest(self) -> str:
        # No model sees the times of the targets.
        datasets = {**self.train, "test": replace(self.test, truth_times=None)}
        tables = {name: table_digest(dataset.to_table()) for name, dataset in datasets.items()}
        settings = {
            "items": self.test.item_attributes,
            "never_recommend": list(self.test.never_recommend),
            "decay": self.test.decay,
        }
        not_empty = {name: value for name, value in settings.items() if value}
        return json_digest({"tables": tables, "allow_repeats": self.test.allow_repeats, **not_empty})


def load_split(protocol: str, name: str, seed: int = 0) -> NextItemSplit:
    """Load a data set through its contract and split it. Needs STEWARD_DATA_DIR, except for `simulated`.

    A name that ends in ":new" recommends only items that are not in the history; with ":no-attributes" models see no
    attributes of items, as published ones. Raises ValueError if the contract splits by another protocol.
    """
    from tasks.split import split_histories
    from tasks.stored_datasets import dataset_settings

    set_name, _, variant = name.partition(":")
    if variant not in ("", *VARIANTS):
        raise ValueError(
            f"expected a variant of {', '.join(VARIANTS)}; got {variant} of {set_name}; correct it"
        )
    rows, contract, attributes = _clean_rows(set_name)
    if variant == NO_ATTRIBUTES:
        attributes = {}
    if protocol == "random":
        return _random_split(name, rows, contract, attributes, seed)
    if variant == ONLY_NEW:
        roles = contract.roles.model_copy(update={"allow_repeat_recommendations": False})
        contract = replace(contract, roles=roles)
    if contract.split.by != protocol:
        raise ValueError(
            f"expected {set_name} to be split by {protocol}; got {contract.split.by}; see its contract"
        )
    settings = dataset_settings(contract)
    tables, _ = split_histories(rows, contract)
    datasets = {
        name: replace(
            dataset,
            allow_repeats=settings["allow_repeats"],
            never_recommend=tuple(settings["never_recommend"]),
            decay=settings["decay"],
            split_by=settings["split_by"],
            item_attributes=attributes,
        )
        for name, dataset in tables.items()
    }
    train = {"all before": datasets["train_valid"]}
    if protocol in ("last", "random_last_out"):
        # Published models do not train on the last event but one, and have it in the history when they are tested.
        train = {"like for like": datasets["train"], **train}
    return NextItemSplit(name, protocol, train, datasets["test"])


def _clean_rows(name: str) -> tuple[pd.DataFrame, Contract, Attributes]:
    from ml.data import item_attributes
    from tasks.data_access.locate import find_dataset
    from tasks.settings import load as load_settings
    from tasks.source import read_source
    from tasks.storage.content_store import Store
    from tasks.validate import apply_contract

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    source = find_dataset(CASE, name, None, load_settings())
    with tempfile.TemporaryDirectory() as scratch:
        raw = read_source(source, Store(Path(scratch)))
        rows, *_ = apply_contract(raw.table("rows"), source.contract)
        has_items = "items" in raw.table_names
        attributes = item_attributes.attributes_by_item(raw.table("items")) if has_items else {}
    return rows, source.contract, attributes


def _random_split(
    name: str, rows: pd.DataFrame, contract: Contract, attributes: Attributes, seed: int
) -> NextItemSplit:
    """Take a random quarter of each user's events as targets; later events stay in the histories."""
    from ml.interactions.event_log import to_event_log

    events = to_event_log(rows, contract)
    draws = pd.Series(np.random.default_rng(seed).random(len(events)))
    quantile = draws.groupby(events["user"].to_numpy()).rank(pct=True).to_numpy()
    histories, targets = events[quantile <= 0.75], events[quantile > 0.75]
    train = replace(training_dataset(histories, contract), item_attributes=attributes)
    test = evaluation_dataset(histories, targets, user_metadata(rows, contract), contract)
    return NextItemSplit(name, "random", {"all before": train}, replace(test, item_attributes=attributes))
