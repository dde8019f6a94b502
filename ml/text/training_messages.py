"""Messages to learn from: each of equal ones once."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.text.message_columns import MessageColumns


@dataclass(frozen=True, eq=False)
class TrainingMessages:
    """Messages, the rows of their table, and the positions of their classes among the seen ones (-1: not seen)."""

    messages: list[str]
    frame: pd.DataFrame
    codes: np.ndarray

    @classmethod
    def collect(cls, dataset: Dataset, columns: MessageColumns, target: ClassTarget, distinct: bool) -> Self:
        """Collect the rows of a dataset; with `distinct`, rows that equal an earlier one in all columns are left out.

        A copy says nothing new, so that training on each row twice gives the same model. Errors as in
        `ClassTarget.codes` and `MessageColumns.messages`.
        """
        codes = target.positions_of_seen(target.codes(dataset))
        messages, frame = columns.messages(dataset.frame), dataset.frame
        if distinct:
            key = frame.drop(columns=list(columns.text))
            key["\0message"], key["\0code"] = messages, codes
            first = np.flatnonzero(~key.duplicated().to_numpy())
            messages, frame, codes = [messages[row] for row in first], frame.iloc[first], codes[first]
        return cls(messages, frame, codes)

    def of_seen_classes(self) -> Self:
        """Leave out the rows of classes that were not seen."""
        rows = np.flatnonzero(self.codes >= 0)
        messages = [self.messages[row] for row in rows]
        return type(self)(messages, self.frame.iloc[rows], self.codes[rows])
