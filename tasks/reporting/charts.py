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
MAX_LABEL_LENGTH = 48


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
    """Draw a dot and a whisker for each estimate below its label, from top to bottom.

    `reference` is the label and the value of a vertical line; the labels in `hollow` get an open dot.
    """
    top = 26 if reference else 8
    # Labels are above and not beside: a narrow screen shows them larger (style.css.j2).
    canvas = Canvas(WIDE, top + 40 * len(estimates) + 40, Margins(left=20, right=20, top=top, bottom=40))
    axes, positions = canvas.axes, [float(row) for row in range(len(estimates))]
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    for position, label in zip(positions, estimates, strict=True):
        text, transform = canvas.text_token(shorten(label, MAX_LABEL_LENGTH)), axes.get_yaxis_transform()
        axes.text(-0.02, position - 0.16, text, transform=transform, va="baseline", color=INK, fontsize=12)
    positions = [position + 0.14 for position in positions]
    axes.grid(True, axis="x", color=RULE, linewidth=0.8)
    canvas.label_axes(x=axis)
    intervals = list(estimates.values())
    lows, highs = [interval.low for interval in intervals], [interval.high for interval in intervals]
    axes.hlines(positions, lows, highs, ACCENT, linewidth=1.8).set_gid("whiskers")
    # One line of dots for each kind of dot, because a line has one style.
    for gid, fill in (("points", ACCENT), ("open-points", PAPER)):
        rows = [row for row, label in enumerate(estimates) if (label in hollow) == (fill == PAPER)]
        values, heights = [intervals[row].value for row in rows], [positions[row] for row in rows]
        axes.plot(values, heights, "o", color=ACCENT, markerfacecolor=fill, markersize=7, gid=gid)
    if reference:
        label, value = reference
        axes.axvline(value, color=INK, linewidth=1, linestyle=DASHED, gid="reference")
        token, transform = canvas.text_token(label), axes.get_xaxis_transform()
        axes.text(value, 1, token, transform=transform, ha="center", va="bottom", color=INK, fontsize=11)
    axes.margins(x=0.06)
    return canvas.to_svg(name, title)


def effect_curve(
    name: str, title: str, points: tuple[Sequence[float], Sequence[float]], axes: tuple[str, str]
) -> str:
    """Draw the effects of a feature (second) by its values (first); the dashed line is no effect."""
    canvas = _square_canvas(axes, None, left=64)
    canvas.axes.axhline(0, color=MUTED, linewidth=1, linestyle=DASHED)
    canvas.axes.plot(*points, color=ACCENT, linewidth=1.8, gid="curve")
    return canvas.to_svg(name, title)


def bar_chart(name: str, title: str, shares: Mapping[str, float], descriptions: Mapping[str, str]) -> str:
    """Draw one bar for each labelled share (>= 0) in the given order, below its label and description."""
    canvas = Canvas(WIDE, 44 * len(shares) + 4, Margins(left=2, right=70, top=2, bottom=2))
    axes = canvas.axes
    largest = max(shares.values(), default=0) or 1
    axes.set_xlim(0, largest)
    axes.set_ylim(len(shares), 0)
    axes.set_axis_off()
    for row, (label, share) in enumerate(shares.items()):
        axes.barh(row + 0.7, share, 0.28, color=ACCENT, gid=f"bar-{row}")
        description = shorten(descriptions.get(label, ""), 104 - min(len(label), 60))
        text = canvas.text_token(shorten(label, 60), description)
        axes.text(0, row + 0.4, text, va="baseline", color=INK, fontsize=12)
        x = share + 0.01 * largest
        axes.text(x, row + 0.73, f"{share:.4f}", va="center_baseline", color=MUTED, fontsize=11)
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


def confusion_picture(name: str, title: str, labels: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    """Draw the share of the rows of each class (from top to bottom) that each class is predicted for (left to right).

    The darker a cell, the larger its share; shares of 1 % and more are written into it. Columns have the numbers of
    the rows.
    """
    edge, classes = 28, len(labels)
    longest = max((len(label) for label in labels), default=0)
    left = min(8 * longest + 40, WIDE - 12 - edge * classes)
    canvas = Canvas(
        left + edge * classes + 12, edge * classes + 56, Margins(left, right=12, top=24, bottom=32)
    )
    axes = canvas.axes
    axes.set_xlim(-0.5, classes - 0.5)
    axes.set_ylim(classes - 0.5, -0.5)
    for row, cells in enumerate(shares):
        for column, share in enumerate(cells):
            if share > 0.0:
                axes.bar(
                    column, 1, 1, row - 0.5, color=ACCENT, alpha=min(0.08 + 0.62 * share, 1.0), linewidth=0
                )
            if share >= 0.01:
                text = canvas.text_token(f"{100 * share:.0f}")
                axes.text(column, row, text, ha="center", va="center_baseline", color=INK, fontsize=10)
    numbered = [f"{shorten(label, max((left - 40) // 7, 4))}  {n}" for n, label in enumerate(labels, 1)]
    axes.set_yticks(range(classes), [canvas.text_token(text) for text in numbered])
    axes.set_xticks(range(classes), [canvas.text_token(str(n)) for n in range(1, classes + 1)])
    axes.xaxis.tick_top()
    axes.set_xlabel(canvas.text_token("predicted class"), color=MUTED, fontsize=11, labelpad=8)
    axes.xaxis.set_label_position("bottom")
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


def _square_canvas(labels: tuple[str, str], upper_limit: float | None, left: int = 50) -> Canvas:
    """Create a square canvas whose axes range from 0 to `upper_limit`, if given."""
    canvas = Canvas(SQUARE, SQUARE - 4, Margins(left, right=12, top=10, bottom=48))
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
