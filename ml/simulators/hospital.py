"""Simulate hospital encounters of a fictitious trust, with the true probability of each readmission."""

import numpy as np
import pandas as pd
from scipy.special import expit

from ml.simulators.draws import (
    Flags,
    Floats,
    draw_categories,
    draw_from_tables,
    identifiers,
    names_of_codes,
    spawn_generators,
)
from ml.simulators.simulation import Simulation

_FIRST_DAY = np.datetime64("2022-01-01", "s")
_DAYS = 1461  # up to and including 2025-12-31
_FOLLOW_UP = 30  # days after discharge
_MAX_STAY = 45
_MAX_VISITS = 12

_SITES = ("Ashdown", "Brookfield", "Carrow", "Dunmore", "Elmhurst", "Fairhaven", "Glenmoor", "Hartley")
_SITE_SIZE = np.array([3.0, 2.2, 1.8, 1.5, 1.2, 1.0, 0.7, 0.5])
_SITE_RISK = np.array([0.0, 0.1, -0.1, 0.15, -0.2, 0.0, 0.25, -0.1])
# Propensity of each site to test blood, in log-odds.
_SITE_TESTING = np.array([0.8, 0.0, 0.4, -0.8, 0.6, -0.4, -1.2, 0.2])

# ICD-10 categories, most frequent first, and their effects on the log-odds of readmission.
_DIAGNOSES = (
    "J18=.15 I50=.70 N39=.05 J44=.60 R07=-.45 A41=.35 I48=.00 I21=.05 I63=.00 S72=-.10 "
    "N17=.40 K80=-.25 K52=-.15 R55=-.35 L03=.05 E11=.20 I25=-.10 K92=.15 M16=-.60 M17=-.65 "
    "J22=.00 K57=-.05 G40=.10 F10=.50 I10=-.35 I26=.00 K85=.25 K35=-.55 N20=-.30 J45=-.10 "
    "D64=.20 E87=.25 K70=.75 C34=.65 K56=.15 I70=.20 C18=.25 D57=.80 E10=.35 G20=.10"
)
_DIAGNOSIS_RISK = {code: float(risk) for code, risk in (pair.split("=") for pair in _DIAGNOSES.split())}
_CODES = tuple(_DIAGNOSIS_RISK)
_HIDDEN = [
    "patient",
    "frailty",
    "visits",
    "starting_age",
    "home",
    "earlier",
    "kidney",
    "blood",
    "site",
    "severity",
    "day",
]
_SURGICAL = ("S72", "K80", "M16", "M17", "K35", "N20", "C18", "K56")


def simulate(rows: int, seed: int) -> Simulation:
    """Simulate one row per index admission from 2022 to 2025, by date; about 14 % are readmitted within 30 days.

    Readmissions are not rows: each row of a patient begins at least 30 days after the discharge of the previous one,
    and all follow-up ends by 2025-12-31. `prior_admissions` counts the patient's earlier rows and admissions before
    2022. Blood results are missing more often for patients who look healthier, and at some hospitals.

    Patients have a frailty that is in no column. It affects the labels of all their rows and, less, the columns, so a
    split with rows of one patient on both sides is biased. `sex` and `ethnicity` have no effect of their own; ethnicity
    is correlated with the hospital.

    `oracle` has `encounter_id` and `probability`, from which the label was drawn. It includes the frailty, so models of
    the columns cannot reach it.
    """
    patients_rng, admissions_rng, stays_rng, body_rng, dates_rng, outcome_rng, testing_rng = spawn_generators(
        rows, seed, 7
    )
    patients = _patients(patients_rng, rows)
    patient = np.repeat(patients.index, patients["visits"])[:rows]
    visits = _admissions(admissions_rng, patients.loc[patient].reset_index(names="patient"))
    visits = _blood(body_rng, _vitals(body_rng, _stays(stays_rng, visits)))
    visits = _dates(dates_rng, visits).sort_values(["day", "patient"], ignore_index=True)
    probability = expit(_log_odds(visits))

    readmitted = outcome_rng.random(rows) < probability
    encounters = _table(_mask_untested(testing_rng, visits))
    encounters["readmitted_within_30_days"] = pd.Series(np.where(readmitted, "yes", "no"), dtype="str")
    return Simulation(encounters, encounters[["encounter_id"]].assign(probability=probability))


