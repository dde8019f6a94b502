"""Loan applications at a made-up lender, with the probability that each one's default was drawn with."""

import numpy as np
import pandas as pd
from scipy.special import expit

from ml.simulators.draws import Floats, category, generators, identifiers
from ml.simulators.simulation import Simulation

_FIRST_DAY = np.datetime64("2024-01-01", "s")
_DAYS = 731  # up to and including 2025-12-31

_REGION_PAY = {
    "north_east": -0.10,
    "north_west": -0.05,
    "midlands": -0.03,
    "east": 0.03,
    "london": 0.20,
    "south_east": 0.10,
    "south_west": 0.0,
    "wales": -0.08,
    "scotland": 0.0,
}
_EMPLOYMENT_PAY = {
    "employed": 0.0,
    "self_employed": 0.05,
    "part_time": -0.60,
    "unemployed": -1.05,
    "retired": -0.50,
    "student": -1.0,
}
_PURPOSE_AMOUNT = {
    "car": 9.1,
    "debt_consolidation": 9.2,
    "home_improvement": 9.3,
    "business": 9.6,
    "medical": 8.3,
    "holiday": 8.1,
    "education": 8.7,
    "other": 8.5,
}


def simulate(rows: int, seed: int) -> Simulation:
    """One row per application from January 2024 to December 2025, in order of date; about 12 % default.

    `income` (of a year), `savings_balance` and `loan_amount` are pounds; `debt_to_income` and `utilisation`
    are shares; `defaulted` is 1 or 0. `sex` is correlated with income but has no effect of its own, `age`
    has.

    Applicants leave out their income, and with it `debt_to_income`, most often when self-employed or poorly
    paid; those without a credit history have no utilisation; savings are known of existing customers only.

    `oracle` holds `application_id` and `probability`, the probability that `defaulted` was drawn with. It
    knows the values that applicants left out.
    """
    when, who, credit, loan, outcome, hiding = generators(rows, seed, 6)
    people = _applicants(who, rows)
    known = _loans(loan, people.join(_credit_files(credit, people)))
    day = _days(when, rows)
    probability = expit(_log_odds(known, day))

    applications = _hide(hiding, known)
    applications.insert(0, "application_id", identifiers("A", np.arange(1, rows + 1)))
    applications.insert(1, "applied_on", _FIRST_DAY + (day * 86_400).astype("timedelta64[s]"))
    applications["defaulted"] = (outcome.random(rows) < probability).astype(np.int64)
    oracle = applications[["application_id"]].assign(probability=probability)
    return Simulation(applications, oracle)


def _days(rng: np.random.Generator, rows: int) -> Floats:
    """Whole days since the first day, ascending; the lender grows, so later days have more applications."""
    return np.sort(np.floor(_DAYS * rng.random(rows) ** 0.85))


