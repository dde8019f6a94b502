"""Columns of a file that its contract does not name: counted and located, never named."""

from typing import TypedDict

# Positions that a text has.
MAX_POSITIONS = 10


class DroppedColumns(TypedDict):
    """Columns that the contract does not name: their number, and their positions (from 1) by file.

    Their names are not recorded: in a file without a header they are cells.
    """

    count: int
    positions: dict[str, list[int]]


def describe_dropped_columns(dropped: DroppedColumns) -> str:
    """Return number and positions of the columns that the contract does not name; "" if there are none."""
    if not dropped["count"]:
        return ""
    columns = "1 column" if dropped["count"] == 1 else f"{dropped['count']} columns"
    places = [
        f"{_positions(positions)}" + (f" of {file}" if len(dropped["positions"]) > 1 else "")
        for file, positions in dropped["positions"].items()
    ]
    return f"{columns} that the contract does not name" + (f", at {'; '.join(places)}" if places else "")


def _positions(positions: list[int]) -> str:
    shown = [str(position) for position in positions[:MAX_POSITIONS]]
    if more := len(positions) - len(shown):
        return f"positions {', '.join(shown)} and {more} more"
    *first, last = shown
    return f"positions {', '.join(first)} and {last}" if first else f"position {last}"
