"""Estimate what fits to a table cost from its size, in processor seconds per thread.

The constants are rounded from fits to German credit, HMEQ, Give Me Some Credit and Diabetes 130; estimates are within a
factor of about three, as the number of rounds depends on the data. They decide which fits a time budget suffices for,
so they must not depend on the machine.
"""

from ml.data.dataset import Dataset
from ml.time_budget import FitCost

# A fit that is cut short earlier than after this share is useless.
USEFUL_SHARE = 0.05


def table_cost(train: Dataset, fixed_seconds: float, cell_seconds: float, threads: int = 1) -> FitCost:
    """Return the cost of a fit that takes `fixed_seconds`, and `cell_seconds` of one core for each cell."""
    full = fixed_seconds + cell_seconds * train.frame.size / threads
    return FitCost(USEFUL_SHARE * full, full)
