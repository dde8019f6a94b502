"""Simulate loan applications at a fictitious lender, with the true probability of each default."""

import numpy as np
import pandas as pd
from scipy.special import expit

from ml.simulators.draws import Floats, draw_categories, identifiers, spawn_generators
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
    """Simulate one row per application from January 2024 to December 2025, by date; about 12 % default.

    `income` (per year), `savings_balance` and `loan_amount` are in pounds; `debt_to_income` and `utilisation` are
    ratios; `defaulted` is 1 or 0. `sex` is correlated with income and has no effect of its own, `age` has one.

    Income, and with it `debt_to_income`, is missing most often for self-employed and poorly paid applicants;
    utilisation is missing without a credit history, savings for new customers.

    `oracle` has `application_id` and `probability`, from which `defaulted` was drawn. It uses the values that are
    missing in the table.
    """
    days_rng, people_rng, credit_rng, loans_rng, outcome_rng, missing_rng = spawn_generators(rows, seed, 6)
    people = _applicants(people_rng, rows)
    complete = _loans(loans_rng, people.join(_credit_files(credit_rng, people)))
    day = _days(days_rng, rows)
    probability = expit(_log_odds(complete, day))

    applications = _mask_incomes(missing_rng, complete)
    applications.insert(0, "application_id", identifiers("A", np.arange(1, rows + 1)))
    applications.insert(1, "applied_on", _FIRST_DAY + (day * 86_400).astype("timedelta64[s]"))
    applications["defaulted"] = (outcome_rng.random(rows) < probability).astype(np.int64)
    oracle = applications[["application_id"]].assign(probability=probability)
    return Simulation(applications, oracle)


def _days(rng: np.random.Generator, rows: int) -> Floats:
    """Draw whole days since the first day, ascending; later days have more applications, as the lender grows."""
    return np.sort(np.floor(_DAYS * rng.random(rows) ** 0.85))


def _applicants(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    age = np.round(18 + 62 * rng.beta(1.6, 3.0, rows))
    sex = draw_categories(rng, rows, {"female": -0.1, "male": 0.0})
    region = draw_categories(rng, rows, dict.fromkeys(_REGION_PAY, 0.0) | {"london": 0.6, "midlands": 0.4})
    employment = draw_categories(
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
    housing = draw_categories(
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
    # Strain correlates the columns of a credit file; it affects default only through them.
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


def _loans(rng: np.random.Generator, applications: pd.DataFrame) -> pd.DataFrame:
    """Add the loan: purpose, amount (pounds), term (months) and channel."""
    rows, self_employed = (
        len(applications),
        (applications["employment"] == "self_employed").to_numpy(dtype=float),
    )
    home_owner = applications["housing"].isin(["own", "mortgage"]).to_numpy(dtype=float)
    young = expit((30 - applications["age"].to_numpy()) / 4)
    purpose = draw_categories(
        rng,
        rows,
        {
            "car": np.full(rows, 1.0),
            "debt_consolidation": 0.6 + 0.15 * applications["open_lines"].to_numpy(),
            "home_improvement": -0.8 + 1.6 * home_owner,
            "business": -1.0 + 2.0 * self_employed,
            "medical": np.full(rows, -0.6),
            "holiday": np.full(rows, -0.3),
            "education": -1.6 + 2.2 * young,
            "other": np.full(rows, 0.0),
        },
    )
    size = purpose.map(_PURPOSE_AMOUNT) + 0.35 * np.log(applications["income"] / 28_000)
    amount = np.exp(size + 0.55 * rng.standard_normal(rows)).clip(500, 60_000).round(-2)
    years = np.clip(np.round(1.2 + np.log(amount / 3_000) + 0.9 * rng.standard_normal(rows)), 1, 6)
    channel = draw_categories(
        rng, rows, {"online": 0.6 + 0.8 * young, "branch": np.full(rows, 0.0), "broker": -0.5}
    )
    return applications.assign(
        loan_amount=amount, purpose=purpose, term_months=(12 * years).astype(np.int64), channel=channel
    )


def _log_odds(applications: pd.DataFrame, day: Floats) -> Floats:
    """Return the log-odds of default, from the applicant, the debts, interactions and the economy."""
    return (
        -3.68
        + _applicant_effect(applications)
        + _debt_effect(applications)
        + _interaction_effect(applications)
        + _economy_effect(day)
    )


def _applicant_effect(applications: pd.DataFrame) -> Floats:
    age, no_credit_file = applications["age"], applications["utilisation"].isna()
    employment_years = applications["employment_years"].fillna(1.0).clip(upper=8)
    savings = np.log10(applications["savings_balance"].fillna(3_000).clip(lower=100) / 3_000)
    log_odds: Floats = (
        0.35 * ((age - 46) / 14) ** 2
        - 0.07 * employment_years
        - 0.40 * np.log(applications["income"] / 28_000)
        - 0.50 * savings
        + 0.35 * no_credit_file
        - 0.30 * (applications["existing_customer"] == "yes")
        + 0.30 * (applications["channel"] == "broker")
        + 0.55 * (applications["employment"] == "unemployed")
        + 0.20 * (applications["housing"] == "rent")
    ).to_numpy()
    return log_odds


def _debt_effect(applications: pd.DataFrame) -> Floats:
    """Return the effect of debts and repayments, which is zero below a threshold."""
    repayment = 12 * applications["loan_amount"] / applications["term_months"] / applications["income"]
    log_odds: Floats = (
        4.0 * (applications["debt_to_income"] - 0.35).clip(0, 0.5)
        + 3.0 * (repayment - 0.15).clip(0, 0.4)
        + 0.45 * np.minimum(applications["inquiries_6m"], 4) ** 0.5
    ).to_numpy()
    return log_odds


def _interaction_effect(applications: pd.DataFrame) -> Floats:
    utilisation = applications["utilisation"].fillna(0.3)
    amount = np.log(applications["loan_amount"] / 8_000)
    young_self_employed = (applications["employment"] == "self_employed") & (applications["age"] < 32)
    slope = applications["purpose"].map(
        {"business": 0.9, "holiday": 0.7, "home_improvement": -0.7, "car": -0.3}
    )
    log_odds: Floats = (
        1.8 * (utilisation - 0.35) * np.minimum(applications["delinquencies_2y"], 3)
        + 1.1 * young_self_employed
        + slope.fillna(0.0) * amount
        + 0.9 * ((utilisation > 0.6) & (applications["inquiries_6m"] >= 2))
        + 0.5 * ((applications["housing"] == "rent") & (applications["region"] == "london"))
    ).to_numpy()
    return log_odds


def _economy_effect(day: Floats) -> Floats:
    """Return a slow increase over the two years, with small peaks around the new year."""
    return 0.30 * (day / _DAYS - 0.5) + 0.08 * np.cos(2 * np.pi * day / 365.25)


def _mask_incomes(rng: np.random.Generator, applications: pd.DataFrame) -> pd.DataFrame:
    """Remove incomes at random, and with them the ratio of debt to income."""
    self_employed = applications["employment"] == "self_employed"
    poor = -np.log(applications["income"] / 28_000)
    missing = rng.random(len(applications)) < expit(-3.2 + 1.9 * self_employed + 0.8 * poor)
    return applications.assign(
        income=applications["income"].mask(missing),
        debt_to_income=applications["debt_to_income"].mask(missing),
    )
