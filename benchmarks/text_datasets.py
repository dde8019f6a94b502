"""Public sets of messages with their published or repeated splits, for `benchmarks.text`."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedShuffleSplit

from ml.data.dataset import Dataset
from ml.text.normalization import normalize

# The share of the training rows that chooses thresholds.
VALID_SHARE = 0.1
TEST_SHARE = 0.2


@dataclass(frozen=True)
class MessageSplit:
    """Datasets of one split; `copies` are the rows left out because their message occurred before, or in test.

    `train` has all training rows, `part` those that are not in `valid`.
    """

    train: Dataset
    part: Dataset
    valid: Dataset
    test: Dataset
    copies: int


def _folder(name: str) -> Path:
    folder = Path(os.environ.get("STEWARD_DATA_DIR", "")) / name
    if not folder.is_dir():
        raise SystemExit(f"expected the folder {name} in STEWARD_DATA_DIR; got none; set the variable")
    return folder


def _dataset(table: pd.DataFrame) -> Dataset:
    """Return a table with `text` and `label` as a dataset; two labels, "0" and "1", are a binary target."""
    labels = tuple(sorted(table["label"].unique()))
    codes = pd.Categorical(table["label"], categories=list(labels)).codes
    return Dataset(
        pd.DataFrame({"text": table["text"].astype("str")}),
        pd.Series(codes, table.index, dtype="float64"),
        np.arange(len(table), dtype=np.uint64),
        classes=() if labels == ("0", "1") else labels,
        text_columns=("text",),
    )


def _distinct(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the first row of each message, and no row without one."""
    table = table.dropna().astype("str").reset_index(drop=True)
    messages = table["text"].map(normalize)
    return table[~messages.duplicated() & (messages != "")].reset_index(drop=True)


