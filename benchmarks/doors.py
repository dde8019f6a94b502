"""Draft contracts of public data sets: agreement with contracts written by hand, false alarms, and what drafts find.

    python -m benchmarks.doors [NAME ...]

Each set is divided at random into two halves. A contract is drafted from the first as `steward contract` does, and
applied to the second by the contract gate. Then cells of the second half are corrupted; a cell is found where a rule
about its column is broken in its row. Needs STEWARD_DATA_DIR.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.dirty_cells import CORRUPTIONS, corrupt
from ml.contract.schema import Contract
from ml.data.casting import cast_columns
from ml.drafting.columns import without_missing, without_padding
from ml.drafting.draft import Draft
from ml.drafting.request import CaseKind, DraftRequest
from ml.drafting.violations import violations
from ml.errors import DataGateError
from operate.contract import case_kind, draft_cells, read_cells
from tasks.data_access.locate import load_contract
from tasks.settings import load
from tasks.validate import apply_contract

RISK, HEALTH, SHOP = "fintech-risk", "health-prediction", "ecommerce-recommendation"
ROLES = ("id", "time", "group", "site", "user", "item", "event_order", "segment")
LISTS = ("text", "sensitive", "ignored")
NUMERIC = ("integer", "number")
CORRUPTED_SHARE = 0.02
MAX_CORRUPTED_ROWS = 4_000


@dataclass(frozen=True)
class DataSet:
    """A file, the use case that it fits, and what a person would say on the command line, by hand-written contract."""

    case: str
    file: str
    target: str | None = None
    positive: str | None = None


SETS: Mapping[str, DataSet] = {
    "german_credit": DataSet(RISK, "german_credit/german.data"),
    "give_me_some_credit": DataSet(RISK, "give_me_some_credit/cs-training.csv"),
    "hmeq": DataSet(RISK, "hmeq/hmeq.csv"),
    "taiwan_credit_default": DataSet(RISK, "taiwan_credit_default/UCI_Credit_Card.csv"),
    "home_credit_sample": DataSet(RISK, "home_credit_sample/credit_scoring.csv"),
    "telco_churn": DataSet(RISK, "telco_churn/WA_Fn-UseC_-Telco-Customer-Churn.csv"),
    "adult": DataSet(RISK, "adult/adult.data"),
    "cardio_70k": DataSet(HEALTH, "cardio_70k/cardio_train.csv"),
    "diabetes_130_hospitals": DataSet(
        HEALTH, "diabetes_130_hospitals/diabetic_data.csv", "readmitted", "<30"
    ),
    "heart_disease": DataSet(HEALTH, "heart_disease/processed.cleveland.data"),
    "heart_failure": DataSet(HEALTH, "heart_failure/heart_failure_clinical_records_dataset.csv"),
    "hepatitis": DataSet(HEALTH, "hepatitis/hepatitis.csv"),
    "pima_diabetes": DataSet(HEALTH, "pima_diabetes/diabetes.csv"),
    "amazon_sports_outdoors": DataSet(SHOP, "amazon_sports_outdoors/Sports_and_Outdoors.txt"),
    "amazon_toys_games": DataSet(SHOP, "amazon_toys_games/Toys_and_Games.txt"),
    "diginetica_purchases": DataSet(SHOP, "diginetica_purchases/train-purchases.csv"),
    "groceries_baskets": DataSet(SHOP, "groceries_baskets/groceries.csv"),
    "movielens_100k": DataSet(SHOP, "movielens_100k/u.data"),
    "movielens_1m": DataSet(SHOP, "movielens_1m/sequences.parquet"),
    "online_retail": DataSet(SHOP, "online_retail/online_retail.parquet"),
    "taobao_multibehaviour": DataSet(SHOP, "taobao_multibehaviour/cart.csv"),
    "yoochoose_100k_sessions": DataSet(SHOP, "yoochoose_100k_sessions/yoochoose-clicks-100k_train_full.txt"),
    "banking77": DataSet("customer-service", "banking77/train.csv"),
    "cfpb_complaints_sample": DataSet(
        "customer-service", "cfpb_complaints_sample/complaints_sample.csv", "Product"
    ),
    "online_shopping_10_cats": DataSet(
        "product-reviews", "online_shopping_10_cats/online_shopping_10_cats.zip", "label"
    ),
    "waimai_10k": DataSet("product-reviews", "waimai_10k/waimai_10k.csv", "label"),
    "symptom2disease": DataSet("symptom-triage", "symptom2disease/Symptom2Disease.csv", "label"),
}


@dataclass(frozen=True)
class Halves:
    """The cells of a file in two halves, and how it is read."""

    request: DraftRequest
    first: pd.DataFrame
    second: pd.DataFrame


def read_halves(chosen: DataSet, folder: Path) -> Halves:
    """Read a set and divide its rows at random; those of a user's line or of a session stay together."""
    kind: CaseKind = case_kind(chosen.case)
    rows, request = read_cells(str(folder / chosen.file), kind)
    rng = np.random.default_rng(0)
    if request.read.get("format") in ("sequences", "baskets"):
        entities, _ = pd.factorize(rows[rows.columns[0]])
        first = (rng.random(entities.max() + 1) < 0.5)[entities]
    else:
        first = rng.random(len(rows)) < 0.5
    given = () if chosen.positive is None else (chosen.positive,)
    request = replace(request, target=chosen.target, positive=given)
    return Halves(request, rows[first].reset_index(drop=True), rows[~first].reset_index(drop=True))


