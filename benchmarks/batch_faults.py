"""Faults of a batch that has a history, before training and before scoring."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.fault_cases import (
    ACCEPTED,
    GENERATED,
    HOSPITAL,
    LENDER,
    REFUSED,
    SHOP,
    WARNED,
    CleanData,
    Damage,
    Fault,
    Outcome,
    Phase,
)

NOTICED = REFUSED | WARNED
Change = Callable[[pd.Series, np.random.Generator], pd.Series]


def on_column(column: str, change: Change, share: float = 1.0) -> Damage:
    """Change a share of the cells of a column, picked at random."""

    def damage(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        picked = rng.random(len(frame)) < share
        before = frame[column]
        return frame.assign(**{column: before.where(~picked, change(before, rng))})

    return damage


def missing(column: str, share: float) -> Damage:
    return on_column(column, lambda cells, rng: pd.Series(np.nan, cells.index), share)


def times(column: str, factor: float, share: float = 1.0) -> Damage:
    return on_column(column, lambda cells, rng: cells * factor, share)


def constant(column: str) -> Damage:
    return on_column(column, lambda cells, rng: pd.Series(cells.dropna().iloc[0], cells.index))


def swapped(a: str, b: str) -> Damage:
    return lambda frame, rng: frame.assign(**{a: frame[b], b: frame[a]})


def shuffled(column: str) -> Damage:
    return on_column(column, lambda cells, rng: pd.Series(rng.permutation(cells.to_numpy()), cells.index))


def mapped(column: str, change: Callable[[str], str], share: float = 1.0) -> Damage:
    return on_column(
        column,
        lambda cells, rng: cells.map(lambda cell: change(str(cell)), na_action="ignore").astype(object),
        share,
    )


def rows_where(keep: Callable[[pd.DataFrame], pd.Series]) -> Damage:
    return lambda frame, rng: frame[keep(frame)].reset_index(drop=True)


def first_rows(share: float) -> Damage:
    return lambda frame, rng: frame.head(int(share * len(frame)))


def same(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return frame


def decimals_lost(column: str) -> Damage:
    """Read 12.5 as 125 and 0.125 as 125, as where the decimal comma was dropped."""

    def without_point(cells: pd.Series, rng: np.random.Generator) -> pd.Series:
        text = cells.map(lambda cell: f"{cell:.10g}".replace(".", ""), na_action="ignore")
        return pd.to_numeric(text)

    return on_column(column, without_point)


def inverted(column: str, first: object, second: object, share: float = 1.0) -> Damage:
    return on_column(column, lambda cells, rng: cells.map({first: second, second: first}), share)


def random_labels(column: str) -> Damage:
    return shuffled(column)


def all_columns_shifted(columns: tuple[str, ...]) -> Damage:
    """Move the values of some columns by one column, as after a lost separator."""
    shifted = (*columns[1:], columns[0])
    return lambda frame, rng: frame.assign(**{a: frame[b] for a, b in zip(columns, shifted, strict=True)})


def one_user(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Give half of the events to one user."""
    return frame.assign(user=frame["user"].mask(rng.random(len(frame)) < 0.5, frame["user"].iloc[0]))


