"""Entities that datasets share."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.dataset import Dataset
from ml.data.leakage import shared_entities

UNITS = st.lists(st.integers(0, 6), max_size=12)


def with_units(units: list[int]) -> Dataset:
    return Dataset(
        pd.DataFrame(index=range(len(units))),
        pd.Series(0.0, range(len(units))),
        np.array(units, dtype=np.uint64),
    )


@given(UNITS, UNITS, UNITS)
@settings(deadline=None, max_examples=50)
def test_shared_entities_are_counted_by_pair_of_datasets(a: list[int], b: list[int], c: list[int]) -> None:
    """Each entity counts once, for any number of rows."""
    found = shared_entities({"train": with_units(a), "valid": with_units(b), "test": with_units(c)})
    both = {
        "train and valid": set(a) & set(b),
        "train and test": set(a) & set(c),
        "valid and test": set(b) & set(c),
    }
    assert found == {pair: len(units) for pair, units in both.items() if units}


def test_entity_hashes_are_compared_exactly() -> None:
    last = 2**64 - 1
    assert shared_entities({"a": with_units([last, 5]), "b": with_units([last - 1, 6])}) == {}
    assert shared_entities({"a": with_units([last, last]), "b": with_units([last])}) == {"a and b": 1}
