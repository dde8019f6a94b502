"""Charts as SVG text, from aggregates alone.

Colours are CSS variables of the page that shows a chart (`PAINTS` names them) and text stays text, so that a chart
follows the page's font and its light or dark. The same figures give the same bytes. Lengths are CSS pixels.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml.evaluation.confidence_intervals import Interval

# Matplotlib knows colours, not CSS variables: each of these stands for one until the SVG is written.
INK, MUTED, RULE, ACCENT, WARN, PAPER = (f"#0{n}0{n}0{n}" for n in range(1, 7))
PAINTS = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    ACCENT: "--accent",
    WARN: "--warn",
    PAPER: "--paper",
}
WIDE, SQUARE = 640, 320
# Letters of a label beside its dot.
LONGEST = 28
# What XML does not allow in text.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def curve(
    name: str,
    title: str,
    points: Mapping[str, Sequence[float]],
    axes: tuple[str, str],
    reference: Sequence[tuple[float, float]] = (),
    mark: tuple[float, float] | None = None,
) -> str:
    """A line through `points` (`x` and `y`, in 0..1), such as a ROC or a precision-recall curve.

    `reference` is a second, dashed line (what chance gives), `mark` one point to stand out. `name` is a word
    that is unique on the page; all ids of the SVG begin with it.
    """
    canvas = _square(axes, 1.0)
    if reference:
        canvas.axes.plot(*zip(*reference, strict=True), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    canvas.axes.plot(points["x"], points["y"], color=ACCENT, linewidth=1.8, clip_on=False, gid="curve")
    if mark:
        canvas.axes.plot(
            *([v] for v in mark),
            "D",
            color=INK,
            markersize=6,
            markeredgecolor=PAPER,
            clip_on=False,
            gid="mark",
        )
    return canvas.svg(name, title)


def reliability(name: str, title: str, bins: Mapping[str, Sequence[float]]) -> str:
    """Observed share (`observed`, whiskers from `low` to `high`) by mean probability (`predicted`), each in 0..1.

    Perfect calibration lies on the diagonal.
    """
    top = min(1.0, 1.04 * max(*bins["predicted"], *bins["high"]))
    canvas = _square(("mean predicted probability", "observed share"), top)
    canvas.axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    canvas.axes.vlines(bins["predicted"], bins["low"], bins["high"], ACCENT, linewidth=1.6).set_gid(
        "whiskers"
    )
    canvas.axes.plot(
        bins["predicted"], bins["observed"], "o", color=ACCENT, markersize=6, clip_on=False, gid="points"
    )
    return canvas.svg(name, title)


def agreement(name: str, title: str, points: Mapping[str, Sequence[float]]) -> str:
    """Mean of the truth (`observed`) by mean prediction (`predicted`), in units of the target, and the diagonal."""
    ends = [min(*points["predicted"], *points["observed"]), max(*points["predicted"], *points["observed"])]
    canvas = _square(("mean prediction", "mean truth"), None)
    canvas.axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    canvas.axes.plot(
        points["predicted"], points["observed"], "o", color=ACCENT, markersize=6, clip_on=False, gid="points"
    )
    return canvas.svg(name, title)


def whiskers(
    name: str,
    title: str,
    estimates: Mapping[str, "Interval"],
    axis: str,
    line: tuple[str, float] | None = None,
    hollow: Collection[str] = (),
) -> str:
    """A dot and a whisker for each labelled estimate, from top to bottom.

    `line` is a value to compare with, drawn from top to bottom with its label; the labels in `hollow` get an open
    dot.
    """
    head = 26 if line else 8
    # Seven pixels for a letter are enough, whichever the page's font.
    left = 16 + 7 * min(LONGEST, max(map(len, estimates), default=0))
    canvas = _Canvas(WIDE, head + 28 * len(estimates) + 40, left=left, right=20, top=head, bottom=40)
    axes, places = canvas.axes, range(len(estimates))
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.set_yticks(places, [canvas.word(_shortened(label, LONGEST)) for label in estimates], ha="left")
    axes.tick_params(axis="y", pad=left - 2)
    axes.grid(True, axis="x", color=RULE, linewidth=0.8)
    canvas.label(x=axis)
    found = list(estimates.values())
    axes.hlines(places, [e.low for e in found], [e.high for e in found], ACCENT, linewidth=1.8).set_gid(
        "whiskers"
    )
    # One line of dots for each kind of dot, because a line has one style.
    for kind, fill in (("points", ACCENT), ("open-points", PAPER)):
        mine = [place for place, label in enumerate(estimates) if (label in hollow) == (fill == PAPER)]
        axes.plot(
            [found[p].value for p in mine],
            mine,
            "o",
            color=ACCENT,
            markerfacecolor=fill,
            markersize=7,
            gid=kind,
        )
    if line:
        axes.axvline(line[1], color=INK, linewidth=1, linestyle=(0, (4, 3)), gid="reference")
        where = axes.get_xaxis_transform()
        axes.text(
            line[1],
            1,
            canvas.word(line[0]),
            transform=where,
            ha="center",
            va="bottom",
            color=INK,
            fontsize=11,
        )
    axes.margins(x=0.06)
    return canvas.svg(name, title)


def bars(name: str, title: str, shares: Mapping[str, float], descriptions: Mapping[str, str]) -> str:
    """One bar for each labelled share (>= 0) in the order given, with its label, and description, above it."""
    canvas = _Canvas(WIDE, 38 * len(shares) + 4, left=2, right=70, top=2, bottom=2)
    axes = canvas.axes
    most = max(shares.values(), default=0) or 1
    axes.set_xlim(0, most)
    axes.set_ylim(len(shares), 0)
    axes.set_axis_off()
    for place, (label, share) in enumerate(shares.items()):
        axes.barh(place + 0.68, share, 0.32, color=ACCENT, gid=f"bar-{place}")
        described = canvas.word(
            _shortened(label, 60), _shortened(descriptions.get(label, ""), 104 - min(len(label), 60))
        )
        axes.text(0, place + 0.4, described, va="baseline", color=INK, fontsize=12)
        axes.text(
            share + 0.01 * most, place + 0.72, f"{share:.4f}", va="center_baseline", color=MUTED, fontsize=11
        )
    return canvas.svg(name, title)


def columns(name: str, title: str, groups: Mapping[str, tuple[float, float]], axes: tuple[str, str]) -> str:
    """Two columns for each labelled pair of shares (0..1): the first in the accent's colour, the second muted."""
    canvas = _Canvas(WIDE, 240, left=56, right=12, top=10, bottom=48)
    canvas.axes.grid(True, axis="y", color=RULE, linewidth=0.8)
    canvas.label(*axes)
    for side, paint in enumerate((ACCENT, MUTED)):
        for place, pair in enumerate(groups.values()):
            at = place + 0.4 * (side - 0.5)
            canvas.axes.bar(at, pair[side], 0.36, color=paint, gid=f"{('first', 'second')[side]}-{place}")
    canvas.axes.set_xticks(range(len(groups)), [canvas.word(_shortened(label, 10)) for label in groups])
    canvas.axes.set_ylim(0, 1.04 * (max(map(max, groups.values()), default=0) or 1))
    canvas.axes.locator_params(axis="y", nbins=5)
    canvas.axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    canvas.axes.tick_params(axis="y", labelsize=11, labelcolor=MUTED)
    return canvas.svg(name, title)


