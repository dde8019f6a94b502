"""When the outcomes of rows were known: outcomes come late, and a model can only learn from those that have come."""

import numpy as np
import pandas as pd

from ml.contract.schema import Contract


def known_times(rows: pd.DataFrame, contract: Contract) -> pd.Series | None:
    """Return when the outcome of each row was known; None where the contract does not say it.

    The column with the role `known_at` has no value where the outcome is not known yet. With a horizon, all outcomes
    are known that long after their rows.
    """
    if contract.roles.known_at:
        return rows[contract.roles.known_at]
    if contract.split.horizon is not None:
        return rows[str(contract.roles.time)] + pd.Timedelta(days=contract.split.horizon)
    return None


def outcomes_not_known(known: pd.Series, instant: pd.Timestamp | None) -> np.ndarray:
    """Return a mask of the rows whose outcome was not known at an instant (UTC without zone); None is any time."""
    unknown = known.isna().to_numpy()
    return unknown if instant is None else unknown | (known > instant).to_numpy()


def count_late_outcomes(times: pd.Series, known: pd.Series, earlier: pd.Index, later: pd.Index) -> int:
    """Count the rows of an earlier dataset whose outcome was not known before the first row of a later one."""
    if not len(later):
        return 0
    return int((~(known.loc[earlier] < times.loc[later].min())).sum())