def agreement(draft: Contract, by_hand: Contract) -> dict[str, tuple[int, int]]:
    """Count points on which the draft agrees with a contract written by hand: of roles, types and special codes.

    Columns are compared by their places where the file has no header. Roles are those that either has; types are those
    of columns that both read; codes are those that the contract written by hand has.
    """
    names = _same_names(draft, by_hand)
    roles = _roles(draft, names)
    expected = _roles(by_hand, {})
    types = {names.get(c, c): kind for c, kind in draft.read.columns.items()}
    both = [c for c in by_hand.read.columns if c in types]
    exact = sum(types[c] == by_hand.read.columns[c] for c in both)
    family = sum(_family(types[c]) == _family(by_hand.read.columns[c]) for c in both)
    codes = {(names.get(c, c), v) for c, values in draft.sentinel_values.items() for v in values}
    expected_codes = {(c, v) for c, values in by_hand.sentinel_values.items() for v in values}
    return {
        "roles": (len(roles & expected), len(roles | expected)),
        "types": (exact, len(both)),
        "numeric or not": (family, len(both)),
        "codes": (len(codes & expected_codes), len(expected_codes)),
    }


def _family(kind: str) -> str:
    return "number" if kind in NUMERIC else kind


def _same_names(draft: Contract, by_hand: Contract) -> dict[str, str]:
    """Return the names of the contract written by hand, by the draft's, where a file has no header."""
    if draft.read.header:
        return {}
    return dict(zip(draft.read.file_columns, by_hand.read.file_columns, strict=False)) | (
        {draft.read.row_column: by_hand.read.row_column}
        if draft.read.row_column and by_hand.read.row_column
        else {}
    )


def _roles(contract: Contract, names: Mapping[str, str]) -> set[tuple[str, str]]:
    roles = contract.roles
    single: dict[str, Any] = {role: getattr(roles, role) for role in ROLES}
    found = {(role, names.get(column, column)) for role, column in single.items() if column}
    for role in LISTS:
        found |= {(role, names.get(column, column)) for column in getattr(roles, role)}
    # A target with several classes needs their names; of two classes, the positive one is a decision.
    target = {("target", names.get(roles.target, roles.target))} if roles.target else set()
    positive = {("positive", value) for value in roles.positive}
    return found | target | positive | ({("above", f"{roles.above:g}")} if roles.above is not None else set())


def false_alarms(draft: Draft, second: pd.DataFrame) -> tuple[float, str]:
    """Apply the gate to the clean half: the share of rows in quarantine, and what refused the batch, if anything."""
    try:
        facts = apply_contract(_with_row_numbers(second, draft.contract), draft.contract).facts
        refused = ""
    except DataGateError as error:
        facts, refused = error.facts, str(error)[:300]  # type: ignore[assignment]
    population = facts["rows"] - facts["excluded"]
    return facts["quarantined"] / max(population, 1), refused


