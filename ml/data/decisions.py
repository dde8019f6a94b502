"""Turn predictions into what is done with a row, by thresholds and widths that were chosen on validation rows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ml.data.target import CLASS_PROBABILITY, PREDICTION_COLUMN

# What is done with a row that has several classes: give its label, or leave it to a person.
ANSWER, UNSURE = "answer", "unsure"
# Half the width of the intervals of predicted numbers, and the columns with their limits.
HALF_WIDTH, LOWER, UPPER = "half_width", "lower", "upper"
# Thirds of the predictions by size, each with a half width of its own, and where the first two end.
THIRDS = ("low", "middle", "high")
ENDS = ("low_until", "middle_until")


def add_decisions(prediction: pd.DataFrame, decision: Mapping[str, float]) -> pd.DataFrame:
    """Add the columns that follow from the thresholds of `decision`; without thresholds, return `prediction` unchanged.

    With `threshold`, for two classes: `decision` is 1 from that probability, else 0. With `min_probability` and
    `label_probability`, for several: before the probabilities come the predicted `label`, its `probability`,
    `decision` ("answer", or "unsure" below `min_probability`) and `labels`, the list of those held possible. With
    `half_width`, for numbers: the limits `lower` and `upper` of the interval around the prediction (`half_widths`).
    """
    if HALF_WIDTH in decision:
        value = prediction[PREDICTION_COLUMN["numeric"]]
        half = half_widths(value.to_numpy(np.float64), decision)
        return prediction.assign(**{LOWER: value - half, UPPER: value + half})
    if "threshold" in decision:
        is_positive = prediction["probability"] >= decision["threshold"]
        return prediction.assign(decision=is_positive.astype("int64"))
    if "min_probability" not in decision:
        return prediction
    columns = [name for name in prediction.columns if name.startswith(CLASS_PROBABILITY)]
    labels = np.array([name.removeprefix(CLASS_PROBABILITY) for name in columns], dtype=object)
    probability = prediction[columns].to_numpy(np.float64)
    best = probability.argmax(axis=1)
    confidence = probability[np.arange(len(best)), best]
    possible = possible_labels(probability, decision["label_probability"])
    answers = pd.DataFrame(
        {
            "label": labels[best],
            "probability": confidence,
            "decision": np.where(confidence >= decision["min_probability"], ANSWER, UNSURE),
            "labels": [labels[row].tolist() for row in possible],
        },
        index=prediction.index,
    )
    return pd.concat([answers, prediction], axis=1)


def decide_row(value: float, decision: Mapping[str, float]) -> dict[str, float]:
    """Return what `add_decisions` adds to one predicted number or probability of the positive class."""
    if HALF_WIDTH in decision:
        half = float(half_widths(np.array([value]), decision)[0])
        return {LOWER: value - half, UPPER: value + half}
    return {"decision": int(value >= decision["threshold"])} if "threshold" in decision else {}


def third_of(value: np.ndarray, decision: Mapping[str, float]) -> np.ndarray | None:
    """Return the third of each predicted number, 0 to 2, shape (rows,); None where all have one half width."""
    if not set(ENDS) <= set(decision):
        return None
    return np.asarray(np.searchsorted([decision[end] for end in ENDS], value))


def half_widths(value: np.ndarray, decision: Mapping[str, float]) -> np.ndarray:
    """Return half the width of the interval of each predicted number, shape (rows,): that of its third, or of all."""
    third = third_of(value, decision)
    if third is None:
        return np.full(len(value), decision[HALF_WIDTH])
    return np.asarray(np.array([decision[f"{HALF_WIDTH}_{name}"] for name in THIRDS])[third])


def possible_labels(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Return which labels are held possible, shape (rows, classes); the predicted one always is."""
    possible = probability >= threshold
    possible[np.arange(len(probability)), probability.argmax(axis=1)] = True
    return np.asarray(possible)
