"""The baseline without features: one constant prediction for all rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import pandas as pd

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION_COLUMN, Target, validate_truth
from ml.encoding.columns import FeatureColumns, RowValues
from ml.estimator import FitResources


@dataclass(frozen=True)
class ConstantModel:
    """A constant prediction. It requires its feature columns, as all other models do."""

    target: Target
    columns: FeatureColumns
    mean: float

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the training rate or mean for every row. Raises ValueError for missing columns."""
        self.columns.check_present(frame)
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: self.mean}, index=frame.index, dtype="float64")

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        self.columns.parse_row(values)
        return self.mean

    def importance(self) -> pd.Series:
        """Return 0 for each column."""
        return pd.Series(0.0, index=list(self.columns.names))

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        return cls(state["target"], FeatureColumns.from_json(state["columns"]), state["mean"])


@dataclass(frozen=True)
class Constant:
    """Predict the training rate (binary) or mean (numeric)."""

    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ConstantModel:
        """Average the truth of `train`; errors as in `validate_truth` and `FeatureColumns.from_frame`."""
        truth = validate_truth(train.truth, self.target)
        return ConstantModel(self.target, FeatureColumns.from_frame(train.frame), float(truth.mean()))
