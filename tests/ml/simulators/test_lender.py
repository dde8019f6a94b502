"""The lender simulator: a calibrated oracle, informative missing values, and nonlinear effects."""

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


def test_the_oracle_is_calibrated_in_every_decile(lender: Simulation) -> None:
    probability, defaulted = lender.oracle["probability"], lender.rows["defaulted"]
    decile = pd.qcut(probability, 10, labels=False)
    error = np.sqrt((probability * (1 - probability)).groupby(decile).sum())
    gap = (defaulted - probability).groupby(decile).sum()
    assert (gap.abs() < 4 * error).all()


def test_income_and_debt_ratio_are_missing_most_often_for_the_self_employed(lender: Simulation) -> None:
    rows = lender.rows
    missing = rows["income"].isna()
    missing_share = missing.groupby(rows["employment"]).mean()
    assert missing_share["self_employed"] > 2.5 * missing_share["employed"]
    assert rows["debt_to_income"].isna().equals(missing)
    # It is missing more often for the poor, who default more often.
    defaulted = rows["defaulted"].groupby([rows["employment"], missing]).mean()
    assert defaulted["employed", True] > defaulted["employed", False]


def test_missing_values_mean_no_credit_file_job_or_account(lender: Simulation) -> None:
    rows = lender.rows
    assert rows["utilisation"].isna().equals(rows["credit_history_months"] == 0)
    assert rows["savings_balance"].isna().equals(rows["existing_customer"] == "no")
    not_employed = rows["employment"].isin(["unemployed", "retired", "student"])
    assert rows["employment_years"].isna().equals(not_employed)
    assert rows["age"].where(rows["utilisation"].isna()).mean() < rows["age"].mean() - 8


def test_numbers_are_plausible(lender: Simulation) -> None:
    rows = lender.rows
    assert rows["age"].between(18, 80).all()
    assert rows["utilisation"].dropna().between(0, 1).all()
    assert rows["term_months"].isin([12, 24, 36, 48, 60, 72]).all()
    assert rows["loan_amount"].between(500, 60_000).all()
    assert (rows["credit_history_months"] <= 12 * (rows["age"] - 18) + 1).all()
    assert (rows["employment_years"].fillna(0) <= rows["age"] - 18).all()


def test_sex_has_an_effect_through_income_only(lender: Simulation) -> None:
    rows = lender.rows
    income = rows["income"].groupby(rows["sex"]).median()
    assert income["female"] < income["male"]
    residual = (rows["defaulted"] - lender.oracle["probability"]).groupby(rows["sex"])
    assert (residual.mean().abs() < 4 * residual.sem()).all()


def test_the_economy_worsens_slowly(lender: Simulation) -> None:
    by_year = lender.oracle["probability"].groupby(lender.rows["applied_on"].dt.year).mean()
    assert 0.002 < by_year[2025] - by_year[2024] < 0.04


def test_trees_beat_a_linear_model_and_the_oracle_beats_the_trees(lender: Simulation) -> None:
    truth = lender.rows["defaulted"]
    features = lender.rows.drop(columns=["application_id", "applied_on", "sex", "defaulted"])
    text_columns = features.columns[features.dtypes == "str"]
    numbers = features.columns.difference(text_columns)
    in_train = np.random.default_rng(0).permutation(len(truth)) < 20_000

    scale = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    linear = make_pipeline(
        make_column_transformer((scale, numbers), (OneHotEncoder(), text_columns)),
        LogisticRegression(max_iter=500),
    ).fit(features[in_train], truth[in_train])
    coded = features.astype(dict.fromkeys(text_columns, "category"))
    tree = lgb.LGBMClassifier(
        n_estimators=150, learning_rate=0.06, num_leaves=15, min_child_samples=40, n_jobs=1, verbose=-1
    ).fit(coded[in_train], truth[in_train])

    test_truth = truth[~in_train]
    linear_auc = roc_auc_score(test_truth, linear.predict_proba(features[~in_train])[:, 1])
    tree_auc = roc_auc_score(test_truth, tree.predict_proba(coded[~in_train])[:, 1])
    true_auc = roc_auc_score(test_truth, lender.oracle["probability"][~in_train])
    assert 0.80 < true_auc < 0.845
    assert tree_auc > linear_auc + 0.01
    assert true_auc > tree_auc + 0.005
