"""Messages to learn from: each of equal ones once, and some of them set aside for choices."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.text.message_columns import MessageColumns

# The share of the messages that is set aside.
CHOICE_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class TrainingMessages:
    """Messages, the rows of their table, and the positions of their classes among the seen ones.

    `is_choice` marks those that are set aside: they choose penalties, temperatures, epochs and weights, so that the
    validation rows, on which candidates are compared, have no part in a fit.
    """

    messages: list[str]
    frame: pd.DataFrame
    codes: np.ndarray
    is_choice: np.ndarray

    @classmethod
    def collect(cls, train: Dataset, columns: MessageColumns, target: ClassTarget, seed: int) -> Self:
        """Collect the rows of a dataset; those that equal an earlier one in all columns are left out.

        A copy says nothing new, so that training on each row twice gives the same model. About a tenth is set aside by
        `stopping_split`, the same for all candidates; every class keeps rows to fit to. Errors as in
        `ClassTarget.codes` and `MessageColumns.messages`.
        """
        codes = target.positions_of_seen(target.codes(train))
        messages = columns.messages(train.frame)
        key = train.frame.drop(columns=list(columns.text))
        key["\0message"], key["\0code"] = messages, codes
        first = np.flatnonzero(~key.duplicated().to_numpy())
        distinct, codes = train.take(first), codes[first]
        _, choice = stopping_split(distinct, "multiclass", seed, CHOICE_SHARE)
        is_choice = np.isin(np.arange(len(first)), choice)
        is_choice &= np.isin(codes, codes[~is_choice])
        return cls([messages[row] for row in first], distinct.frame, codes, is_choice)

    def part(self, rows: np.ndarray) -> Self:
        """Return the messages of some rows, a mask."""
        messages = [message for message, is_kept in zip(self.messages, rows, strict=True) if is_kept]
        return type(self)(messages, self.frame[rows], self.codes[rows], self.is_choice[rows])
