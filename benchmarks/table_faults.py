"""Faults of one file, without any history: what the gates make of them by the defaults of a contract.

Some cannot be known from one file, such as labels that are all inverted; these are misses with an explanation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import table_damage as d
from benchmarks.fault_cases import (
    ACCEPTED,
    GENERATED,
    HOSPITAL,
    LENDER,
    QUARANTINED,
    REFUSED,
    SHOP,
    WARNED,
    CleanData,
    Damage,
    Fault,
    Outcome,
)

STOPPED = REFUSED | QUARANTINED
NOTICED = STOPPED | WARNED
NEEDS_HISTORY = "one file does not show it: a comparison with an earlier batch does"


def _table_contract(name: str, columns: Mapping[str, str], target: Mapping[str, Any]) -> dict[str, Any]:
    read = {"files": ["table.csv"], "columns": dict(columns)}
    roles = {"target": dict(target), "id": "case_id"}
    meta = {"schema_version": 2, "read": read, "roles": roles}
    return {"name": f"fintech-risk.{name}", "expectations": [], "meta": meta}


def _draw_coarse(rows: int, seed: int) -> pd.DataFrame:
    """Draw four categories of three values: most rows equal others by chance."""
    rng = np.random.default_rng([8, seed])
    columns = {c: rng.choice(np.array(["low", "mid", "high"]), rows) for c in "abcd"}
    odds = sum((columns[c] == "high").astype(float) for c in "abcd") - 1.3
    outcome = (rng.random(rows) < 1.0 / (1.0 + np.exp(-odds))).astype(int)
    return pd.DataFrame({"case_id": [f"c{seed}-{i}" for i in range(rows)], **columns, "outcome": outcome})


def _draw_numeric(rows: int, seed: int) -> pd.DataFrame:
    """Draw a table with a numeric target, a cost."""
    rng = np.random.default_rng([9, seed])
    size, age = rng.lognormal(3.0, 0.5, rows), rng.uniform(0.0, 40.0, rows)
    price, count = rng.lognormal(1.0, 0.3, rows), rng.poisson(6.0, rows) + 1
    region = rng.choice(np.array(["N", "S", "E", "W"]), rows)
    effect = pd.Series(region).map({"N": 1.0, "S": 1.3, "E": 0.8, "W": 1.1}).to_numpy()
    cost = 20.0 + 3.0 * size * effect + 0.8 * age + rng.normal(0.0, 25.0, rows)
    table = {"size": size, "age": age, "price": price, "count": count, "region": region, "cost": cost}
    return pd.DataFrame({"case_id": [f"c{seed}-{i}" for i in range(rows)], **table})


_COARSE = {"case_id": "category", **dict.fromkeys("abcd", "category"), "outcome": "integer"}
_NUMERIC = {
    "case_id": "category",
    "size": "number",
    "age": "number",
    "price": "number",
    "count": "integer",
    "region": "category",
    "cost": "number",
}
COARSE = CleanData(
    "coarse", _draw_coarse, _table_contract("coarse", _COARSE, {"column": "outcome", "positive": ["1"]})
)
NUMERIC = CleanData("numeric", _draw_numeric, _table_contract("numeric", _NUMERIC, {"column": "cost"}))

_LENDER_NUMBERS = ("employment_years", "income", "savings_balance", "loan_amount")
# The lender's split is by time.
_OTHER_DATE = d.shuffled("applied_on")
_HOSPITAL_IDS = ("encounter_id", "patient_id")
_HOSPITAL_NUMBERS = ("body_mass_index", "distance_km", "heart_rate", "creatinine", "haemoglobin", "sodium")
_GENERATED_NUMBERS = ("amount", "rate")


def _inverted(copies: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return copies.assign(defaulted=1 - copies["defaulted"])


def _same_ids(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[rng.integers(0, len(frame), len(frame) // 33)]])


def _same_patient(frame: pd.DataFrame, rng: np.random.Generator) -> "pd.DataFrame | bytes":
    return d.with_copies(0.05, ("encounter_id",))(frame, rng)


COPIES: tuple[tuple[str, CleanData, Damage, frozenset[Outcome], str], ...] = (
    ("30 % copies", GENERATED, d.with_copies(0.3, ("case_id",)), REFUSED, ""),
    ("10 % copies", GENERATED, d.with_copies(0.1, ("case_id",)), REFUSED, ""),
    ("30 % copies", LENDER, d.with_copies(0.3, ("application_id",), _OTHER_DATE), REFUSED, ""),
    ("copies of the same day", LENDER, d.with_copies(0.3, ("application_id",)), WARNED | REFUSED, ""),
    ("each row three times", LENDER, d.with_copies(2.0, ("application_id",), _OTHER_DATE), REFUSED, ""),
    ("20 % copies of patients", HOSPITAL, d.with_copies(0.2, _HOSPITAL_IDS), REFUSED, ""),
    (
        "30 % near copies",
        GENERATED,
        d.with_copies(0.3, ("case_id",), d.jitter(_GENERATED_NUMBERS, 0.003)),
        REFUSED,
        "",
    ),
    (
        "30 % near copies",
        LENDER,
        d.with_copies(0.3, ("application_id",), _OTHER_DATE, d.jitter(_LENDER_NUMBERS, 0.005)),
        REFUSED,
        "",
    ),
    (
        "copies with another age",
        LENDER,
        d.with_copies(0.3, ("application_id",), _OTHER_DATE, d.shuffled("age")),
        REFUSED,
        "",
    ),
    (
        "30 % near copies",
        HOSPITAL,
        d.with_copies(0.3, _HOSPITAL_IDS, d.jitter(_HOSPITAL_NUMBERS, 0.003)),
        REFUSED,
        "",
    ),
    (
        "random labels with copies",
        GENERATED,
        d.random_labels("outcome", d.with_copies(1.0, ("case_id",))),
        REFUSED,
        "",
    ),
    (
        "random labels with copies",
        LENDER,
        d.random_labels("defaulted", d.with_copies(0.5, ("application_id",), _OTHER_DATE)),
        REFUSED,
        "",
    ),
    (
        "copies with the other label",
        LENDER,
        d.with_copies(0.3, ("application_id",), _OTHER_DATE, _inverted),
        WARNED | REFUSED,
        "",
    ),
    ("copies with their ids", GENERATED, _same_ids, QUARANTINED, ""),
    ("one patient twice", HOSPITAL, _same_patient, ACCEPTED, ""),
    ("equal rows by chance", COARSE, lambda frame, rng: frame, ACCEPTED, ""),
    (
        "30 % copies of coarse rows",
        COARSE,
        d.with_copies(0.3, ("case_id",)),
        NOTICED,
        "81 different rows: copies and coincidences look the same, and memory gains nothing",
    ),
)


def _xor(noise: float) -> Damage:
    def damage(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        key = rng.integers(0, 2, len(frame))
        return frame.assign(visits=key, score=key ^ d.flipped(frame["outcome"], noise, rng))

    return damage


def _outcome_above(score: pd.Series) -> np.ndarray:
    return np.asarray(score > score.quantile(0.7), dtype=int)


def _z(values: pd.Series) -> pd.Series:
    filled = values.fillna(values.median())
    return (filled - filled.mean()) / filled.std()


def _xor_of_halves(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    high = [frame[c] > frame[c].median() for c in ("score", "rate")]
    return frame.assign(outcome=(high[0] ^ high[1]).astype(int))


def _leak(column: str, values: Any) -> Damage:
    return d.set_column(column, values)


def _codes_of_target(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    bad, good = rng.choice(["L", "W"], len(frame)), rng.choice(["P", "C"], len(frame))
    return np.where(frame["outcome"] == 1, bad, good)


def _last_digits(frame: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    """Hide the target in the last digit of a number: even for 0."""
    return (frame["score"] // 10) * 10 + 2 * rng.integers(0, 5, len(frame)) + frame["outcome"]


def _sum_of_three(frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    return _outcome_above(_z(frame["score"]) + _z(frame["rate"]) + _z(np.log(frame["amount"])))


def _next_admission(frame: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    return frame["prior_admissions"] + (frame["readmitted_within_30_days"] == "yes")


TARGETS: tuple[tuple[str, CleanData, Damage, frozenset[Outcome], str], ...] = (
    ("the target as a column", GENERATED, _leak("visits", lambda f, r: f["outcome"]), REFUSED, ""),
    (
        "the target with 2 % errors",
        GENERATED,
        _leak("visits", lambda f, r: d.flipped(f["outcome"], 0.02, r)),
        REFUSED,
        "",
    ),
    (
        "the target with 2 % errors",
        LENDER,
        _leak("inquiries_6m", lambda f, r: d.flipped(f["defaulted"], 0.02, r)),
        REFUSED,
        "",
    ),
    (
        "the target with 5 % errors",
        GENERATED,
        _leak("visits", lambda f, r: d.flipped(f["outcome"], 0.05, r)),
        REFUSED | WARNED,
        "",
    ),
    (
        "the target with 10 % errors",
        GENERATED,
        _leak("visits", lambda f, r: d.flipped(f["outcome"], 0.1, r)),
        REFUSED | WARNED,
        "",
    ),
    (
        "the target with a normal error",
        GENERATED,
        _leak("score", lambda f, r: f["outcome"] + r.normal(0, 0.25, len(f))),
        REFUSED,
        "",
    ),
    ("the target as codes", GENERATED, _leak("grade", _codes_of_target), REFUSED, ""),
    (
        "the target in the names of cities",
        GENERATED,
        _leak("city", lambda f, r: [f"town {2 * r.integers(0, 40) + y}" for y in f["outcome"]]),
        REFUSED,
        "",
    ),
    ("the target in the last digit", GENERATED, _leak("score", _last_digits), REFUSED, ""),
    (
        "the target as missing cells",
        GENERATED,
        _leak("amount", lambda f, r: f["amount"].mask(f["outcome"] == 1)),
        REFUSED,
        "",
    ),
    ("the target as an exclusive-or", GENERATED, _xor(0.0), REFUSED, ""),
    ("the target as an exclusive-or with 2 % errors", GENERATED, _xor(0.02), REFUSED, ""),
    ("the target is an exclusive-or of halves", GENERATED, _xor_of_halves, REFUSED, ""),
    (
        "the target is a sum of two above a bound",
        GENERATED,
        _leak("outcome", lambda f, r: _outcome_above(_z(f["score"]) + _z(f["rate"]))),
        REFUSED,
        "",
    ),
    (
        "the target is a difference of two above a bound",
        GENERATED,
        _leak("outcome", lambda f, r: _outcome_above(_z(f["score"]) - 2 * _z(f["rate"]))),
        REFUSED,
        "",
    ),
    (
        "the target is a sum of three above a bound",
        GENERATED,
        _leak("outcome", _sum_of_three),
        REFUSED | WARNED,
        "",
    ),
    (
        "the difference of two columns is the target",
        GENERATED,
        lambda f, r: f.assign(rate=(u := r.normal(0, 1, len(f))), score=u + f["outcome"]),
        REFUSED,
        "",
    ),
    (
        "counted after the outcome",
        LENDER,
        _leak("delinquencies_2y", lambda f, r: 3 * f["defaulted"] + r.poisson(0.1, len(f))),
        REFUSED,
        "",
    ),
    (
        "the next admission is counted",
        HOSPITAL,
        _leak("prior_admissions", _next_admission),
        REFUSED | WARNED,
        "the AUC rises to about 0.8, which honest columns reach",
    ),
    (
        "one strong honest column",
        GENERATED,
        _leak("score", lambda f, r: f["outcome"] + r.normal(0, 0.8, len(f))),
        ACCEPTED,
        "",
    ),
    (
        "a numeric target with 2 % errors",
        NUMERIC,
        _leak("size", lambda f, r: f["cost"] * (1 + r.normal(0, 0.02, len(f)))),
        REFUSED,
        "",
    ),
    (
        "a numeric target as a sum",
        NUMERIC,
        lambda f, r: f.assign(price=(u := r.uniform(0, 100, len(f))), age=f["cost"] - u),
        REFUSED,
        "",
    ),
    (
        "a numeric target as a product",
        NUMERIC,
        _leak("cost", lambda f, r: f["price"] * f["count"]),
        REFUSED,
        "",
    ),
    ("copies with a numeric target", NUMERIC, d.with_copies(0.3, ("case_id",)), REFUSED, ""),
    ("an honest numeric target", NUMERIC, lambda f, r: f, ACCEPTED, ""),
)


def _half(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2])


FILES: tuple[tuple[str, CleanData, Damage, frozenset[Outcome], str], ...] = (
    ("cut inside of a row", LENDER, d.on_text(lambda b: b[: len(b) // 2]), REFUSED, ""),
    ("cut at a block of the disk", GENERATED, d.cut_at_block, REFUSED, ""),
    ("the last line break is missing", GENERATED, d.on_text(lambda b: b.rstrip(b"\n")), WARNED, ""),
    (
        "a quoted cell without end",
        GENERATED,
        d.on_text(lambda b: _half(b) + b'c9,1,1,1,1,A,"city 1,0\n' + b.split(b"\n", 1)[1]),
        REFUSED,
        "",
    ),
    ("zero bytes at the end", GENERATED, d.on_text(lambda b: b + bytes(300)), REFUSED, ""),
    ("half of the lines", GENERATED, d.on_text(_half), NOTICED, NEEDS_HISTORY),
    ("an empty file", GENERATED, d.on_text(lambda b: b""), REFUSED, ""),
    ("only the header", GENERATED, d.on_text(lambda b: b.split(b"\n")[0] + b"\n"), REFUSED, ""),
    ("semicolons", GENERATED, d.on_text(lambda b: b.replace(b",", b";")), REFUSED, ""),
    ("UTF-16", GENERATED, d.on_text(lambda b: b.decode().encode("utf-16")), REFUSED, ""),
    (
        "Latin-1 with umlauts",
        GENERATED,
        d.on_text(lambda b: b.decode().replace("city 1", "Köln").encode("latin-1")),
        REFUSED,
        "",
    ),
    ("no header", LENDER, d.on_text(lambda b: b.split(b"\n", 1)[1]), REFUSED, ""),
    ("the header twice", GENERATED, d.on_text(lambda b: b.split(b"\n", 1)[0] + b"\n" + b), STOPPED, ""),
    ("a column twice", GENERATED, lambda f, r: pd.concat([f, f[["score"]]], axis=1), REFUSED, ""),
    ("a column is missing", GENERATED, lambda f, r: f.drop(columns="score"), REFUSED, ""),
    ("one column is a copy of another", GENERATED, _leak("rate", lambda f, r: f["score"]), WARNED, ""),
    ("shifted cells", LENDER, d.shifted_cells, REFUSED, ""),
    ("swapped names", LENDER, d.swapped_names("age", "loan_amount"), STOPPED, ""),
    ("swapped names", GENERATED, d.swapped_names("rate", "score"), NOTICED, NEEDS_HISTORY),
    (
        "decimal commas",
        GENERATED,
        _leak("rate", lambda f, r: f["rate"].astype(str).str.replace(".", ",")),
        REFUSED,
        "",
    ),
    (
        "thousands separators",
        GENERATED,
        _leak("score", lambda f, r: [f"{v * 10:,.0f}" for v in f["score"]]),
        REFUSED,
        "",
    ),
    (
        "text among numbers",
        GENERATED,
        d.set_part("score", 0.03, lambda v: pd.Series("n/a", v.index)),
        QUARANTINED,
        "",
    ),
    ("a byte order mark", GENERATED, d.on_text(lambda b: b"\xef\xbb\xbf" + b), ACCEPTED, ""),
    ("Windows line ends", GENERATED, d.on_text(lambda b: b.replace(b"\n", b"\r\n")), ACCEPTED, ""),
    ("every cell quoted", GENERATED, lambda f, r: f.to_csv(index=False, quoting=1).encode(), ACCEPTED, ""),
    ("another order of rows", GENERATED, lambda f, r: f.iloc[r.permutation(len(f))], ACCEPTED, ""),
    ("another column", GENERATED, lambda f, r: f.assign(note="x"), ACCEPTED, ""),
)

VALUES: tuple[tuple[str, CleanData, Damage, frozenset[Outcome], str], ...] = (
    ("x100 in 30 % of rows", GENERATED, d.set_part("score", 0.3, lambda v: v * 100), WARNED, ""),
    ("x100 in 30 % of rows", LENDER, d.set_part("loan_amount", 0.3, lambda v: v * 100), STOPPED, ""),
    ("x100 in all rows", GENERATED, _leak("score", lambda f, r: f["score"] * 100), NOTICED, NEEDS_HISTORY),
    ("-999 where missing", GENERATED, _leak("amount", lambda f, r: f["amount"].fillna(-999)), WARNED, ""),
    ("9999 where missing", GENERATED, d.set_part("visits", 0.05, lambda v: v * 0 + 9999), WARNED, ""),
    ("lower case in 20 % of rows", GENERATED, d.set_part("grade", 0.2, lambda v: v.str.lower()), WARNED, ""),
    ("blanks in 20 % of rows", GENERATED, d.set_part("city", 0.2, lambda v: v + " "), WARNED, ""),
    ("a constant column", GENERATED, _leak("rate", lambda f, r: 0.5), WARNED, ""),
    ("an empty column", GENERATED, _leak("amount", lambda f, r: np.nan), WARNED, ""),
    ("60 % missing", GENERATED, d.set_part("rate", 0.6, lambda v: v * np.nan), WARNED, ""),
    (
        "free text as a category",
        GENERATED,
        _leak("city", lambda f, r: [f"note {i}" for i in range(len(f))]),
        WARNED,
        "",
    ),
    ("numbers and text in a category", GENERATED, d.set_part("city", 0.95, lambda v: v.str[5:]), WARNED, ""),
    (
        "dates in the future",
        LENDER,
        d.set_part("applied_on", 0.02, lambda v: pd.Series("2099-01-01", v.index)),
        REFUSED,
        "",
    ),
    (
        "default dates",
        LENDER,
        d.set_part("applied_on", 0.02, lambda v: pd.Series("1900-01-01", v.index)),
        WARNED,
        "",
    ),
    (
        "ids repeated",
        GENERATED,
        d.set_part("case_id", 0.02, lambda v: pd.Series(v.iloc[0], v.index)),
        QUARANTINED,
        "",
    ),
    ("one id", GENERATED, _leak("case_id", lambda f, r: "c1"), REFUSED, ""),
    ("one label", GENERATED, _leak("outcome", lambda f, r: 0), REFUSED, ""),
    (
        "two positives",
        GENERATED,
        _leak("outcome", lambda f, r: (np.arange(len(f)) < 2).astype(int)),
        REFUSED,
        "",
    ),
    (
        "all labels inverted",
        GENERATED,
        _leak("outcome", lambda f, r: 1 - f["outcome"]),
        NOTICED,
        NEEDS_HISTORY,
    ),
    (
        "20 % of labels inverted",
        GENERATED,
        _leak("outcome", lambda f, r: d.flipped(f["outcome"], 0.2, r)),
        NOTICED,
        "noise of labels looks like noise of the world; the model is worse, and the quality gate judges it",
    ),
    (
        "random labels",
        GENERATED,
        d.random_labels("outcome", lambda f, r: f),
        NOTICED,
        "nothing to learn is no fault of the file; the quality gate refuses the model",
    ),
    ("a third label", GENERATED, d.set_part("outcome", 0.05, lambda v: v * 0 + 2), WARNED, ""),
    ("10 % without label", GENERATED, d.set_part("outcome", 0.1, lambda v: v * np.nan), STOPPED, ""),
    ("ages x100", HOSPITAL, d.set_part("age", 0.02, lambda v: v * 100), STOPPED, ""),
    (
        "an unknown hospital",
        HOSPITAL,
        d.set_part("hospital", 0.05, lambda v: pd.Series("Nowhere", v.index)),
        WARNED,
        "",
    ),
)

LOGS: tuple[tuple[str, CleanData, Damage, frozenset[Outcome], str], ...] = (
    (
        "events in the future",
        SHOP,
        d.set_part("bought_at", 0.01, lambda v: pd.Series("2099-01-01", v.index)),
        REFUSED,
        "",
    ),
    (
        "milliseconds as times",
        SHOP,
        d.set_column("bought_at", lambda f, r: pd.to_datetime(f["bought_at"]).astype("int64") // 1000),
        REFUSED,
        "",
    ),
    ("histories under other users", SHOP, d.copied_users(0.2), WARNED | REFUSED, ""),
    ("a program with 30 % of events", SHOP, d.one_bot(0.3), WARNED | REFUSED, ""),
    ("each event twice", SHOP, lambda f, r: pd.concat([f, f]).sort_values("bought_at"), STOPPED, ""),
    ("swapped user and item", SHOP, d.swapped_names("user", "item"), REFUSED, ""),
    ("users without name", SHOP, d.set_part("user", 0.03, lambda v: pd.Series("", v.index)), STOPPED, ""),
    ("negative quantities", SHOP, d.set_part("quantity", 0.02, lambda v: -v), STOPPED, ""),
    ("all items the same", SHOP, d.set_column("item", lambda f, r: "I0000001"), NOTICED, ""),
)

FAULTS: tuple[Fault, ...] = tuple(
    Fault(f"{name} ({data.name})", family, data, damage, expected, explanation=explanation)
    for family, cases in (
        ("copies", COPIES),
        ("target in disguise", TARGETS),
        ("file", FILES),
        ("values", VALUES),
        ("log", LOGS),
    )
    for name, data, damage, expected, explanation in cases
) + tuple(
    Fault(f"{rows} clean rows ({data.name})", "clean", data, lambda frame, rng: frame, ACCEPTED, rows=rows)
    for rows, data in (
        (40, GENERATED),
        (60, LENDER),
        (100, GENERATED),
        (300, HOSPITAL),
        (60, COARSE),
        (60, NUMERIC),
    )
)
