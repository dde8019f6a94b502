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
    return _template().render(name=source["name"], meta=meta, points=points, columns=columns, alarms=alarms)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("contract.html.j2")
