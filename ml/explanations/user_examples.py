"""A few users of a part as examples: their history, what they are recommended and why, what they took next.

They have letters for names, and nothing here holds a user's id. Only the last items of a history are told, because a
whole one could identify somebody.
"""

from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import Model
from ml.explanations.history_attribution import Explained, Reasons, Scorer, reasons

TOLD, LISTED, BECAUSE = 8, 5, 3
# Where among users by length of history.
SHARES = (0.25, 0.5, 0.75)
LEAST = 2


def shoppers(part: Dataset, prediction: pd.DataFrame, model: Model) -> list[dict[str, Any]]:
    """Users at the quartiles of length of history, of those with at least two events; the same for any order of rows.

    Each has `shopper` (a letter), `events` (of the whole history), `history` (the last items, oldest first), `taken`
    (the first items that came next, and `more` of them) and `recommended`: lines with `item`, `taken` and `because`,
    the first items of `history` with their shares, most first; those of its `others`, and of what lies `earlier`, are
    summed. `because` is None where the model neither scores items nor tells reasons.
    """
    rows = _chosen(part)
    return [_told("ABC"[n], part.take(rows[n : n + 1]), prediction, model) for n in range(len(rows))]


def _chosen(part: Dataset) -> np.ndarray:
    lengths = part.frame["items"].map(len).to_numpy()
    able = np.flatnonzero(lengths >= LEAST)
    ordered = able[np.lexsort((part.units[able], lengths[able]))]
    places = sorted({int(share * (len(ordered) - 1)) for share in SHARES}) if len(ordered) else []
    return ordered[places]


def _told(name: str, one: Dataset, prediction: pd.DataFrame, model: Model) -> dict[str, Any]:
    history, truth = list(one.frame["items"].iloc[0]), list(one.truth.iloc[0])
    mine = prediction[prediction["user"] == one.frame["user"].iloc[0]].sort_values("rank").head(LISTED)
    asked = reasons(model, one.frame, mine) if isinstance(model, Scorer | Explained) else [None] * len(mine)
    told = history[-TOLD:]
    recommended = [
        {"item": str(item), "taken": item in truth, **_because(found, told)}
        for item, found in zip(mine["item"], asked, strict=True)
    ]
    return {
        "shopper": name,
        "events": len(history),
        "history": told,
        "recommended": recommended,
        "taken": truth[:TOLD],
        "more": max(len(truth) - TOLD, 0),
    }


def _because(found: Reasons | None, told: list[str]) -> dict[str, Any]:
    if found is None:
        return {"because": None, "others": 0.0, "earlier": 0.0}
    recent = [(item, share) for item, share in found if item in told]
    return {
        "because": [{"item": item, "share": share} for item, share in recent[:BECAUSE]],
        "others": sum((share for _, share in recent[BECAUSE:]), 0.0),
        "earlier": sum((share for item, share in found if item not in told), 0.0),
    }
