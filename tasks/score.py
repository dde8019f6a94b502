"""Score: turn clean rows into model inputs, and predictions into a file that accounts for every row."""

import json
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract
from ml.interactions import event_log
from tasks.error_boundary import redact_errors
from tasks.private_folder import user_file_mode
from tasks.validation.validation_state import ROW_COLUMN

SCORED, QUARANTINED, EXCLUDED = "scored", "quarantined", "excluded"
# The column with the version of the registered model, and the formats of a file of scores.
VERSION_COLUMN = "model_version"
SUFFIXES = (".parquet", ".csv")


class ScoreCounts(TypedDict):
    """Rows of the file that was scored: scored + quarantined + excluded = rows."""

    rows: int
    scored: int
    quarantined: int
    excluded: int


def model_inputs(clean: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return what the model predicts from: the input columns, or one history per user, oldest event first."""
    if not contract.is_recommendation:
        return clean[list(contract.inputs)]
    events = event_log.to_event_log(clean, contract)
    return event_log.histories_by_user(events, pd.Index(sorted(events["user"].unique())))


def score_table(
    clean: pd.DataFrame, prediction: pd.DataFrame, contract: Contract, not_scored: pd.DataFrame
) -> pd.DataFrame:
    """Return the table that is written.

    Tabular: one row per row of the source in its order, with `row`, the id, `status`, `reason` and the prediction.
    Recommendation: one row per user and rank, for the users of clean rows.
    """
    if contract.is_recommendation:
        return prediction
    id_columns = [contract.roles.id] if contract.roles.id else []
    scored = clean[[ROW_COLUMN, *id_columns]].rename(columns={ROW_COLUMN: "row"}).assign(status=SCORED)
    scored = pd.concat([scored, prediction.set_axis(scored.index)], axis=1)
    if not len(not_scored):
        return scored.assign(reason=None).sort_values("row", ignore_index=True)
    rest = not_scored.groupby("row", as_index=False).agg({"status": "first", "reason": "; ".join})
    return pd.concat([scored, rest], ignore_index=True).sort_values("row", ignore_index=True)


@task(name="write scores", cache_policy=NO_CACHE)
@redact_errors
def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write a Parquet or CSV file, by the ending of its name; it appears whole or not at all.

    In CSV, lists such as the items of an explanation are JSON texts.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        if path.suffix == ".csv":
            _lists_as_text(scores).to_csv(temporary, index=False)
        else:
            scores.to_parquet(temporary, index=False)
        temporary.chmod(user_file_mode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lists_as_text(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its columns of lists as JSON texts; missing lists stay missing."""
    lists = {
        str(name): column.map(lambda items: json.dumps(np.asarray(items).tolist()), na_action="ignore")
        for name, column in scores.items()
        if column.map(lambda cell: isinstance(cell, list | np.ndarray)).any()
    }
    return scores.assign(**lists)


def rows_not_scored(quarantine: pd.DataFrame, excluded: pd.DataFrame) -> pd.DataFrame:
    """Return rows that were not scored, with status and reason: one line per row and rule."""
    return pd.concat(
        [excluded.assign(status=EXCLUDED), quarantine.assign(status=QUARANTINED)], ignore_index=True
    )


def count_rows(clean: pd.DataFrame, quarantine: pd.DataFrame, excluded: pd.DataFrame) -> ScoreCounts:
    """Count the rows by status."""
    n_quarantined, n_excluded = quarantine["row"].nunique(), excluded["row"].nunique()
    return {
        "rows": len(clean) + n_quarantined + n_excluded,
        "scored": len(clean),
        "quarantined": n_quarantined,
        "excluded": n_excluded,
    }