def _divide(dataset: Dataset, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows by class where every class has two rows, in ascending order."""
    codes = dataset.truth.to_numpy().copy()
    rows = np.bincount(codes.astype(int))
    codes[np.isin(codes, np.flatnonzero(rows < 2))] = rows.argmax()
    large, small = next(
        StratifiedShuffleSplit(1, test_size=share, random_state=seed).split(codes[:, None], codes)
    )
    return np.sort(large), np.sort(small)


def _published(train: pd.DataFrame, test: pd.DataFrame) -> MessageSplit:
    """Return one split with the published test rows, all of them; training rows that are among them are left out."""
    distinct = _distinct(train)
    distinct = distinct[~distinct["text"].map(normalize).isin(set(test["text"].map(normalize)))]
    whole = _dataset(pd.concat([distinct, test.astype("str")], ignore_index=True))
    rows = np.arange(len(distinct))
    training = whole.take(rows)
    large, small = _divide(training, VALID_SHARE, 0)
    tests = whole.take(np.arange(len(distinct), len(distinct) + len(test)))
    copies = len(train) - len(distinct)
    return MessageSplit(training, training.take(large), training.take(small), tests, copies)


def _repeated(table: pd.DataFrame, seeds: range) -> Iterator[MessageSplit]:
    """Yield a split 80/20 for each seed, each message in it once."""
    distinct = _distinct(table)
    whole = _dataset(distinct)
    for seed in seeds:
        rest, test = _divide(whole, TEST_SHARE, seed)
        training = whole.take(rest)
        large, small = _divide(training, VALID_SHARE, seed)
        copies = len(table) - len(distinct)
        yield MessageSplit(training, training.take(large), training.take(small), whole.take(test), copies)


def _banking77(seeds: range) -> Iterator[MessageSplit]:
    folder = _folder("banking77")
    tables = [
        pd.read_csv(folder / name).rename(columns={"category": "label"}) for name in ("train.csv", "test.csv")
    ]
    yield _published(*tables)


def few_labels(seeds: range, per_class: int) -> Iterator[MessageSplit]:
    """Yield banking77 with `per_class` training rows of each class drawn anew, none for thresholds."""
    whole = next(_banking77(range(1)))
    table = whole.train.to_table()
    rows = _dataset(
        pd.DataFrame({"text": table["x:text"], "label": table["truth"].astype(int).map("{:03d}".format)})
    )
    codes = rows.truth.to_numpy()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        drawn = [
            rng.choice(np.flatnonzero(codes == code), per_class, replace=False) for code in np.unique(codes)
        ]
        train = rows.take(np.sort(np.concatenate(drawn)))
        yield MessageSplit(train, train, train.take(np.arange(0)), whole.test, whole.copies)


def known_and_unknown(dataset: Dataset, unknown: np.ndarray) -> tuple[Dataset, Dataset]:
    """Divide rows by class: those of the other classes, numbered anew, and those of the unknown ones, as they are."""
    is_unknown = np.isin(dataset.truth, unknown)
    known = np.setdiff1d(np.arange(len(dataset.classes)), unknown)
    rest = dataset.take(np.flatnonzero(~is_unknown))
    codes = pd.Series(np.searchsorted(known, rest.truth), rest.truth.index, dtype="float64")
    classes = tuple(dataset.classes[code] for code in known)
    return replace(rest, truth=codes, classes=classes), dataset.take(np.flatnonzero(is_unknown))


def _snips(seeds: range) -> Iterator[MessageSplit]:
    tables = []
    for part in ("train_*_full", "validate_*"):
        rows = []
        for path in sorted(_folder("snips").glob(f"{part}.json")):
            intent = path.stem.split("_")[1]
            content = json.loads(path.read_bytes().decode("utf-8", errors="replace"))
            for entry in content[intent]:
                rows.append(("".join(piece["text"] for piece in entry["data"]), intent))
        tables.append(pd.DataFrame(rows, columns=["text", "label"]))
    yield _published(*tables)


def _symptoms(seeds: range) -> Iterator[MessageSplit]:
    yield from _repeated(
        pd.read_csv(_folder("symptom2disease") / "Symptom2Disease.csv")[["text", "label"]], seeds
    )


def _complaints(seeds: range) -> Iterator[MessageSplit]:
    table = pd.read_csv(_folder("cfpb_complaints_sample") / "complaints_sample.csv", low_memory=False)
    columns = {"Consumer complaint narrative": "text", "Product": "label"}
    yield from _repeated(table[list(columns)].rename(columns=columns), seeds)


def _waimai(seeds: range) -> Iterator[MessageSplit]:
    table = pd.read_csv(_folder("waimai_10k") / "waimai_10k.csv", encoding="utf-8-sig")
    yield from _repeated(table.rename(columns={"review": "text"})[["text", "label"]], seeds)


def _shopping(column: str) -> Callable[[range], Iterator[MessageSplit]]:
    def splits(seeds: range) -> Iterator[MessageSplit]:
        table = pd.read_csv(_folder("online_shopping_10_cats") / "online_shopping_10_cats.zip")
        yield from _repeated(pd.DataFrame({"text": table["review"], "label": table[column]}), seeds)

    return splits


# Splits of each set for a range of seeds; those of a published test file do not depend on them.
SETS: dict[str, Callable[[range], Iterator[MessageSplit]]] = {
    "banking77": _banking77,
    "snips": _snips,
    "symptom2disease": _symptoms,
    "cfpb_complaints_sample": _complaints,
    "waimai_10k": _waimai,
    "online_shopping_sentiment": _shopping("label"),
    "online_shopping_category": _shopping("cat"),
}
# Accuracy that others published, or that was measured before with the same split.
PUBLISHED = {
    "banking77": "BERT-base .931, DistilBERT .925, best claim .946 (test file, all training rows)",
    "banking77, 10 a class": "TF-IDF .747, RoBERTa .843, CPFT .872, ICDA .898",
    "snips": "98 to 99 %",
    "waimai_10k": "TF-IDF of characters with SVM .897 to .901 (measured before); RoBERTa-wwm .9145 (one run of a peer)",
    "online_shopping_sentiment": "TF-IDF of characters with SVM .939 (measured before); BERT .942 (one run of a peer)",
    "online_shopping_category": "TF-IDF of characters with SVM .902 (measured before)",
}