def as_read(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return rows as the contract reads them: without padding and words for missing values."""
    stripped = without_padding(rows) if contract.read.strip else rows
    return pd.DataFrame({c: without_missing(stripped[c], contract.read.missing) for c in rows.columns})


def _with_row_numbers(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    column = contract.read.row_column
    return rows.assign(**{column: np.arange(1, len(rows) + 1)}) if column else rows


def found_cells(draft: Draft, second: pd.DataFrame, seed: int) -> tuple[Counter[str], Counter[str], int]:
    """Corrupt cells of columns with rules; return corrupted and found ones by kind, and how many clean ones alarmed."""
    contract = draft.contract
    ruled = {rule.columns[0] for rule in draft.rules}
    columns = [
        c for c in contract.read.columns if c in second.columns and c in ruled and c != contract.roles.target
    ]
    if not columns:
        return Counter(), Counter(), 0
    part = second.head(MAX_CORRUPTED_ROWS)
    texts = part.assign(**{c: part[c].map(str, na_action="ignore").astype("str") for c in columns})
    dirty, made = corrupt(texts, columns, CORRUPTED_SHARE, seed)
    types = {c: kind for c, kind in contract.read.columns.items() if c in dirty.columns}
    typed, invalid = cast_columns(dirty, types, contract.read)
    flagged = pd.DataFrame(False, part.index, columns)
    for column, mask in invalid.items():
        if column in flagged:
            flagged[column] |= mask
    usable = [
        rule
        for rule in draft.rules
        if {*rule.columns} <= {*typed.columns} and rule.action in ("quarantine", "warn")
    ]
    for rule in sorted(usable, key=lambda rule: len(rule.columns)):
        broken = violations(rule, typed)
        chosen = [column for column in rule.columns if column in flagged]
        # Of two columns, one is wrong: where a rule about it alone says so, the other is not suspected.
        explained = flagged[chosen].any(axis=1).to_numpy() if len(rule.columns) > 1 else False
        for column in chosen:
            flagged[column] |= broken & ~np.asarray(explained)
    is_made = made.to_numpy() != ""
    is_found = flagged.to_numpy() & is_made
    kinds = made.to_numpy()
    return Counter(kinds[is_made]), Counter(kinds[is_found]), int((flagged.to_numpy() & ~is_made).sum())


def main(names: Sequence[str]) -> None:
    """Print a line for each set, and the totals."""
    settings = load()
    if settings.data_dir is None:
        sys.exit("expected STEWARD_DATA_DIR; got no such variable; set it")
    totals: Counter[str] = Counter()
    made_by_kind: Counter[str] = Counter()
    found_by_kind: Counter[str] = Counter()
    print(
        "set | roles | types | numeric or not | codes | quarantined | refused | forecast | cells: recall, precision"
    )
    for name in names or SETS:
        chosen = SETS[name]
        halves = read_halves(chosen, settings.data_dir)
        draft = draft_cells(halves.first, halves.request)
        points = (
            agreement(draft.contract, load_contract(chosen.case, name, settings))
            if _by_hand(chosen, name)
            else {}
        )
        second = as_read(halves.second, draft.contract)
        quarantined, refused = false_alarms(draft, second)
        made, found, wrong = found_cells(draft, second, seed=0)
        hits = sum(found.values())
        cells = f"{hits / sum(made.values()):.2f}, {hits / max(hits + wrong, 1):.2f}" if made else "no rules"
        shown = " | ".join("{} of {}".format(*points[key]) if key in points else "-" for key in _POINTS)
        print(
            f"{name} | {shown} | {quarantined:.2%} | {refused or 'no'} | {draft.alarms.quarantined:.2%}"
            f" (below {draft.alarms.upper:.2%}), {draft.alarms.refused:.0%} | {cells}",
            flush=True,
        )
        for key, (agreed, of) in points.items():
            totals[key] += agreed
            totals[f"all {key}"] += of
        totals["sets"] += 1
        totals["above 2 %"] += quarantined > 0.02
        totals["refused"] += bool(refused)
        totals["wrong"] += wrong
        made_by_kind += made
        found_by_kind += found
    print(", ".join(f"{key}: {totals[key]} of {totals[f'all {key}']}" for key in _POINTS))
    print(
        f"{totals['sets']} sets: {totals['above 2 %']} above 2 % in quarantine, {totals['refused']} refused"
    )
    hits = found_by_kind.total()
    if made_by_kind:
        precision = hits / max(hits + totals["wrong"], 1)
        print(f"corrupted cells: recall {hits / made_by_kind.total():.3f}, precision {precision:.3f}")
    for kind in CORRUPTIONS:
        if made_by_kind[kind]:
            print(f"    {kind}: {found_by_kind[kind] / made_by_kind[kind]:.2f} of {made_by_kind[kind]:,}")


_POINTS = ("roles", "types", "numeric or not", "codes")


def _by_hand(chosen: DataSet, name: str) -> bool:
    stem = chosen.case.replace("-", "_")
    return (load().contracts / stem / f"{name}.json").is_file()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETS)}")
    main(parser.parse_args().names)
