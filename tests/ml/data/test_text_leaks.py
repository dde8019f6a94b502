"""Texts that name their class are found; what people write about a matter is not."""

import numpy as np
import pandas as pd
import pytest

from ml.data.text_leaks import measure_named_classes, named_class
from ml.simulators import SIMULATORS
from ml.simulators.faults import faulty_table

CLASSES = ("refund", "refund_status", "karte-verloren")


def test_the_longest_name_is_found_whatever_case_and_signs() -> None:
    texts = ["[Refund status]", "a refund, please", "refunds", "KARTE verloren!", "REFUND_STATUS", "", None]
    found = named_class(pd.Series(texts, dtype="str"), CLASSES)
    assert found.tolist() == ["refund_status", "refund", "", "karte-verloren", "refund_status", "", ""]


def measure(rows: pd.DataFrame) -> tuple[bool, float]:
    known = rows[rows["intent"] != "out_of_scope"]
    truth, classes = pd.factorize(known["intent"])
    measured = measure_named_classes("text", known["text"], truth.astype(np.float64), list(classes))
    return measured.is_leak, measured.auc


def test_only_messages_that_were_exported_after_sorting_are_a_leak() -> None:
    rows = SIMULATORS["mailbox"](1500, 0).rows
    is_leak, auc = measure(rows)
    assert not is_leak
    assert auc < 0.75
    is_leak, auc = measure(faulty_table(rows, "mailbox", "leaked-label", 0))
    assert is_leak
    assert auc == pytest.approx(1.0)
