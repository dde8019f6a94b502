"""The questions of `steward contract --review`: each doubtful point, the most doubtful first."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ml.drafting.draft import Draft
    from ml.drafting.review import Point

# Points about the target, with what is asked for and the key of the answer.
CHANGEABLE = {
    "roles.target": ("column to predict", "target"),
    "roles.target.positive": ("positive class", "positive"),
    "roles.target.number": ("number above which the class is positive", "above"),
    "roles.target.above": ("number above which the class is positive", "above"),
}
# Draft again with another target or positive class.
Redraft = Callable[[Mapping[str, str]], "Draft"]


def review_points(draft: "Draft", redraft: Redraft) -> tuple["Draft", dict[str, Any]]:
    """Ask about each doubtful point; return the draft, and its contract as it was decided.

    Another target or positive class makes another draft, whose points are asked about from the start.
    """
    from ml.drafting.review import drop, keep, open_points
    from ml.errors import ContractError, UsageError

    chosen: dict[str, str] = {}
    source, left = dict(draft.source), set[tuple[str, str]]()
    while points := [p for p in open_points(source) if (p.place, p.reason) not in left]:
        order = {(doubt.place, doubt.reason): number for number, doubt in enumerate(draft.doubts)}
        point = min(points, key=lambda p: order.get((p.place, p.reason), len(order)))
        answer = _ask(point, len(points))
        if answer == "q":
            break
        if answer == "k":
            source = keep(source, point)
        elif answer == "d" and point.can_drop:
            try:
                source = drop(source, point)
            except ContractError as error:
                typer.echo(f"    that is impossible: {error}", err=True)
                left.add((point.place, point.reason))
        elif answer == "c" and point.place in CHANGEABLE:
            changed = _changed(point, chosen)
            try:
                draft = redraft(changed)
            except UsageError as error:
                typer.echo(f"    that is impossible: {error}", err=True)
                continue
            chosen, source, left = changed, dict(draft.source), set()
            typer.echo(f"    drafted again with {_described(chosen)}", err=True)
        else:
            left.add((point.place, point.reason))
    return draft, source


def _ask(point: "Point", count: int) -> str:
    choices = ["[k]eep", *(["[d]rop"] if point.can_drop else [])]
    choices += [*(["[c]hange"] if point.place in CHANGEABLE else []), "[l]ater", "[q]uit"]
    typer.echo(f"\n{point.place} ({count} left)\n    {point.reason}", err=True)
    answer: str = typer.prompt(", ".join(choices), default="l", show_default=False, err=True)
    return answer.strip().lower()[:1]


def _changed(point: "Point", chosen: Mapping[str, str]) -> dict[str, str]:
    """Ask for another target, positive class or number above which it is positive; another target has other classes."""
    wanted, key = CHANGEABLE[point.place]
    answer: str = typer.prompt(wanted, err=True)
    target = {"target": chosen["target"]} if "target" in chosen and key != "target" else {}
    return {**target, key: answer}


def _described(chosen: Mapping[str, str]) -> str:
    return " and ".join(f"--{key} {value!r}" for key, value in chosen.items())
