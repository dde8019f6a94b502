"""A measured figure with the bound that it must keep."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure about one item of the list of what verdicts must hold; `holds` is None where there is no bound."""

    item: int
    subject: str
    value: str
    bound: str = ""
    holds: bool | None = None

    def __str__(self) -> str:
        outcome = {True: "holds", False: "MISSED", None: ""}[self.holds]
        return f"[{self.item}] {self.subject:<104} {self.value:>7}  {self.bound:<10} {outcome}".rstrip()


def at_most(item: int, subject: str, value: float, bound: float) -> Figure:
    """Return a figure that must not be above its bound."""
    return Figure(item, subject, f"{value:.3f}", f"<= {bound:g}", bool(value <= bound))


def at_least(item: int, subject: str, value: float, bound: float) -> Figure:
    """Return a figure that must not be below its bound."""
    return Figure(item, subject, f"{value:.3f}", f">= {bound:g}", bool(value >= bound))


def shown(item: int, subject: str, value: float | str) -> Figure:
    """Return a figure without a bound."""
    return Figure(item, subject, value if isinstance(value, str) else f"{value:.3f}")
