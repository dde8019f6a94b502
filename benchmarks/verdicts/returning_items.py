"""Returning items: challengers that are worse for all customers are not promoted where customers buy again."""

from collections.abc import Iterator

from benchmarks.repeat_purchases import compare_challengers
from benchmarks.verdicts.figures import Figure, at_most, shown
from tasks.ledger import PROMOTE


def measure(scale: float, seed: int) -> Iterator[Figure]:
    """Compare challengers with the model of repeat purchases on online_retail."""
    verdicts = compare_challengers()
    for name, verdict in verdicts.items():
        difference = verdict.difference or {"value": float("nan")}
        yield shown(1, f"{name} less repeat purchases, NDCG@10 on online_retail", difference["value"])
    promoted = sum(verdict.verdict == PROMOTE for verdict in verdicts.values())
    yield at_most(1, "worse challengers promoted on online_retail", promoted, 0)
