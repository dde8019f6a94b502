"""A small model of all columns, as a yardstick for checks of the data: what can be known without copies and leaks."""

import numpy as np
import pandas as pd

from ml.data.column_codes import column_codes

FOLDS = 3
ROUNDS = 60
MAX_LEVELS = 64


def out_of_fold_prediction(
    frame: pd.DataFrame, truth: np.ndarray, groups: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Predict each row with gradient-boosted trees that were fitted to the other groups of rows; shape (rows,).

    `groups` has one whole number per row; rows of a group are predicted together. The prediction is a probability, or
    a number. It is the mean truth where a part has no other rows to learn from, or they are all of one class.
    """
    import lightgbm

    X = np.column_stack([_numbers(frame[c]) for c in frame.columns])
    categorical = [i for i, c in enumerate(frame.columns) if not pd.api.types.is_numeric_dtype(frame[c])]
    codes = np.unique(groups, return_inverse=True)[1]
    fold_of_group = np.random.default_rng(seed).permutation(int(codes.max()) + 1) % FOLDS
    folds = fold_of_group[codes]
    parameters = {
        "objective": "binary" if np.isin(truth, (0.0, 1.0)).all() else "regression",
        "learning_rate": 0.1,
        "num_leaves": 15,
        "min_data_in_leaf": int(np.clip(len(frame) // 50, 3, 20)),
        "min_data_per_group": 20,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    prediction = np.full(len(frame), truth.mean())
    for fold in range(FOLDS):
        rows, others = folds == fold, folds != fold
        if rows.any() and others.any() and len(np.unique(truth[others])) > 1:
            data = lightgbm.Dataset(
                X[others], truth[others], categorical_feature=categorical, params=parameters
            )
            prediction[rows] = lightgbm.train(parameters, data, ROUNDS).predict(X[rows], num_threads=1)
    return prediction


def _numbers(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(np.float64, na_value=np.nan)
    return column_codes(values, MAX_LEVELS).astype(np.float64)
