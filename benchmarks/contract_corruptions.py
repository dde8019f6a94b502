"""Damage the public data sets in ways that belong to them, and name the rule of the contract that removes the rows.

`python -m benchmarks.contract_corruptions` prints the table contract, corruption, rule, rows caught.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from benchmarks.corruption import (
    Corruption,
    exchanged,
    missing,
    of_row_before,
    prefixed,
    rows_caught,
    sample_rows,
    scaled,
    set_to,
    shifted,
)
from tasks.data_access.locate import find_dataset
from tasks.settings import load


def _above(column: str, bound: float) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: pd.to_numeric(rows[column], errors="coerce") > bound


def _present(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: rows[column].notna()


def _sequences() -> tuple[Corruption, ...]:
    unique = "compound_columns_to_be_unique(user, item)"
    return (
        Corruption("an item twice", of_row_before("user", "item"), unique),
        Corruption("item 0, a padding", set_to("item", "0"), "match_regex(item)"),
        Corruption("users with a letter", prefixed("user", "u"), "match_regex(user)"),
    )


CORRUPTIONS: Mapping[str, tuple[Corruption, ...]] = {
    "fintech-risk.simulated": (
        Corruption("ages in months", scaled("age", 12), "be_between(age)"),
        Corruption("amounts in pence", scaled("loan_amount", 1000), "be_between(loan_amount)"),
        Corruption("terms in years", scaled("term_months", 1 / 12), "be_in_set(term_months)"),
    ),
    "fintech-risk.german_credit": (
        Corruption("ages in months", scaled("age", 12), "be_between(age)"),
        Corruption("two columns exchanged", exchanged("status", "savings"), "be_in_set(status)"),
        Corruption("duration in days", scaled("duration", 30), "be_between(duration)", _above("duration", 5)),
    ),
    "fintech-risk.give_me_some_credit": (
        Corruption("age not known, as 0", set_to("age", "0"), "be_between(age)"),
        Corruption(
            "another code",
            set_to("NumberOfTimes90DaysLate", "99"),
            "be_between(NumberOfTimes90DaysLate)",
        ),
        Corruption(
            "signs lost", scaled("MonthlyIncome", -1), "be_between(MonthlyIncome)", _above("MonthlyIncome", 1)
        ),
    ),
    "fintech-risk.hmeq": (
        Corruption("another spelling", set_to("JOB", "other"), "be_in_set(JOB)", _present("JOB")),
        Corruption("years as months", scaled("YOJ", 12), "be_between(YOJ)", _above("YOJ", 7)),
        Corruption("two columns exchanged", exchanged("REASON", "JOB"), "be_in_set(REASON)", _present("JOB")),
    ),
    "fintech-risk.home_credit_sample": (
        Corruption("days without sign", scaled("DAYS_BIRTH", -1), "be_between(DAYS_BIRTH)"),
        Corruption(
            "loan and instalment exchanged",
            exchanged("AMT_CREDIT", "AMT_ANNUITY"),
            "column_pair_values_a_to_be_greater_than_b(AMT_CREDIT, AMT_ANNUITY)",
        ),
        Corruption(
            "the code for no job, of people who work",
            set_to("DAYS_EMPLOYED", "365243.0"),
            "be_in_set(NAME_INCOME_TYPE)",
            lambda rows: rows["NAME_INCOME_TYPE"] == "Working",
        ),
        Corruption("scores as percentages", scaled("EXT_SOURCE_2", 1000), "be_between(EXT_SOURCE_2)"),
    ),
    "fintech-risk.telco_churn": (
        Corruption("charges lost", missing("TotalCharges"), "not_be_null(TotalCharges)", _above("tenure", 0)),
        Corruption(
            "charges exchanged",
            exchanged("MonthlyCharges", "TotalCharges"),
            "column_pair_values_a_to_be_greater_than_b(TotalCharges, MonthlyCharges)",
            _above("tenure", 3),
        ),
        Corruption(
            "no connection beside one",
            set_to("OnlineBackup", "No internet service"),
            "not_be_in_set(OnlineBackup)",
            lambda rows: rows["InternetService"] != "No",
        ),
        Corruption("1 as Yes", set_to("SeniorCitizen", "Yes"), "be_in_set(SeniorCitizen)"),
    ),
    "fintech-risk.adult": (
        Corruption(
            "level and number apart",
            shifted("education_num", -1),
            "column_pair_values_to_be_in_set(education, education_num)",
            _above("education_num", 1),
        ),
        Corruption("another spelling", set_to("sex", "female"), "be_in_set(sex)"),
        Corruption("country by another name", set_to("native_country", "USA"), "be_in_set(native_country)"),
    ),
    "fintech-risk.taiwan_credit_default": (
        Corruption("sex in words", set_to("SEX", "male"), "be_in_set(SEX)"),
        Corruption("years of birth", set_to("AGE", "1980"), "be_between(AGE)"),
        Corruption("payments with sign", set_to("PAY_AMT1", "-500"), "be_between(PAY_AMT1)"),
    ),
    "health-prediction.simulated": (
        Corruption("a shifted decimal", scaled("heart_rate", 10), "be_between(heart_rate)"),
        Corruption(
            "per cent as a fraction", scaled("oxygen_saturation", 0.01), "be_between(oxygen_saturation)"
        ),
        Corruption("another spelling", set_to("admission_type", "Emergency"), "be_in_set(admission_type)"),
    ),
    "health-prediction.cardio_70k": (
        Corruption(
            "pressures exchanged",
            exchanged("ap_hi", "ap_lo"),
            "column_pair_values_a_to_be_greater_than_b(ap_hi, ap_lo)",
            lambda rows: pd.to_numeric(rows["ap_hi"]) > pd.to_numeric(rows["ap_lo"]),
        ),
        Corruption("years instead of days", set_to("age", "52"), "be_between(age)"),
        Corruption("metres", scaled("height", 0.01), "be_between(height)"),
    ),
    "health-prediction.diabetes_130_hospitals": (
        Corruption("years instead of decades", set_to("age", "45"), "be_in_set(age)"),
        Corruption("hours instead of days", scaled("time_in_hospital", 24), "be_between(time_in_hospital)"),
        Corruption("sex not known", set_to("gender", "Unknown/Invalid"), "be_in_set(gender)"),
    ),
    "health-prediction.pima_diabetes": (
        Corruption("ages in months", scaled("Age", 12), "be_between(Age)"),
        Corruption("a shifted decimal", scaled("BMI", 10), "be_between(BMI)", _above("BMI", 10)),
        Corruption("mg per litre", scaled("Glucose", 10), "be_between(Glucose)", _above("Glucose", 60)),
    ),
    "health-prediction.heart_disease": (
        Corruption("mmol per litre", scaled("chol", 1 / 38.67), "be_between(chol)"),
        Corruption("cm Hg", scaled("trestbps", 0.1), "be_between(trestbps)"),
        Corruption("codes from 1", shifted("sex", 2), "be_in_set(sex)"),
    ),
    "health-prediction.heart_disease_sites": (
        Corruption("a shifted decimal", scaled("chol", 10), "be_between(chol)", _above("chol", 100)),
        Corruption("codes from 0", set_to("cp", "0"), "be_in_set(cp)"),
        Corruption("beats in ten seconds", scaled("thalach", 1 / 6), "be_between(thalach)"),
    ),
    "health-prediction.heart_failure": (
        Corruption(
            "per cent as a fraction", scaled("ejection_fraction", 0.01), "be_between(ejection_fraction)"
        ),
        Corruption("thousands", scaled("platelet", 0.001), "be_between(platelet)"),
        Corruption("micromoles per litre", scaled("serum_creatinine", 88.4), "be_between(serum_creatinine)"),
    ),
    "health-prediction.hepatitis": (
        Corruption("grams per litre", scaled("ALBUMIN", 10), "be_between(ALBUMIN)", _above("ALBUMIN", 1)),
        Corruption("codes from 0", set_to("STEROID", "0"), "be_in_set(STEROID)"),
        Corruption("years of birth", set_to("AGE", "1940"), "be_between(AGE)"),
    ),
    "health-prediction.chronic_kidney_disease": (
        Corruption("grams per litre", scaled("hemo", 10), "be_between(hemo)", _above("hemo", 3)),
        Corruption("thousands", scaled("wbcc", 0.001), "be_between(wbcc)", _above("wbcc", 0)),
        Corruption("cells one column off", exchanged("sod", "pot"), "be_between(pot)", _above("pot", 0)),
    ),
    "health-prediction.nhanes1_survival": (
        Corruption(
            "pressures exchanged",
            exchanged("Systolic BP", "Diastolic BP"),
            "column_pair_values_a_to_be_greater_than_b(Systolic BP, Diastolic BP)",
            _above("y", 0),
        ),
        Corruption(
            "mmol per litre",
            scaled("Serum Cholesterol", 1 / 38.67),
            "be_between(Serum Cholesterol)",
            _above("y", 0),
        ),
        Corruption("days of follow-up", scaled("y", 365), "be_between(y)", _above("y", 1)),
        Corruption("no sign", set_to("y", "0"), "not_be_in_set(y)"),
    ),
    "ecommerce-recommendation.simulated": (
        Corruption("another spelling", set_to("channel", "Web"), "be_in_set(channel)"),
        Corruption("returns", scaled("quantity", -1), "be_between(quantity)"),
        Corruption("items of another shop", set_to("item", "B0012"), "match_regex(item)"),
    ),
    "ecommerce-recommendation.movielens_100k": (
        Corruption("per cent instead of stars", scaled("rating", 20), "be_between(rating)"),
        Corruption("milliseconds", scaled("time", 1000), "type(time)"),
        Corruption("the film without a name", set_to("item", "267"), "not_be_in_set(item)"),
    ),
    "ecommerce-recommendation.movielens_1m": (
        Corruption(
            "a film twice",
            of_row_before("userID", "movieID"),
            "compound_columns_to_be_unique(userID, movieID)",
        ),
        Corruption("positions from 0", set_to("position", 0), "be_between(position)"),
        Corruption(
            "two films at one place",
            of_row_before("userID", "position"),
            "compound_columns_to_be_unique(userID, position)",
        ),
    ),
    "ecommerce-recommendation.online_retail": (
        Corruption(
            "cancellations", prefixed("InvoiceNo", "C"), "not_match_regex(InvoiceNo)", _present("CustomerID")
        ),
        Corruption("returns", scaled("Quantity", -1), "be_between(Quantity)", _present("CustomerID")),
        Corruption(
            "another century",
            set_to("InvoiceDate", "2110-12-01 08:26:00"),
            "be_between(InvoiceDate)",
            lambda rows: rows["StockCode"].str.fullmatch(r"\d{5}") & rows["CustomerID"].notna(),
        ),
    ),
    "ecommerce-recommendation.amazon_toys_games": _sequences(),
    "ecommerce-recommendation.amazon_sports_outdoors": _sequences(),
    "ecommerce-recommendation.taobao_multibehaviour": (
        Corruption(
            "bought twice",
            of_row_before("file", "uid", "sid"),
            "compound_columns_to_be_unique(file, uid, sid)",
        ),
        Corruption("items with a letter", prefixed("sid", "i"), "match_regex(sid)"),
        Corruption("users lost", missing("uid"), "present(uid)"),
    ),
    "ecommerce-recommendation.yoochoose_100k_sessions": (
        Corruption("items cut short", set_to("ItemId", "2145"), "match_regex(ItemId)"),
        Corruption("milliseconds", scaled("Time", 1000), "type(Time)"),
        Corruption("another month", shifted("Time", 60 * 86_400), "be_between(Time)"),
    ),
    "ecommerce-recommendation.diginetica_purchases": (
        Corruption("digits exchanged", set_to("eventdate", "2061-05-09"), "be_between(eventdate)"),
        Corruption("items lost", missing("itemId"), "present(itemId)"),
        Corruption("times before the session", shifted("timeframe", -(10**9)), "be_between(timeframe)"),
    ),
    "ecommerce-recommendation.groceries_baskets": (
        Corruption(
            "an item twice", of_row_before("basket", "item"), "compound_columns_to_be_unique(basket, item)"
        ),
        Corruption("items lost", missing("item"), "present(item)"),
        Corruption("baskets lost", missing("basket"), "present(basket)"),
    ),
}


def main() -> None:
    """Corrupt every data set, and print what its contract makes of it."""
    print("| contract | corruption | rule | rows | caught |\n|---|---|---|---|---|")
    for name, corruptions in CORRUPTIONS.items():
        case, _, data = name.partition(".")
        source = find_dataset(case, data, None, load())
        with tempfile.TemporaryDirectory() as folder:
            counts = rows_caught(sample_rows(source, Path(folder)), source.contract, corruptions)
        for corruption, (rows, caught) in zip(corruptions, counts, strict=True):
            print(f"| {name} | {corruption.name} | `{corruption.rule_name}` | {rows} | {caught} |")


if __name__ == "__main__":
    main()
