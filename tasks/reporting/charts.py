"""Charts of aggregates, as SVG elements.

Each function takes `name`, a word that is unique on the page and with which all ids of the SVG begin, and a `title`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.reporting.svg_canvas import ACCENT, DASHED, INK, MUTED, PAPER, RULE, WARN, Canvas, Margins, shorten

if TYPE_CHECKING:
    from ml.evaluation.confidence_intervals import Interval

# Width of a chart as wide as the text, and edge of a square one, in CSS pixels.
WIDE, SQUARE = 640, 320
# Characters of the label of an interval.
MAX_LABEL_LENGTH = 28


def line_chart(
    name: str,
    title: str,
    points: Mapping[str, Sequence[float]],
    axes: tuple[str, str],
    reference: Sequence[tuple[float, float]] = (),
    mark: tuple[float, float] | None = None,
) -> str:
    """Draw a line through `points` (`x` and `y`, in 0..1), such as a ROC or a precision-recall curve.

    `reference` is a second, dashed line, such as that of a random model; `mark` is a point to highlight.
    """
    canvas = _square_canvas(axes, 1.0)
    if reference:
        canvas.axes.plot(*zip(*reference, strict=True), color=MUTED, linewidth=1, linestyle=DASHED)
    canvas.axes.plot(points["x"], points["y"], color=ACCENT, linewidth=1.8, clip_on=False, gid="curve")
    if mark:
        x, y = mark
        canvas.axes.plot(
            [x], [y], "D", color=INK, markersize=6, markeredgecolor=PAPER, clip_on=False, gid="mark"
        )
    return canvas.to_svg(name, title)


def reliability_diagram(name: str, title: str, bins: Mapping[str, Sequence[float]]) -> str:
    """Draw the observed share (`observed`, whiskers from `low` to `high`) by the mean probability (`predicted`).

    All are in 0..1. A perfectly calibrated model is on the diagonal.
    """
    top = min(1.0, 1.04 * max(*bins["predicted"], *bins["high"]))
    canvas = _square_canvas(("mean predicted probability", "observed share"), top)
    canvas.axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=DASHED)
    whiskers = canvas.axes.vlines(bins["predicted"], bins["low"], bins["high"], ACCENT, linewidth=1.6)
    whiskers.set_gid("whiskers")
    _plot_points(canvas, bins)
    return canvas.to_svg(name, title)


def prediction_scatter(name: str, title: str, means: Mapping[str, Sequence[float]]) -> str:
    """Draw the mean target (`observed`) by the mean prediction (`predicted`), in units of the target."""
    ends = [min(*means["predicted"], *means["observed"]), max(*means["predicted"], *means["observed"])]
    canvas = _square_canvas(("mean prediction", "mean target"), None)
    canvas.axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=DASHED)
    _plot_points(canvas, means)
    return canvas.to_svg(name, title)


def interval_chart(
    name: str,
    title: str,
    estimates: Mapping[str, "Interval"],
    axis: str,
    reference: tuple[str, float] | None = None,
    hollow: Collection[str] = (),
) -> str:
    """Draw a dot and a whisker for each labelled estimate, from top to bottom.

    `reference` is the label and the value of a vertical line; the labels in `hollow` get an open dot.
    """
    top = 26 if reference else 8
    # Seven pixels for a character are enough with any font of the page.
    left = 16 + 7 * min(MAX_LABEL_LENGTH, max(map(len, estimates), default=0))
    canvas = Canvas(WIDE, top + 28 * len(estimates) + 40, Margins(left, right=20, top=top, bottom=40))
    axes, positions = canvas.axes, range(len(estimates))
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    labels = [canvas.text_token(shorten(label, MAX_LABEL_LENGTH)) for label in estimates]
    axes.set_yticks(positions, labels, ha="left")
    axes.tick_params(axis="y", pad=left - 2)
    axes.grid(True, axis="x", color=RULE, linewidth=0.8)
    canvas.label_axes(x=axis)
    intervals = list(estimates.values())
    lows, highs = [interval.low for interval in intervals], [interval.high for interval in intervals]
    axes.hlines(positions, lows, highs, ACCENT, linewidth=1.8).set_gid("whiskers")
    # One line of dots for each kind of dot, because a line has one style.
    for gid, fill in (("points", ACCENT), ("open-points", PAPER)):
        rows = [row for row, label in enumerate(estimates) if (label in hollow) == (fill == PAPER)]
        values = [intervals[row].value for row in rows]
        axes.plot(values, rows, "o", color=ACCENT, markerfacecolor=fill, markersize=7, gid=gid)
    if reference:
        label, value = reference
        axes.axvline(value, color=INK, linewidth=1, linestyle=DASHED, gid="reference")
        token, transform = canvas.text_token(label), axes.get_xaxis_transform()
        axes.text(value, 1, token, transform=transform, ha="center", va="bottom", color=INK, fontsize=11)
    axes.margins(x=0.06)
    return canvas.to_svg(name, title)


def bar_chart(name: str, title: str, shares: Mapping[str, float], descriptions: Mapping[str, str]) -> str:
    """Draw one bar for each labelled share (>= 0) in the given order, below its label and description."""
    canvas = Canvas(WIDE, 38 * len(shares) + 4, Margins(left=2, right=70, top=2, bottom=2))
    axes = canvas.axes
    largest = max(shares.values(), default=0) or 1
    axes.set_xlim(0, largest)
    axes.set_ylim(len(shares), 0)
    axes.set_axis_off()
    for row, (label, share) in enumerate(shares.items()):
        axes.barh(row + 0.68, share, 0.32, color=ACCENT, gid=f"bar-{row}")
        description = shorten(descriptions.get(label, ""), 104 - min(len(label), 60))
        text = canvas.text_token(shorten(label, 60), description)
        axes.text(0, row + 0.4, text, va="baseline", color=INK, fontsize=12)
        x = share + 0.01 * largest
        axes.text(x, row + 0.72, f"{share:.4f}", va="center_baseline", color=MUTED, fontsize=11)
    return canvas.to_svg(name, title)


def paired_column_chart(
    name: str, title: str, groups: Mapping[str, tuple[float, float]], axes: tuple[str, str]
) -> str:
    """Draw two columns for each labelled pair of shares (0..1): the first in the accent colour, the second muted."""
    canvas = Canvas(WIDE, 240, Margins(left=56, right=12, top=10, bottom=48))
    canvas.axes.grid(True, axis="y", color=RULE, linewidth=0.8)
    canvas.label_axes(*axes)
    for side, (gid, color) in enumerate((("first", ACCENT), ("second", MUTED))):
        for position, pair in enumerate(groups.values()):
            x = position + 0.4 * (side - 0.5)
            canvas.axes.bar(x, pair[side], 0.36, color=color, gid=f"{gid}-{position}")
    canvas.axes.set_xticks(range(len(groups)), [canvas.text_token(shorten(label, 10)) for label in groups])
    canvas.axes.set_ylim(0, 1.04 * (max(map(max, groups.values()), default=0) or 1))
    canvas.axes.locator_params(axis="y", nbins=5)
    canvas.axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    canvas.axes.tick_params(axis="y", labelsize=11, labelcolor=MUTED)
    return canvas.to_svg(name, title)


def stacked_bar(name: str, title: str, counts: Mapping[str, int]) -> str:
    """Draw one bar divided in proportion to up to three counts, in the accent, the warning and the muted colour."""
    canvas = Canvas(WIDE, 20, Margins(left=0, right=0, top=0, bottom=0))
    canvas.axes.set_xlim(0, sum(counts.values()) or 1)
    canvas.axes.set_axis_off()
    start = 0
    for position, (count, color) in enumerate(zip(counts.values(), (ACCENT, WARN, MUTED), strict=False)):
        canvas.axes.barh(0, count, 1, start, color=color, gid=f"share-{position}")
        start += count
    return canvas.to_svg(name, title)


def _square_canvas(labels: tuple[str, str], upper_limit: float | None) -> Canvas:
    """Create a square canvas whose axes range from 0 to `upper_limit`, if given."""
    canvas = Canvas(SQUARE, SQUARE - 4, Margins(left=50, right=12, top=10, bottom=48))
    canvas.axes.grid(True, color=RULE, linewidth=0.8)
    canvas.axes.tick_params(axis="y", labelsize=11, labelcolor=MUTED)
    canvas.label_axes(*labels)
    canvas.axes.locator_params(nbins=5)
    if upper_limit is not None:
        canvas.axes.set_xlim(0, upper_limit)
        canvas.axes.set_ylim(0, upper_limit)
    return canvas


def _plot_points(canvas: Canvas, means: Mapping[str, Sequence[float]]) -> None:
    canvas.axes.plot(
        means["predicted"], means["observed"], "o", color=ACCENT, markersize=6, clip_on=False, gid="points"
    )