def stack(name: str, title: str, counts: Mapping[str, int]) -> str:
    """One bar, divided in proportion to the counts: the first in the accent's colour, then warning and muted."""
    canvas = _Canvas(WIDE, 20, left=0, right=0, top=0, bottom=0)
    canvas.axes.set_xlim(0, sum(counts.values()) or 1)
    canvas.axes.set_axis_off()
    begin = 0
    for place, (count, paint) in enumerate(zip(counts.values(), (ACCENT, WARN, MUTED), strict=False)):
        canvas.axes.barh(0, count, 1, begin, color=paint, gid=f"share-{place}")
        begin += count
    return canvas.svg(name, title)


class _Canvas:
    """One figure with one pair of axes.

    Matplotlib never reads a word from outside: it would take `$` for mathematics and warn of letters that its font
    lacks. It places tokens, and the words replace them, escaped, when the SVG is written.
    """

    def __init__(self, width: int, height: int, left: int, right: int, top: int, bottom: int) -> None:
        from matplotlib.figure import Figure

        # SVG has 72 dots per inch, and one dot is to be one pixel.
        self._figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        inside = (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - top - bottom) / height,
        )
        self.axes = self._figure.add_axes(inside, facecolor="none")
        self.axes.spines[:].set_visible(False)
        self.axes.tick_params(length=0, pad=6, labelsize=11, labelcolor=MUTED)
        self.axes.tick_params(axis="y", labelsize=12, labelcolor=INK)
        self.axes.set_axisbelow(True)
        self._words: list[str] = []

    def word(self, text: str, described: str = "") -> str:
        """The token of a text, whose description, if any, is written after it in a quieter colour."""
        more = (
            f'<tspan dx="8" font-size="11" style="fill: var({PAINTS[MUTED]})">{_plain(described)}</tspan>'
            if described
            else ""
        )
        self._words.append(_plain(text) + more)
        return f"word{len(self._words) - 1}."

    def label(self, x: str, y: str = "") -> None:
        self.axes.set_xlabel(self.word(x), color=MUTED, fontsize=11, labelpad=6)
        self.axes.ticklabel_format(axis="x", style="plain", useOffset=False)
        if y:
            self.axes.set_ylabel(self.word(y), color=MUTED, fontsize=11, labelpad=6)
            self.axes.ticklabel_format(axis="y", style="plain", useOffset=False)

    def svg(self, name: str, title: str) -> str:
        from matplotlib import rc_context

        file = StringIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            self._figure.savefig(file, format="svg", metadata=silent)
        return self._adopted(file.getvalue(), name, title)

    def _adopted(self, svg: str, name: str, title: str) -> str:
        """Matplotlib's SVG as a part of a page: its own size and style go, ids and colours become the page's."""
        size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
        assert size  # every figure has one
        body = svg[svg.index("<g ") :]
        body = re.sub(r" font-family: [^;]*;", "", body)
        body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
        body = re.sub("#0[1-6]0[1-6]0[1-6]", lambda found: f"var({PAINTS[found[0]]})", body)
        body = re.sub(r"word(\d+)\.", lambda found: self._words[int(found[1])], body)
        said, most = _plain(title), 1.15 * float(size[1])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="chart" '
            f'role="img" aria-label="{said}" viewBox="0 0 {size[1]} {size[2]}" style="max-width: {most:g}px">'
            f"<title>{said}</title>{body}"
        )


def _square(labels: tuple[str, str], top: float | None) -> _Canvas:
    """Axes of equal scale; from 0 to `top` where it is given."""
    canvas = _Canvas(SQUARE, SQUARE - 4, left=50, right=12, top=10, bottom=48)
    canvas.axes.grid(True, color=RULE, linewidth=0.8)
    canvas.axes.tick_params(axis="y", labelsize=11, labelcolor=MUTED)
    canvas.label(*labels)
    canvas.axes.locator_params(nbins=5)
    if top is not None:
        canvas.axes.set_xlim(0, top)
        canvas.axes.set_ylim(0, top)
    return canvas


def _plain(text: str) -> str:
    return escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(most - 1, 0)].rstrip()}…"
