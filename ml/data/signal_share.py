"""How much of what all columns know about a target one column knows alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.limits import auc_limits, correlation_lower_limit
from ml.data.quick_model import out_of_fold_prediction
from ml.data.target_leaks import ColumnAuc, rank_correlation, roc_auc

# A column refuses a table if it is certain to predict well and the others add almost nothing. Among the eleven public
# tables with a contract, the highest AUC of a column is 0.84, the highest share 0.87.
REFUSED_AUC, REFUSED_SHARE = 0.90, 0.95
NOTABLE_AUC, NOTABLE_SHARE = 0.80, 0.90
# The same for rank correlations of 0.95 and 0.90 with a numeric target, which honest columns often come close to.
REFUSED_NUMERIC, NOTABLE_NUMERIC = 0.975, 0.95
# A model of all columns that is certain to be better is notable: is a group of columns a consequence of the target?
NEARLY_PERFECT_AUC = 0.99
# With fewer columns, that one has most of the signal is nothing unusual.
MIN_COLUMNS = 4


@dataclass(frozen=True)
class SignalShare:
    """The best single column, and its share of the signal: its AUC beyond 0.5 relative to that of all columns.

    `all_auc` is the AUC of a model of all columns on rows that it was not fitted to, `all_low` its lower 95 % limit.
    """

    column: str
    auc: float
    low: float
    share: float
    all_auc: float
    all_low: float
    is_binary: bool = True

    @property
    def is_leak(self) -> bool:
        """Whether the column is certain to predict well and to have nearly the whole signal."""
        bound = REFUSED_AUC if self.is_binary else REFUSED_NUMERIC
        return self.low > bound and self.share > REFUSED_SHARE

    @property
    def is_notable(self) -> bool:
        """Whether a person should ask where the column comes from."""
        bound = NOTABLE_AUC if self.is_binary else NOTABLE_NUMERIC
        return self.low > bound and self.share > NOTABLE_SHARE

    @property
    def all_nearly_perfect(self) -> bool:
        """Whether all columns together are certain to determine the target almost always."""
        return self.all_low > NEARLY_PERFECT_AUC


def measure_signal_share(
    frame: pd.DataFrame, truth: np.ndarray, is_binary: bool, columns: Sequence[ColumnAuc], seed: int = 0
) -> SignalShare | None:
    """Compare the best of the measured `columns` with a model of the whole frame; None for few columns."""
    if len(columns) < MIN_COLUMNS or len(np.unique(truth)) < 2:
        return None
    prediction = out_of_fold_prediction(frame, truth, np.arange(len(frame)), seed)
    if is_binary:
        positives = int(truth.sum())
        all_auc = roc_auc(prediction, truth)
        all_low = auc_limits(all_auc, positives, len(truth) - positives, 0.025)[0]
    else:
        rho = max(rank_correlation(prediction, truth), 0.0)
        all_auc, all_low = (1 + rho) / 2, (1 + correlation_lower_limit(rho, len(truth), 0.025)) / 2
    best = max(columns, key=lambda measured: measured.auc)
    share = (best.auc - 0.5) / max(all_auc - 0.5, best.auc - 0.5, 1e-9)
    return SignalShare(best.column, best.auc, best.low, share, all_auc, all_low, is_binary)
