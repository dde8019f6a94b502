"""A page about a drafted contract: what to look at, and each column with its distribution and rules."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template

from ml.drafting.summary import ColumnSummary


def render_contract(source: Mapping[str, Any], columns: Sequence[ColumnSummary], alarms: str) -> str:
    """Render a page without scripts; equal contracts and columns give equal bytes."""
    meta = source["meta"]
    points = [point for point in meta.get("proposals", ()) if point.get("review")]
    shown = [point for point in points if not point["place"].startswith("read.replace.")]
    shown += [
        _repairs(column, values)
        for column, values in meta["read"].get("replace", {}).items()
        if any(f"{point['place']}.".startswith(f"read.replace.{column}.") for point in points)
    ]
    return _template().render(name=source["name"], meta=meta, points=shown, columns=columns, alarms=alarms)


def _repairs(column: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return one point about the repaired spellings of a column: the page quotes no rare value."""
    reason = f"{len(values)} spellings are repaired as others of the column: the contract has them"
    return {"place": f"read.replace.{column}", "reason": reason}


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("contract.html.j2")