def user_per_event(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return frame.assign(user=[f"U{i:07d}" for i in range(len(frame))])


def cases(
    family: str, phase: Phase, expected: frozenset[Outcome], named: dict[str, tuple[CleanData, Damage]]
) -> tuple[Fault, ...]:
    prefix = "" if phase == "training" else "scoring: "
    return tuple(
        Fault(prefix + name, family, data, damage, expected, phase, 6000 if data is SHOP else 3000)
        for name, (data, damage) in named.items()
    )


_VALUES: dict[str, tuple[CleanData, Damage]] = {
    "60 % of the savings missing": (LENDER, missing("savings_balance", 0.6)),
    "60 % of the amounts missing": (GENERATED, missing("amount", 0.6)),
    "all ages missing but ten": (GENERATED, missing("score", 0.99)),
    "60 % of a laboratory value missing": (HOSPITAL, missing("haemoglobin", 0.85)),
    "amounts x 100": (GENERATED, times("amount", 100)),
    "amounts / 1000": (GENERATED, times("amount", 1e-3)),
    "savings x 10": (LENDER, times("savings_balance", 10)),
    "credit history in years": (LENDER, times("credit_history_months", 1 / 12)),
    "distance in metres": (HOSPITAL, times("distance_km", 1000)),
    "rates as percentages": (GENERATED, times("rate", 100)),
    "shifted decimals of rates": (GENERATED, decimals_lost("rate")),
    "shifted decimals of amounts": (GENERATED, decimals_lost("amount")),
    "a tenth of the amounts x 1000": (GENERATED, times("amount", 1000, 0.1)),
    "other sign": (GENERATED, times("score", -1)),
    "-999 for a tenth of the scores": (
        GENERATED,
        on_column("score", lambda cells, rng: pd.Series(-999.0, cells.index), 0.1),
    ),
    "a constant number": (GENERATED, constant("score")),
    "a constant category": (GENERATED, constant("grade")),
    "a constant laboratory value": (HOSPITAL, constant("creatinine")),
    "two columns of amounts exchanged": (GENERATED, swapped("amount", "score")),
    "two ages of a credit exchanged": (LENDER, swapped("age", "credit_history_months")),
    "two counts exchanged": (LENDER, swapped("open_lines", "inquiries_6m")),
    "two categories exchanged": (LENDER, swapped("housing", "region")),
    "four columns moved by one": (GENERATED, all_columns_shifted(("amount", "rate", "score", "visits"))),
    "categories in upper case": (GENERATED, mapped("city", str.upper)),
    "categories with white space": (GENERATED, mapped("grade", lambda cell: f" {cell} ")),
    "a third of the categories in lower case": (GENERATED, mapped("grade", str.lower, 0.33)),
    "regions in upper case": (LENDER, mapped("region", str.upper)),
    "new names of all categories": (GENERATED, mapped("grade", lambda cell: f"class {ord(cell)}")),
    "half of the cities new": (GENERATED, mapped("city", lambda cell: f"{cell} (new)", 0.5)),
    "the two largest categories absent": (
        GENERATED,
        rows_where(lambda frame: ~frame["grade"].isin(["A", "B"])),
    ),
    "one column noise": (
        GENERATED,
        on_column("score", lambda cells, rng: pd.Series(rng.uniform(0, 1, len(cells)), cells.index)),
    ),
}
_LOGS: dict[str, tuple[CleanData, Damage]] = {
    "all items renamed": (SHOP, mapped("item", lambda cell: f"I9{cell[2:]}")),
    "half of the events of one user": (SHOP, one_user),
    "a user for every event": (SHOP, user_per_event),
    "ages in other words": (SHOP, mapped("age_band", lambda cell: f"band {cell}")),
    "channels in lost shares": (SHOP, constant("age_band")),
}

FAULTS: tuple[Fault, ...] = (
    *cases(
        "clean batches",
        "training",
        ACCEPTED,
        {
            "clean batch": (GENERATED, same),
            "clean applications": (LENDER, same),
            "clean encounters": (HOSPITAL, same),
            "clean purchases": (SHOP, same),
            "rows in another order": (
                GENERATED,
                lambda frame, rng: frame.iloc[rng.permutation(len(frame))],
            ),
            "a tenth more missing, as before": (GENERATED, missing("amount", 0.02)),
            "columns in another order": (GENERATED, lambda frame, rng: frame[frame.columns[::-1]]),
            "two thirds of the rows": (GENERATED, first_rows(0.66)),
        },
    ),
    *cases("values", "training", REFUSED, _VALUES),
    *cases("values to score", "scoring", REFUSED, _VALUES),
    *cases("logs", "training", REFUSED, _LOGS),
    *cases("logs to score", "scoring", REFUSED, _LOGS),
    *cases(
        "labels",
        "training",
        REFUSED,
        {
            "inverted labels": (GENERATED, inverted("outcome", 0, 1)),
            "inverted defaults": (LENDER, inverted("defaulted", 0, 1)),
            "inverted readmissions": (HOSPITAL, inverted("readmitted_within_30_days", "yes", "no")),
            "labels of other rows": (GENERATED, random_labels("outcome")),
            "defaults of other applicants": (LENDER, random_labels("defaulted")),
            "three quarters of the labels inverted": (GENERATED, inverted("outcome", 0, 1, 0.75)),
            "nine in ten cases positive": (
                GENERATED,
                on_column("outcome", lambda cells, rng: pd.Series(1, cells.index), 0.85),
            ),
        },
    ),
    *cases(
        "moderate differences",
        "training",
        NOTICED,
        {
            "a third of the labels inverted": (GENERATED, inverted("outcome", 0, 1, 0.33)),
            "twice as many positive cases": (
                GENERATED,
                on_column("outcome", lambda cells, rng: pd.Series(1, cells.index), 0.25),
            ),
            "a fifth of the rates missing": (GENERATED, missing("rate", 0.2)),
            "amounts twice as high": (GENERATED, times("amount", 2.0)),
            "a twentieth of the grades new": (GENERATED, mapped("grade", lambda cell: "E", 0.05)),
            "one grade absent": (GENERATED, rows_where(lambda frame: frame["grade"] != "D")),
            "a column of other rows": (LENDER, shuffled("age")),
            "a third of the rows": (GENERATED, first_rows(0.33)),
            "one hospital absent": (HOSPITAL, rows_where(lambda frame: frame["hospital"] != "Ashdown")),
            "twelve in a thousand amounts x 1000": (GENERATED, times("amount", 1e3, 0.02)),
        },
    ),
    *(
        Fault(name, "moderate differences", data, damage, NOTICED, "training", explanation=explanation)
        for name, data, damage, explanation in (
            (
                "amounts 40 % higher",
                GENERATED,
                times("amount", 1.4),
                "a shift by less than half a standard deviation is below the bound, as seasons bring such shifts",
            ),
            (
                "a weakly related column of other rows",
                HOSPITAL,
                shuffled("chronic_conditions"),
                "its own distribution is the same, and its correlations were below the bound before",
            ),
            (
                "half a percent of the amounts x 1000",
                GENERATED,
                times("amount", 1000, 0.005),
                "as many values far out as chance may bring; a rule of the contract finds single values",
            ),
        )
    ),
    *cases(
        "size",
        "training",
        REFUSED,
        {
            "a fiftieth of the rows": (GENERATED, first_rows(0.02)),
            "a twelfth of the applications": (LENDER, first_rows(0.08)),
        },
    ),
    *cases(
        "clean files to score",
        "scoring",
        ACCEPTED,
        {
            "clean batch": (GENERATED, same),
            "clean purchases": (SHOP, same),
            "forty rows": (GENERATED, lambda frame, rng: frame.head(40)),
            "one row": (GENERATED, lambda frame, rng: frame.head(1)),
            "without labels": (GENERATED, lambda frame, rng: frame.drop(columns="outcome")),
            "inverted labels, which are not read": (GENERATED, inverted("outcome", 0, 1)),
            "rows of one week": (LENDER, lambda frame, rng: frame.tail(40)),
        },
    ),
)
