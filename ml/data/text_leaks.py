"""Find texts that name their class, as messages that were exported after somebody had sorted them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ml.data.class_leaks import measure_class_columns
from ml.data.target_leaks import ColumnAuc


def measure_named_classes(
    column: str, texts: pd.Series, truth: np.ndarray, classes: Sequence[str]
) -> ColumnAuc:
    """Measure how well the class that a text names predicts its class.

    `truth` has the position of the class. What people write names some classes in some texts; a leak names nearly all.
    """
    (measured,) = measure_class_columns(pd.DataFrame({column: named_class(texts, classes)}), truth)
    return measured


def named_class(texts: pd.Series, classes: Sequence[str]) -> pd.Series:
    """Return for each text the class whose name is in it, the longest of several; empty where none is.

    Case does not matter, nor do signs between words: `track_delivery` is in "[Track delivery]".
    """
    plain = _plain(texts.fillna("").astype("str"))
    found = pd.Series("", texts.index, dtype="str")
    # The longest name comes last, and stays.
    for name in sorted(classes, key=len):
        (words,) = _plain(pd.Series([name], dtype="str"))
        if words.strip():
            found = found.mask(plain.str.contains(words, regex=False), name)
    return found


def _plain(texts: pd.Series) -> pd.Series:
    """Return texts as lower-case words with one blank around each."""
    return " " + texts.str.lower().str.replace(r"[\W_]+", " ", regex=True).str.strip() + " "