def _applicants(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    age = np.round(18 + 62 * rng.beta(1.6, 3.0, rows))
    sex = category(rng, rows, {"female": -0.1, "male": 0.0})
    region = category(rng, rows, dict.fromkeys(_REGION_PAY, 0.0) | {"london": 0.6, "midlands": 0.4})
    employment = category(
        rng,
        rows,
        {
            "employed": np.full(rows, 2.2),
            "self_employed": 0.5 - ((age - 42) / 22) ** 2,
            "part_time": np.full(rows, 0.3),
            "unemployed": np.full(rows, -0.8),
            "retired": 0.45 * (age - 63),
            "student": 2.5 - 0.45 * (age - 18),
        },
    )
    working = employment.isin(["employed", "self_employed", "part_time"])
    years = np.minimum(rng.exponential(6.5, rows), age - 18).round(1)
    pay = 10.5 + employment.map(_EMPLOYMENT_PAY) + region.map(_REGION_PAY) - 0.10 * (sex == "female")
    hump = -0.35 * ((age - 47) / 20) ** 2
    spread = np.where(employment == "self_employed", 0.55, 0.35)
    income = np.exp(pay + hump + spread * rng.standard_normal(rows)).round(-2).clip(lower=1200)
    housing = category(
        rng,
        rows,
        {
            "rent": np.full(rows, 0.9),
            "mortgage": (1.1 * np.log(income / 30_000) + 0.7 - ((age - 45) / 18) ** 2).to_numpy(),
            "own": 0.09 * (age - 55),
            "with_family": 1.6 - 0.14 * (age - 18),
        },
    )
    return pd.DataFrame(
        {
            "sex": sex,
            "age": age.astype(np.int64),
            "region": region,
            "employment": employment,
            "employment_years": pd.Series(years).where(working),
            "income": income,
            "housing": housing,
        }
    )


def _credit_files(rng: np.random.Generator, people: pd.DataFrame) -> pd.DataFrame:
    rows, adult_years = len(people), people["age"].to_numpy() - 18
    income = np.log(people["income"].to_numpy() / 28_000)
    # Strain ties the parts of a credit file together; it acts on default only through them.
    strain = rng.standard_normal(rows) - 0.35 * income
    has_file = rng.random(rows) < expit(0.3 + 0.28 * adult_years)
    months = np.where(has_file, np.ceil(12 * adult_years * rng.beta(2.5, 1.5, rows)) + 1, 0)
    utilisation = expit(-0.7 + 0.8 * strain + 0.8 * rng.standard_normal(rows)).round(3)
    delinquencies = rng.poisson(np.exp(-1.15 + 0.75 * strain)) * has_file
    existing = rng.random(rows) < expit(-0.9 + 0.004 * months)
    savings = np.exp(7.6 + 0.9 * income - 0.6 * strain + 0.9 * rng.standard_normal(rows)).round(-1)
    return pd.DataFrame(
        {
            "credit_history_months": months.astype(np.int64),
            "open_lines": rng.poisson(1.5 + 0.010 * months) * has_file,
            "utilisation": np.where(has_file, utilisation, np.nan),
            "delinquencies_2y": np.minimum(delinquencies, 12),
            "inquiries_6m": rng.poisson(np.exp(-0.2 + 0.35 * strain)),
            "debt_to_income": np.exp(-1.35 + 0.30 * strain + 0.45 * rng.standard_normal(rows))
            .clip(0, 2)
            .round(3),
            "existing_customer": np.where(existing, "yes", "no"),
            "savings_balance": np.where(existing, savings, np.nan),
        }
    ).astype({"existing_customer": "str"})


def _loans(rng: np.random.Generator, known: pd.DataFrame) -> pd.DataFrame:
    """Append what was asked for: purpose, amount (pounds), term (months) and channel."""
    rows, self_employed = len(known), (known["employment"] == "self_employed").to_numpy(dtype=float)
    home_owner = known["housing"].isin(["own", "mortgage"]).to_numpy(dtype=float)
    young = expit((30 - known["age"].to_numpy()) / 4)
    purpose = category(
        rng,
        rows,
        {
            "car": np.full(rows, 1.0),
            "debt_consolidation": 0.6 + 0.15 * known["open_lines"].to_numpy(),
            "home_improvement": -0.8 + 1.6 * home_owner,
            "business": -1.0 + 2.0 * self_employed,
            "medical": np.full(rows, -0.6),
            "holiday": np.full(rows, -0.3),
            "education": -1.6 + 2.2 * young,
            "other": np.full(rows, 0.0),
        },
    )
    size = purpose.map(_PURPOSE_AMOUNT) + 0.35 * np.log(known["income"] / 28_000)
    amount = np.exp(size + 0.55 * rng.standard_normal(rows)).clip(500, 60_000).round(-2)
    years = np.clip(np.round(1.2 + np.log(amount / 3_000) + 0.9 * rng.standard_normal(rows)), 1, 6)
    channel = category(rng, rows, {"online": 0.6 + 0.8 * young, "branch": np.full(rows, 0.0), "broker": -0.5})
    return known.assign(
        loan_amount=amount, purpose=purpose, term_months=(12 * years).astype(np.int64), channel=channel
    )


def _log_odds(known: pd.DataFrame, day: Floats) -> Floats:
    """Log-odds of default: what an applicant has, what is asked for, how both interact, and the economy."""
    return -3.68 + _standing(known) + _burden(known) + _interactions(known) + _economy(day)


def _standing(known: pd.DataFrame) -> Floats:
    age, no_file = known["age"], known["utilisation"].isna()
    settled = known["employment_years"].fillna(1.0).clip(upper=8)
    savings = np.log10(known["savings_balance"].fillna(3_000).clip(lower=100) / 3_000)
    log_odds: Floats = (
        0.35 * ((age - 46) / 14) ** 2
        - 0.07 * settled
        - 0.40 * np.log(known["income"] / 28_000)
        - 0.50 * savings
        + 0.35 * no_file
        - 0.30 * (known["existing_customer"] == "yes")
        + 0.30 * (known["channel"] == "broker")
        + 0.55 * (known["employment"] == "unemployed")
        + 0.20 * (known["housing"] == "rent")
    ).to_numpy()
    return log_odds


def _burden(known: pd.DataFrame) -> Floats:
    """Debts and the loan hurt beyond a threshold rather than in proportion."""
    repayment = 12 * known["loan_amount"] / known["term_months"] / known["income"]
    log_odds: Floats = (
        4.0 * (known["debt_to_income"] - 0.35).clip(0, 0.5)
        + 3.0 * (repayment - 0.15).clip(0, 0.4)
        + 0.45 * np.minimum(known["inquiries_6m"], 4) ** 0.5
    ).to_numpy()
    return log_odds


def _interactions(known: pd.DataFrame) -> Floats:
    utilisation = known["utilisation"].fillna(0.3)
    amount = np.log(known["loan_amount"] / 8_000)
    young_self_employed = (known["employment"] == "self_employed") & (known["age"] < 32)
    slope = known["purpose"].map({"business": 0.9, "holiday": 0.7, "home_improvement": -0.7, "car": -0.3})
    log_odds: Floats = (
        1.8 * (utilisation - 0.35) * np.minimum(known["delinquencies_2y"], 3)
        + 1.1 * young_self_employed
        + slope.fillna(0.0) * amount
        + 0.9 * ((utilisation > 0.6) & (known["inquiries_6m"] >= 2))
        + 0.5 * ((known["housing"] == "rent") & (known["region"] == "london"))
    ).to_numpy()
    return log_odds


def _economy(day: Floats) -> Floats:
    """A slow worsening over the two years, and a little more default on loans taken near the new year."""
    return 0.30 * (day / _DAYS - 0.5) + 0.08 * np.cos(2 * np.pi * day / 365.25)


def _hide(rng: np.random.Generator, known: pd.DataFrame) -> pd.DataFrame:
    """Leave out incomes; a lender without the income cannot work out debt to income either."""
    self_employed = known["employment"] == "self_employed"
    poor = -np.log(known["income"] / 28_000)
    left_out = rng.random(len(known)) < expit(-3.2 + 1.9 * self_employed + 0.8 * poor)
    return known.assign(
        income=known["income"].mask(left_out), debt_to_income=known["debt_to_income"].mask(left_out)
    )
