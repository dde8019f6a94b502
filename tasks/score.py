"""Score: an unlabelled file through the contract's gate and the champion, every row accounted for."""

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract
from ml.interactions import event_log

SCORED, QUARANTINED, EXCLUDED = "scored", "quarantined", "excluded"


def questions(clean: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """What the model is asked: the feature columns, or one history per user, oldest first."""
    if not contract.is_recommendation:
        return clean[list(contract.features)]
    events = event_log.log(clean, contract)
    return event_log.histories(events, pd.Index(sorted(events["user"].unique())))


def answers(
    clean: pd.DataFrame, prediction: pd.DataFrame, contract: Contract, left: pd.DataFrame
) -> pd.DataFrame:
    """The file that is written.

    Tabular: one row per row of the source in its order, with `row`, the id, `status`, `reason` and the prediction.
    Recommendation: one row per user and rank, for rows of users that were not quarantined.
    """
    if contract.is_recommendation:
        return prediction
    known = [contract.roles.id] if contract.roles.id else []
    scored = clean[["_row", *known]].rename(columns={"_row": "row"}).assign(status=SCORED)
    scored = pd.concat([scored, prediction.set_axis(scored.index)], axis=1)
    refused = left.groupby("row", as_index=False).agg({"status": "first", "reason": "; ".join})
    together = pd.concat([scored, refused], ignore_index=True) if len(refused) else scored.assign(reason=None)
    return together.sort_values("row", ignore_index=True)


@task(name="write scores", cache_policy=NO_CACHE)
def write(rows: pd.DataFrame, out: Path) -> None:
    """To a temporary name, then renamed: a half-written file is never seen."""
    temporary = out.with_name(f".{out.name}.writing")
    try:
        rows.to_parquet(temporary, index=False)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def left_out(quarantine: pd.DataFrame, excluded: pd.DataFrame) -> pd.DataFrame:
    """Rows that were not scored, with status and reason; one line per rule."""
    return pd.concat(
        [excluded.assign(status=EXCLUDED), quarantine.assign(status=QUARANTINED)], ignore_index=True
    )


def counts(clean: pd.DataFrame, quarantine: pd.DataFrame, excluded: pd.DataFrame) -> dict[str, Any]:
    bad, out = quarantine["row"].nunique(), excluded["row"].nunique()
    return {"rows": len(clean) + bad + out, "scored": len(clean), QUARANTINED: bad, EXCLUDED: out}
