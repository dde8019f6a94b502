"""What a draft proposes: points of the contract and rules, each with its evidence and a doubt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.contract.values import MAX_TEXT

# Type of the rules that become `meta.sums`; all others are expectations.
SUM = "sum"
# A proposal with this much doubt or more is to be reviewed; 0 is certain, 1 a guess.
REVIEW_DOUBT = 0.3


@dataclass(frozen=True)
class Proposal:
    """A point of `meta`, such as `roles.target`, with its evidence."""

    place: str
    reason: str
    doubt: float = 0.0

    @property
    def review(self) -> bool:
        """Return whether a person has to look at it."""
        return self.doubt >= REVIEW_DOUBT

    def to_json(self) -> dict[str, Any]:
        """Return the proposal as it is in a contract."""
        review = {"review": True} if self.review else {}
        return {"place": self.place, "reason": _shortened(self.reason), **review}


@dataclass(frozen=True)
class DraftRule:
    """An expectation with its action and evidence."""

    type: str
    kwargs: Mapping[str, Any]
    action: str
    reason: str
    doubt: float = 0.0

    @property
    def review(self) -> bool:
        """Return whether a person has to look at it."""
        return self.doubt >= REVIEW_DOUBT

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the rule looks at."""
        named = (self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs)
        if self.type == SUM:
            return (self.kwargs["total"], *self.kwargs["parts"], *self.kwargs.get("subtracted", ()))
        return (*named, *self.kwargs.get("column_list", ()))

    @property
    def name(self) -> str:
        """Return a short name; of a sum, its place in the contract."""
        if self.type == SUM:
            return f"sums.{self.kwargs['total']}"
        return f"{self.type.removeprefix('expect_')}({', '.join(self.columns)})"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it is in a contract: among the expectations, or in `meta.sums`."""
        review = {"review": True} if self.review else {}
        if self.type == SUM:
            return {**self.kwargs, "action": self.action, "reason": _shortened(self.reason), **review}
        meta = {"action": self.action, "reason": _shortened(self.reason), **review}
        return {"type": self.type, "kwargs": dict(self.kwargs), "meta": meta}


def _shortened(reason: str) -> str:
    """Return a reason that a contract can have: one may quote long values."""
    return reason if len(reason) <= MAX_TEXT else f"{reason[: MAX_TEXT - 1]}\u2026"
