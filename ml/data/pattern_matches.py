"""Match the cells of a column with regular expressions, in time that is linear in their length."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.contract.regular_expression import to_re2


def pattern_matches(cells: pd.Series, patterns: Sequence[str]) -> np.ndarray:
    """Return whether each pattern is found in each cell, as `re.search` finds it in its text (cells x patterns, bool).

    Missing cells match nothing.
    """
    text = pa.array(cells.astype("str"), pa.large_string(), from_pandas=True)
    text = pc.if_else(pa.array(cells.isna()), pa.scalar(None, pa.large_string()), text)
    ascii_only = bool(pc.all(pc.string_is_ascii(text)).as_py() in (True, None))
    found = [pc.match_substring_regex(text, to_re2(pattern, ascii_only)) for pattern in patterns]
    return np.column_stack([np.asarray(pc.fill_null(matches, False), dtype=bool) for matches in found])
