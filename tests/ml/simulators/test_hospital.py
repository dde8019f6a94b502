"""The hospital simulator: a hidden frailty, informative missing values, and a calibrated oracle."""

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

# Its fixtures take long, and would be made by each worker.
pytestmark = pytest.mark.xdist_group("hospital")


@pytest.fixture(scope="module")
def hospital() -> Simulation:
    return simulate(20_000, 0)


@pytest.fixture(scope="module")
def readmitted(hospital: Simulation) -> pd.Series:
    return (hospital.rows["readmitted_within_30_days"] == "yes").astype(float)


@pytest.fixture(scope="module")
def predicted(hospital: Simulation, readmitted: pd.Series) -> pd.Series:
    """Return cross-validated probabilities of a logistic regression, with patients kept whole."""
    rows = hospital.rows
    features = rows.drop(columns=["encounter_id", "patient_id", "admitted_on", "readmitted_within_30_days"])
    text_columns = features.columns[features.dtypes == "str"]
    scale = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    model = make_pipeline(
        make_column_transformer(
            (scale, features.columns.difference(text_columns)),
            (OneHotEncoder(handle_unknown="ignore"), text_columns),
        ),
        LogisticRegression(max_iter=500),
    )
    folds = GroupKFold(3)
    probabilities = cross_val_predict(
        model, features, readmitted, groups=rows["patient_id"], cv=folds, method="predict_proba"
    )
    return pd.Series(probabilities[:, 1])


def test_encounters_are_unique_and_patients_have_several(hospital: Simulation) -> None:
    rows = hospital.rows
    assert rows["encounter_id"].is_unique
    visits = rows["patient_id"].value_counts()
    assert visits.max() <= 12
    assert 3 < visits.mean() < 6
    person = rows.groupby("patient_id")
    assert (person[["sex", "ethnicity", "chronic_conditions", "distance_km"]].nunique() == 1).all(axis=None)
    assert (person["age"].max() - person["age"].min()).max() <= 4


def test_about_one_in_seven_is_readmitted(hospital: Simulation, readmitted: pd.Series) -> None:
    assert set(hospital.rows["readmitted_within_30_days"]) == {"yes", "no"}
    assert 0.13 < readmitted.mean() < 0.16


def test_rows_of_a_patient_are_apart_and_follow_up_is_complete(hospital: Simulation) -> None:
    rows = hospital.rows
    assert rows["admitted_on"].is_monotonic_increasing
    discharged = rows["admitted_on"] + pd.to_timedelta(rows["length_of_stay"], unit="D")
    gap = rows["admitted_on"] - discharged.groupby(rows["patient_id"]).shift()
    assert gap.min() >= pd.Timedelta(days=30)
    assert rows["admitted_on"].min() == pd.Timestamp("2022-01-01")
    assert (discharged + pd.Timedelta(days=30)).max() <= pd.Timestamp("2025-12-31")


def test_prior_admissions_count_the_earlier_rows(hospital: Simulation) -> None:
    rows = hospital.rows
    person = rows.groupby("patient_id")
    before_the_period = rows["prior_admissions"] - person.cumcount()
    assert before_the_period.min() == 0
    assert (before_the_period.groupby(rows["patient_id"]).nunique() == 1).all()


def test_the_oracle_is_calibrated_in_every_decile(hospital: Simulation, readmitted: pd.Series) -> None:
    probability = hospital.oracle["probability"]
    decile = pd.qcut(probability, 10, labels=False)
    error = np.sqrt((probability * (1 - probability)).groupby(decile).sum())
    assert ((readmitted - probability).groupby(decile).sum().abs() < 4 * error).all()


def test_a_model_reaches_about_four_fifths_of_the_oracle(
    hospital: Simulation, readmitted: pd.Series, predicted: pd.Series
) -> None:
    true_auc = roc_auc_score(readmitted, hospital.oracle["probability"])
    assert 0.78 < true_auc < 0.83
    assert 0.74 < (roc_auc_score(readmitted, predicted) - 0.5) / (true_auc - 0.5) < 0.90


def test_residuals_of_a_model_are_correlated_within_a_patient(
    hospital: Simulation, readmitted: pd.Series, predicted: pd.Series
) -> None:
    """Residuals of neighbouring rows of one patient are correlated; given the frailty they are not."""
    patient = hospital.rows["patient_id"]

    def correlation(residual: pd.Series) -> float:
        earlier = residual.groupby(patient).shift()
        return residual.corr(earlier)

    assert correlation(readmitted - predicted) > 0.04
    assert abs(correlation(readmitted - hospital.oracle["probability"])) < 0.03


def test_blood_is_tested_by_severity_and_by_site(hospital: Simulation) -> None:
    rows = hospital.rows
    tested = rows["lactate"].notna()
    breaths = rows["respiratory_rate"]
    assert tested[breaths >= 21].mean() > tested[breaths <= 14].mean() + 0.15
    by_site = tested.groupby(rows["hospital"]).mean()
    assert len(by_site) == 8
    assert by_site["Ashdown"] > by_site["Glenmoor"] + 0.2
    # Creatinine and sodium are one panel; albumin is an addition to it.
    assert rows["creatinine"].isna().equals(rows["sodium"].isna())
    assert rows.loc[rows["creatinine"].isna(), "albumin"].isna().all()


def test_sites_differ_in_case_mix_and_codes_have_a_long_tail(hospital: Simulation) -> None:
    rows = hospital.rows
    counts = rows["diagnosis"].value_counts()
    assert len(counts) == 40
    assert counts.iloc[0] > 15 * counts.iloc[-1]
    heart = rows["diagnosis"].str.startswith("I").groupby(rows["hospital"]).mean()
    assert heart.max() > heart.min() + 0.05


def test_ethnicity_is_correlated_with_the_site_and_has_no_effect_of_its_own(
    hospital: Simulation, readmitted: pd.Series
) -> None:
    rows = hospital.rows
    share = pd.crosstab(rows["ethnicity"], rows["hospital"], normalize="index")
    assert share.loc["group_a", "Ashdown"] > share.loc["group_b", "Ashdown"] + 0.1
    residual = (readmitted - hospital.oracle["probability"]).groupby(rows["ethnicity"])
    assert (residual.mean().abs() < 4 * residual.sem()).all()
