"""The fitted ensemble: calibrated bags, combined by stacking weights, and a final calibration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import (
    PREDICTION_COLUMN,
    Target,
    from_log_odds_scale,
    to_log_odds_scale,
    value_from_log_odds_scale,
)
from ml.encoding.columns import RowValues
from ml.ensemble.bagging import CrossValidatedBagModel, mean_importance
from ml.ensemble.calibration import Calibrator
from ml.ensemble.stacking import StackingWeights
from ml.ensemble.tuning import Trial
from ml.estimator import requirements_of
from ml.serialization import class_name, models_from_files, models_to_files


@dataclass(frozen=True)
class MemberSummary:
    """What the leaderboard shows of a member: weight, number of models, out-of-fold loss and (binary) AUC, fit seconds.

    A member that was not fitted has 0 models. `note` says why one that was fitted is left out. `seconds` is None in a
    model loaded from files, which do not hold it.
    """

    name: str
    weight: float = 0.0
    models: int = 0
    loss: float | None = None
    roc_auc: float | None = None
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class EnsembleModel:
    """`bags`, each calibrated by its one of `calibrators`, combined by `stacking`, then calibrated by `calibrator`.

    `members` summarises all members of the preset, `trials` the tuning of one of them (empty in a model loaded from
    files). `stopped_by` is "budget" if the time limit left members unfitted or cut them short, else "members".
    """

    target: Target
    bags: tuple[CrossValidatedBagModel, ...] = field(repr=False)
    calibrators: tuple[Calibrator, ...]
    stacking: StackingWeights
    calibrator: Calibrator
    members: tuple[MemberSummary, ...]
    stopped_by: str
    trials: tuple[Trial, ...] = field(default=(), compare=False, repr=False)

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its members need to predict."""
        return requirements_of(self.bags)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in the members' `predict`."""
        scores = self._calibrated_scores([bag.score(frame) for bag in self.bags])
        prediction = from_log_odds_scale(self.stacking(scores), self.target)
        if self.target == "binary":
            prediction = self.calibrator(prediction)
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: prediction}, index=frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        scores = self._calibrated_scores([np.array([bag.score_row(values)]) for bag in self.bags])
        prediction = value_from_log_odds_scale(float(self.stacking(scores)[0]), self.target)
        return float(self.calibrator(np.array([prediction]))[0]) if self.target == "binary" else prediction

    def _calibrated_scores(self, scores: Sequence[np.ndarray]) -> list[np.ndarray]:
        pairs = zip(scores, self.calibrators, strict=True)
        return [calibrate_score(score, calibrator, self.target) for score, calibrator in pairs]

    def importance(self) -> pd.Series:
        """Average the importance over the bags by column, weighted by stacking weight, summing to 1."""
        return mean_importance(self.bags, np.array(self.stacking.weights))

    def composition(self) -> dict[str, Any]:
        """Describe the final calibrator, the members and the tuning trials as JSON values, for the leaderboard."""
        return {
            "calibrator": self.calibrator.method,
            "members": [asdict(member) for member in self.members],
            "trials": [asdict(trial) | {"loss": trial.loss} for trial in self.trials],
        }

    def files(self) -> dict[str, bytes]:
        """Serialise the bags to numbered files, and the rest to `ensemble.json`."""
        state = {
            "target": self.target,
            "bags": [class_name(bag) for bag in self.bags],
            "calibrators": [asdict(calibrator) for calibrator in self.calibrators],
            "stacking": asdict(self.stacking),
            "calibrator": asdict(self.calibrator),
            "members": [asdict(replace(member, seconds=None)) for member in self.members],
            "stopped_by": self.stopped_by,
        }
        return {"ensemble.json": json.dumps(state).encode(), **models_to_files(self.bags)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load an ensemble that `files` serialised."""
        state = json.loads(files["ensemble.json"])
        bags = models_from_files(state["bags"], files)
        return cls(
            state["target"],
            tuple(bag for bag in bags if isinstance(bag, CrossValidatedBagModel)),
            tuple(Calibrator.from_json(calibrator) for calibrator in state["calibrators"]),
            StackingWeights(tuple(state["stacking"]["weights"]), state["stacking"]["base_score"]),
            Calibrator.from_json(state["calibrator"]),
            tuple(MemberSummary(**member) for member in state["members"]),
            state["stopped_by"],
        )


def calibrate_score(score: np.ndarray, calibrator: Calibrator, target: Target) -> np.ndarray:
    """Calibrate a score (rows,) on the log-odds scale; numeric targets have the calibrator `none`."""
    if calibrator.method == "none":
        return score
    return to_log_odds_scale(calibrator(from_log_odds_scale(score, target)), target)
