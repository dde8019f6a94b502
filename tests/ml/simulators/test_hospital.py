"""The hospital's world: patients with a hidden frailty, tests taken for a reason, and a calibrated oracle."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml.simulators import Simulation
from ml.simulators.hospital import simulate


@pytest.fixture(scope="module")
def hospital() -> Simulation:
    return simulate(20_000, 0)


@pytest.fixture(scope="module")
def back(hospital: Simulation) -> pd.Series:
    return (hospital.rows["readmitted_within_30_days"] == "yes").astype(float)


@pytest.fixture(scope="module")
def foretold(hospital: Simulation, back: pd.Series) -> pd.Series:
    """Probabilities of a logistic regression for patients it has not learnt from."""
    rows = hospital.rows
    features = rows.drop(columns=["encounter_id", "patient_id", "admitted_on", "readmitted_within_30_days"])
    words = features.columns[features.dtypes == "str"]
    scale = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    model = make_pipeline(
        make_column_transformer(
            (scale, features.columns.difference(words)), (OneHotEncoder(handle_unknown="ignore"), words)
        ),
        LogisticRegression(max_iter=500),
    )
    folds = GroupKFold(3)
    chance = cross_val_predict(
        model, features, back, groups=rows["patient_id"], cv=folds, method="predict_proba"
    )
    return pd.Series(chance[:, 1])


def test_patients_come_back_and_encounters_are_unique(hospital: Simulation) -> None:
    rows = hospital.rows
    assert rows["encounter_id"].is_unique
    visits = rows["patient_id"].value_counts()
    assert visits.max() <= 12
    assert 3 < visits.mean() < 6
    person = rows.groupby("patient_id")
    assert (person[["sex", "ethnicity", "chronic_conditions", "distance_km"]].nunique() == 1).all(axis=None)
    assert (person["age"].max() - person["age"].min()).max() <= 4


def test_about_one_in_seven_comes_back(hospital: Simulation, back: pd.Series) -> None:
    assert set(hospital.rows["readmitted_within_30_days"]) == {"yes", "no"}
    assert 0.13 < back.mean() < 0.16


def test_a_readmission_is_no_row_and_follow_up_is_complete(hospital: Simulation) -> None:
    rows = hospital.rows
    assert rows["admitted_on"].is_monotonic_increasing
    discharged = rows["admitted_on"] + pd.to_timedelta(rows["length_of_stay"], unit="D")
    gap = rows["admitted_on"] - discharged.groupby(rows["patient_id"]).shift()
    assert gap.min() >= pd.Timedelta(days=30)
    assert rows["admitted_on"].min() == pd.Timestamp("2022-01-01")
    assert (discharged + pd.Timedelta(days=30)).max() <= pd.Timestamp("2025-12-31")


def test_prior_admissions_count_the_rows_before(hospital: Simulation) -> None:
    rows = hospital.rows
    person = rows.groupby("patient_id")
    before_the_period = rows["prior_admissions"] - person.cumcount()
    assert before_the_period.min() == 0
    assert (before_the_period.groupby(rows["patient_id"]).nunique() == 1).all()


def test_the_oracle_is_calibrated_in_every_tenth(hospital: Simulation, back: pd.Series) -> None:
    probability = hospital.oracle["probability"]
    tenth = pd.qcut(probability, 10, labels=False)
    error = np.sqrt((probability * (1 - probability)).groupby(tenth).sum())
    assert ((back - probability).groupby(tenth).sum().abs() < 4 * error).all()


def test_a_model_reaches_about_four_fifths_of_the_oracle(
    hospital: Simulation, back: pd.Series, foretold: pd.Series
) -> None:
    true_auc = roc_auc_score(back, hospital.oracle["probability"])
    assert 0.78 < true_auc < 0.83
    assert 0.74 < (roc_auc_score(back, foretold) - 0.5) / (true_auc - 0.5) < 0.90


def test_what_a_model_misses_is_shared_by_the_rows_of_a_patient(
    hospital: Simulation, back: pd.Series, foretold: pd.Series
) -> None:
    """Residuals of neighbouring rows of one patient are correlated; given the frailty they are not."""
    patient = hospital.rows["patient_id"]

    def correlation(residual: pd.Series) -> float:
        earlier = residual.groupby(patient).shift()
        return residual.corr(earlier)

    assert correlation(back - foretold) > 0.04
    assert abs(correlation(back - hospital.oracle["probability"])) < 0.03


def test_blood_is_tested_by_severity_and_by_site(hospital: Simulation) -> None:
    rows = hospital.rows
    tested = rows["lactate"].notna()
    breaths = rows["respiratory_rate"]
    assert tested[breaths >= 21].mean() > tested[breaths <= 14].mean() + 0.15
    by_site = tested.groupby(rows["hospital"]).mean()
    assert len(by_site) == 8
    assert by_site["Ashdown"] > by_site["Glenmoor"] + 0.2
    # One tube, one panel; albumin is an extra of it.
    assert rows["creatinine"].isna().equals(rows["sodium"].isna())
    assert rows.loc[rows["creatinine"].isna(), "albumin"].isna().all()


def test_sites_differ_in_case_mix_and_codes_have_a_long_tail(hospital: Simulation) -> None:
    rows = hospital.rows
    counts = rows["diagnosis"].value_counts()
    assert len(counts) == 40
    assert counts.iloc[0] > 15 * counts.iloc[-1]
    heart = rows["diagnosis"].str.startswith("I").groupby(rows["hospital"]).mean()
    assert heart.max() > heart.min() + 0.05


def test_ethnicity_goes_with_the_site_and_has_no_effect_of_its_own(
    hospital: Simulation, back: pd.Series
) -> None:
    rows = hospital.rows
    at = pd.crosstab(rows["ethnicity"], rows["hospital"], normalize="index")
    assert at.loc["group_a", "Ashdown"] > at.loc["group_b", "Ashdown"] + 0.1
    residual = (back - hospital.oracle["probability"]).groupby(rows["ethnicity"])
    assert (residual.mean().abs() < 4 * residual.sem()).all()