def _patients(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Draw `count` patients; with at least one visit each they are enough for `count` rows."""
    frailty = rng.standard_normal(count)
    ethnicity = draw_categories(rng, count, {"group_a": 1.6, "group_b": 0.3, "group_c": 0.0, "group_d": -0.4})
    quarter = np.asarray(ethnicity.map({"group_a": 0, "group_b": 1, "group_c": 2, "group_d": 1}), np.int64)
    home = draw_from_tables(rng, np.stack([_SITE_SIZE, _SITE_SIZE[::-1], np.ones(len(_SITES))]), quarter)
    age = np.clip(np.round(62 + 5 * frailty + 17 * rng.standard_normal(count)), 18, 97)
    chronic = rng.poisson(np.exp(0.25 + 0.30 * frailty + 0.014 * (age - 62)))
    return pd.DataFrame(
        {
            "frailty": frailty,
            "visits": 1 + rng.binomial(_MAX_VISITS - 1, expit(-0.8 + 0.5 * frailty)),
            "sex": draw_categories(rng, count, {"female": 0.05, "male": 0.0}),
            "ethnicity": ethnicity,
            "starting_age": age,
            "home": home,
            "chronic_conditions": np.minimum(chronic, 10),
            "earlier": rng.poisson(np.exp(-0.5 + 0.35 * frailty)),
            "body_mass_index": np.exp(3.3 + 0.19 * rng.standard_normal(count)),
            "distance_km": np.exp(2.2 + 0.8 * rng.standard_normal(count)).round(1),
            "kidney": 0.35 * rng.standard_normal(count) + 0.006 * (age - 62),
            "blood": 1.2 * rng.standard_normal(count) - 0.2 * frailty,
        }
    )


def _admissions(rng: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    """Add the site, the diagnosis, the type of admission, and the severity, which is in no column of the table."""
    rows = len(visits)
    away = rng.random(rows) < 0.12
    site = np.where(away, rng.integers(len(_SITES), size=rows), visits["home"])
    code = draw_from_tables(rng, _case_mix(), site)
    diagnosis = names_of_codes(_CODES, code)
    emergency = rng.random(rows) < np.where(diagnosis.isin(_SURGICAL), 0.45, 0.85)
    risk = np.array(list(_DIAGNOSIS_RISK.values()))[code]
    severity = 0.5 * risk + 0.2 * visits["frailty"] + 0.5 * emergency - 0.4 + 0.8 * rng.standard_normal(rows)
    return visits.assign(
        site=site,
        hospital=names_of_codes(_SITES, site),
        diagnosis=diagnosis,
        admission_type=pd.Series(np.where(emergency, "emergency", "planned"), dtype="str"),
        severity=severity,
    )


def _case_mix() -> Floats:
    """Return weights of the codes at each site, 8 x 40: a long tail, and site-specific ICD chapters."""
    tail = 1.0 / (np.arange(len(_CODES)) + 2.0)
    chapter = np.array([ord(code[0]) for code in _CODES])
    lean = np.sin(chapter[None, :] * (1.0 + np.arange(len(_SITES)))[:, None])
    weights: Floats = tail * np.exp(0.6 * lean)
    return weights


def _stays(rng: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    rows, severity, age = len(visits), visits["severity"], visits["starting_age"]
    days = np.exp(1.25 + 0.45 * severity + 0.006 * (age - 62) + 0.6 * rng.standard_normal(rows))
    drugs = rng.poisson(np.exp(1.1 + 0.16 * visits["chronic_conditions"] + 0.15 * severity))
    stays = visits.assign(
        length_of_stay=np.clip(np.ceil(days), 1, _MAX_STAY).astype(np.int64),
        medications=np.minimum(drugs, 35),
        emergency_visits_6m=np.minimum(rng.poisson(np.exp(-0.9 + 0.30 * visits["frailty"])), 15),
    )
    dependent = (0.05 * (age - 78) + 0.5 * severity + 0.3 * visits["frailty"]).to_numpy()
    stays["discharged_to"] = draw_categories(
        rng, rows, {"home": 2.0, "home_with_care": 0.6 + dependent, "care_home": 1.1 * dependent - 0.5}
    )
    return stays


def _vitals(rng: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    rows, severity = len(visits), visits["severity"]
    lungs = visits["diagnosis"].str.startswith("J")
    breaths = 17 + 1.6 * severity + 2 * lungs + 2.2 * rng.standard_normal(rows)
    oxygen = 96.5 - 1.2 * severity - 2 * lungs + 1.5 * rng.standard_normal(rows)
    return visits.assign(
        heart_rate=(82 + 7 * severity + 12 * rng.standard_normal(rows)).round().clip(35, 190),
        systolic_pressure=(132 - 6 * severity + 18 * rng.standard_normal(rows)).round().clip(65, 230),
        respiratory_rate=breaths.round().clip(8, 45),
        oxygen_saturation=oxygen.round().clip(70, 100),
        body_mass_index=(visits["body_mass_index"] + 0.2 * rng.standard_normal(rows)).round(1).clip(13, 65),
    )


def _blood(rng: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    """Add creatinine in umol/l, haemoglobin and albumin in g/l, sodium and lactate in mmol/l."""
    rows, severity = len(visits), visits["severity"]
    noise = iter(rng.standard_normal((5, rows)))
    man = visits["sex"] == "male"
    creatinine = np.exp(4.35 + 0.15 * man + visits["kidney"] + 0.10 * severity + 0.08 * next(noise))
    haemoglobin = 128 + 9 * man + 8 * visits["blood"] - 3 * severity + 5 * next(noise)
    return visits.assign(
        creatinine=creatinine.round(),
        haemoglobin=haemoglobin.round().clip(50, 190),
        albumin=(39 - 1.6 * severity - 0.6 * visits["frailty"] + 2.5 * next(noise)).round().clip(12, 55),
        sodium=(139 - 0.8 * severity + 3 * next(noise)).round().clip(112, 165),
        lactate=np.exp(0.3 + 0.25 * severity + 0.25 * next(noise)).round(1),
    )


def _dates(rng: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    """Draw the dates of each patient's visits, without overlaps of stays and follow-ups.

    A patient needs at most 12 * (45 + 30) days, fewer than the period has.
    """
    taken = visits["length_of_stay"] + _FOLLOW_UP
    groups = taken.groupby(visits["patient"])
    whole = groups.transform("sum")
    before = groups.cumsum() - taken
    moment = rng.random(len(visits))
    moment = moment[np.lexsort((moment, visits["patient"]))]
    day = np.floor(moment * (_DAYS - whole)) + before
    visit = visits.groupby("patient").cumcount()
    return visits.assign(
        day=day.astype(np.int64),
        prior_admissions=visits["earlier"] + visit,
        age=(visits["starting_age"] + np.floor(day / 365.25)).astype(np.int64),
    )


def _log_odds(visits: pd.DataFrame) -> Floats:
    """Return the log-odds of readmission from history, stay, blood, their interactions, site and frailty."""
    heart_failure, lung_disease = visits["diagnosis"] == "I50", visits["diagnosis"] == "J44"
    emergency, stay = visits["admission_type"] == "emergency", visits["length_of_stay"]
    frail_home = (visits["age"] > 78) & (visits["discharged_to"] == "home")
    kidney = np.log(visits["creatinine"] / 85)
    log_odds: Floats = (
        -4.30
        + 0.40 * np.log1p(visits["prior_admissions"])
        + 0.30 * np.log1p(visits["emergency_visits_6m"])
        + 0.10 * visits["chronic_conditions"]
        + 0.7 * visits["diagnosis"].map(_DIAGNOSIS_RISK)
        + 0.35 * emergency
        + 0.45 * np.log(stay / 4).abs()
        + 0.05 * np.maximum(visits["medications"] - 6, 0) * (visits["age"] > 65)
        + 0.35 * (visits["discharged_to"] == "home_with_care")
        + 0.80 * frail_home
        - 0.030 * (visits["haemoglobin"] - 125).clip(upper=0)
        - 0.05 * (visits["albumin"] - 37).clip(upper=0)
        + 0.7 * kidney.clip(lower=0) * (1 + heart_failure)
        + 0.12 * (95 - visits["oxygen_saturation"]).clip(0, 8) * (0.3 + lung_disease)
        + _SITE_RISK[visits["site"]]
        + 0.95 * visits["frailty"]
    ).to_numpy()
    return log_odds


def _mask_untested(rng: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    """Remove the results of tests that were not made: the healthier a patient, the fewer the tests."""
    readiness = _SITE_TESTING[visits["site"]] + 0.9 * visits["severity"].to_numpy()

    def skipped(usual: float) -> Flags:
        flags: Flags = rng.random(len(visits)) > expit(usual + readiness)
        return flags

    panel = skipped(2.2)
    return visits.assign(
        creatinine=visits["creatinine"].mask(panel),
        sodium=visits["sodium"].mask(panel),
        haemoglobin=visits["haemoglobin"].mask(skipped(2.0)),
        albumin=visits["albumin"].mask(panel | skipped(1.0)),
        lactate=visits["lactate"].mask(skipped(-1.0)),
    )


def _table(visits: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the table, without those that only the simulator knows."""
    rows, table = len(visits), visits.drop(columns=_HIDDEN)
    table.insert(0, "encounter_id", identifiers("E", np.arange(1, rows + 1)))
    table.insert(1, "patient_id", identifiers("P", visits["patient"].to_numpy() + 1))
    seconds = visits["day"].to_numpy() * 86_400
    table.insert(2, "admitted_on", _FIRST_DAY + seconds.astype("timedelta64[s]"))
    return table
