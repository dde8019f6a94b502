"""The history of a champion as a picture: its metric by decision, as a standalone SVG file."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.metric_descriptions import describe_metric
from tasks.reporting.charts import WIDE
from tasks.reporting.svg_canvas import ACCENT, INK, MUTED, PAPER, RULE, Canvas, Margins

# The colours of the report (style.css.j2), for a picture that is on no page.
STYLE = (
    "<style>svg { --paper: #ffffff; --ink: #1b2026; --muted: #5b6570; --rule: #dfe3e7; --accent: #1f5fa8;"
    " --warn: #94590a; background: var(--paper); font-family: system-ui, sans-serif; }"
    " @media (prefers-color-scheme: dark) { svg { --paper: #14181c; --ink: #e4e8ec; --muted: #99a4af;"
    " --rule: #313940; --accent: #74ace8; --warn: #e0ad5e; } }</style>"
)
# Labels of decisions and of versions that fit side by side.
MAX_LABELS = 20


def champion_chart(name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Draw a line for the champion's metric after each entry of the ledger, and a dot for each version decided about.

    A filled dot became champion, an open one did not. A version has the value of its own run's test split, which the
    first entry about it has; where none has one, as after an alias was moved by hand, the line is interrupted.
    """
    canvas = Canvas(WIDE, 300, Margins(left=64, right=24, top=28, bottom=52))
    axes = canvas.axes
    values = _values(entries)
    positions = range(1, len(entries) + 1)
    champions = [values.get(entry["champion"], float("nan")) for entry in entries]
    # The last champion is champion until the next decision.
    steps = [*positions, len(entries) + 0.5], [*champions, champions[-1]]
    axes.step(*steps, where="post", color=ACCENT, linewidth=1.8, gid="champion")
    for gid, fill, is_champion in (("promoted", ACCENT, True), ("not-promoted", PAPER, False)):
        dots = [
            (position, values[entry["version"]])
            for position, entry in zip(positions, entries, strict=True)
            if entry.get("version") in values and (entry["champion"] == entry["version"]) == is_champion
        ]
        if dots:
            axes.plot(
                *zip(*dots, strict=True), "o", color=ACCENT, markerfacecolor=fill, markersize=7, gid=gid
            )
    _label_champions(canvas, entries, champions)
    axes.set_xlim(0.5, len(entries) + 0.5)
    axes.margins(y=0.18)
    axes.grid(True, axis="y", color=RULE, linewidth=0.8)
    metrics = [entry["primary"] for entry in entries if entry.get("primary")]
    metric = describe_metric(metrics[-1]).label if metrics else "metric"
    canvas.label_axes(
        "decision (number of the ledger entry); open dots were not promoted", f"{metric} on test"
    )
    axes.set_xticks(range(1, len(entries) + 1, 1 + len(entries) // MAX_LABELS))
    axes.tick_params(axis="y", labelsize=11, labelcolor=MUTED)
    svg = canvas.to_svg("history", f"Champions of {name}: {metric} on the test split, by decision")
    start = svg.index(">") + 1
    return f"{svg[:start]}{STYLE}{svg[start:]}\n"


def _values(entries: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    values: dict[int, float] = {}
    for entry in entries:
        if entry.get("version") is not None and isinstance(entry.get("value"), int | float):
            values.setdefault(int(entry["version"]), float(entry["value"]))
    return values


def _label_champions(
    canvas: Canvas, entries: Sequence[Mapping[str, Any]], champions: Sequence[float]
) -> None:
    """Write the version above each decision that changed the champion, and that it was a rollback."""
    changes = [n for n, entry in enumerate(entries) if entry["champion"] != entry["before"]]
    for n in changes[-MAX_LABELS:]:
        entry, value = entries[n], champions[n]
        # The value is not a number where it is unknown.
        if entry["champion"] is None or value != value:
            continue
        suffix = "" if entry["verdict"] == "promote" else f" ({entry['verdict']})"
        token = canvas.text_token(f"v{entry['champion']}{suffix}")
        # The line comes from above where the champion's metric fell.
        offset = -16 if n and champions[n - 1] > value else 9
        canvas.axes.annotate(
            token,
            (n + 1, value),
            (0, offset),
            textcoords="offset points",
            ha="center",
            fontsize=11,
            color=INK,
        )
