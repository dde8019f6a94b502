"""Which rows break drafted rules; the same as Great Expectations finds, without it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from ml.contract.row_condition_parser import parse_row_condition
from ml.data.pattern_matches import pattern_matches
from ml.data.row_masks import row_mask
from ml.data.sums import wrong_totals
from ml.drafting.proposals import SUM, DraftRule


def violations(rule: DraftRule, frame: pd.DataFrame) -> np.ndarray:
    """Return a mask of the rows of a typed table that break a rule. Missing cells break only rules about them."""
    kwargs = rule.kwargs
    if condition := kwargs.get("row_condition"):
        rest = replace(rule, kwargs={k: v for k, v in kwargs.items() if k != "row_condition"})
        return np.asarray(violations(rest, frame) & row_mask(parse_row_condition(condition), frame))
    if rule.type == SUM:
        names = kwargs["total"], kwargs["parts"]
        return wrong_totals(frame, *names, kwargs["tolerance"], {}, kwargs.get("subtracted", ()))
    kind = rule.type.removeprefix("expect_")
    if kind == "column_pair_values_a_to_be_greater_than_b":
        a, b = frame[kwargs["column_A"]], frame[kwargs["column_B"]]
        below = (a < b) if kwargs.get("or_equal") else (a <= b)
        return np.asarray(below, dtype=bool)
    if kind == "column_pair_values_to_be_in_set":
        a, b = frame[kwargs["column_A"]], frame[kwargs["column_B"]]
        known = {tuple(pair) for pair in kwargs["value_pairs_set"]}
        unknown = [pair not in known for pair in zip(a, b, strict=True)]
        return np.asarray(np.array(unknown, dtype=bool) & (a.notna() & b.notna()).to_numpy(), dtype=bool)
    cells = frame[kwargs["column"]]
    if kind == "column_values_to_not_be_null":
        return np.asarray(cells.isna(), dtype=bool)
    broken = np.zeros(len(frame), dtype=bool)
    present = cells.notna().to_numpy()
    values = cells[present]
    if kind == "column_values_to_be_between":
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        numbers = values.to_numpy(dtype=float)
        outside = np.zeros(len(numbers), dtype=bool)
        if low is not None:
            outside |= numbers < low
        if high is not None:
            outside |= numbers > high
        broken[present] = outside
    elif kind == "column_values_to_be_in_set":
        broken[present] = ~values.isin([*kwargs["value_set"]]).to_numpy()
    elif kind == "column_values_to_match_regex":
        broken[present] = ~pattern_matches(values, [kwargs["regex"]])[:, 0]
    else:
        raise ValueError(rule.type)
    return broken
