"""The lender's world: a calibrated oracle, informative gaps, and interactions that a line cannot follow."""

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml.simulators import Simulation
from ml.simulators.lender import simulate


@pytest.fixture(scope="module")
def lender() -> Simulation:
    return simulate(40_000, 0)


def test_ids_are_unique_and_dates_fill_two_years_in_order(lender: Simulation) -> None:
    rows = lender.rows
    assert rows["application_id"].is_unique
    assert rows["application_id"].iloc[11] == "A0000012"
    assert rows["applied_on"].is_monotonic_increasing
    assert rows["applied_on"].min() == pd.Timestamp("2024-01-01")
    assert rows["applied_on"].max() == pd.Timestamp("2025-12-31")
    assert (rows["applied_on"].dt.normalize() == rows["applied_on"]).all()


def test_about_one_in_eight_defaults(lender: Simulation) -> None:
    assert set(lender.rows["defaulted"]) == {0, 1}
    assert 0.11 < lender.rows["defaulted"].mean() < 0.13


def test_the_oracle_is_calibrated_in_every_tenth(lender: Simulation) -> None:
    probability, defaulted = lender.oracle["probability"], lender.rows["defaulted"]
    tenth = pd.qcut(probability, 10, labels=False)
    error = np.sqrt((probability * (1 - probability)).groupby(tenth).sum())
    gap = (defaulted - probability).groupby(tenth).sum()
    assert (gap.abs() < 4 * error).all()


def test_income_is_left_out_by_the_self_employed_and_with_it_the_debt_ratio(lender: Simulation) -> None:
    rows = lender.rows
    hidden = rows["income"].isna()
    left_out = hidden.groupby(rows["employment"]).mean()
    assert left_out["self_employed"] > 2.5 * left_out["employed"]
    assert rows["debt_to_income"].isna().equals(hidden)
    # The poor leave it out more often, and default more often.
    defaulted = rows["defaulted"].groupby([rows["employment"], hidden]).mean()
    assert defaulted["employed", True] > defaulted["employed", False]


def test_gaps_say_that_there_is_no_credit_file_job_or_account(lender: Simulation) -> None:
    rows = lender.rows
    assert rows["utilisation"].isna().equals(rows["credit_history_months"] == 0)
    assert rows["savings_balance"].isna().equals(rows["existing_customer"] == "no")
    idle = rows["employment"].isin(["unemployed", "retired", "student"])
    assert rows["employment_years"].isna().equals(idle)
    assert rows["age"].where(rows["utilisation"].isna()).mean() < rows["age"].mean() - 8


def test_numbers_are_possible(lender: Simulation) -> None:
    rows = lender.rows
    assert rows["age"].between(18, 80).all()
    assert rows["utilisation"].dropna().between(0, 1).all()
    assert rows["term_months"].isin([12, 24, 36, 48, 60, 72]).all()
    assert rows["loan_amount"].between(500, 60_000).all()
    assert (rows["credit_history_months"] <= 12 * (rows["age"] - 18) + 1).all()
    assert (rows["employment_years"].fillna(0) <= rows["age"] - 18).all()


def test_sex_acts_through_income_only(lender: Simulation) -> None:
    rows = lender.rows
    income = rows["income"].groupby(rows["sex"]).median()
    assert income["female"] < income["male"]
    residual = (rows["defaulted"] - lender.oracle["probability"]).groupby(rows["sex"])
    assert (residual.mean().abs() < 4 * residual.sem()).all()


def test_the_economy_worsens_slowly(lender: Simulation) -> None:
    by_year = lender.oracle["probability"].groupby(lender.rows["applied_on"].dt.year).mean()
    assert 0.002 < by_year[2025] - by_year[2024] < 0.04


def test_a_tree_beats_a_line_and_the_truth_beats_the_tree(lender: Simulation) -> None:
    truth = lender.rows["defaulted"]
    features = lender.rows.drop(columns=["application_id", "applied_on", "sex", "defaulted"])
    words = features.columns[features.dtypes == "str"]
    numbers = features.columns.difference(words)
    learnt = np.random.default_rng(0).permutation(len(truth)) < 20_000

    scale = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    line = make_pipeline(
        make_column_transformer((scale, numbers), (OneHotEncoder(), words)), LogisticRegression(max_iter=500)
    ).fit(features[learnt], truth[learnt])
    coded = features.astype(dict.fromkeys(words, "category"))
    tree = lgb.LGBMClassifier(
        n_estimators=150, learning_rate=0.06, num_leaves=15, min_child_samples=40, n_jobs=1, verbose=-1
    ).fit(coded[learnt], truth[learnt])

    held = truth[~learnt]
    line_auc = roc_auc_score(held, line.predict_proba(features[~learnt])[:, 1])
    tree_auc = roc_auc_score(held, tree.predict_proba(coded[~learnt])[:, 1])
    true_auc = roc_auc_score(held, lender.oracle["probability"][~learnt])
    assert 0.80 < true_auc < 0.845
    assert tree_auc > line_auc + 0.01
    assert true_auc > tree_auc + 0.005
