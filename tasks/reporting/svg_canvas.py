"""Canvas for charts: Matplotlib axes, written as an SVG element that takes fonts and colours from its page.

Lengths are CSS pixels. Colours are CSS variables of the page (`CSS_VARIABLES`), so that a chart follows its light or
dark theme. Equal data gives equal bytes.
"""

import re
from dataclasses import dataclass
from html import escape
from io import StringIO

# Matplotlib accepts colours but no CSS variables: each of these stands for one until the SVG is written.
INK, MUTED, RULE, ACCENT, WARN, PAPER = (f"#0{n}0{n}0{n}" for n in range(1, 7))
CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    ACCENT: "--accent",
    WARN: "--warn",
    PAPER: "--paper",
}
DASHED = (0, (4, 3))
# Characters that XML does not allow in text.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Margins:
    """Space between the axes and the edges of the canvas."""

    left: int
    right: int
    top: int
    bottom: int


class Canvas:
    """One figure with one pair of axes.

    Matplotlib never sees text from outside: it would read `$` as mathematics, and warn of characters that its font
    lacks. It places tokens, which the escaped text replaces when the SVG is written.
    """

    def __init__(self, width: int, height: int, margins: Margins) -> None:
        from matplotlib.figure import Figure

        # SVG has 72 dots per inch, and one dot is to be one pixel.
        self._figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        rectangle = (
            margins.left / width,
            margins.bottom / height,
            (width - margins.left - margins.right) / width,
            (height - margins.top - margins.bottom) / height,
        )
        self.axes = self._figure.add_axes(rectangle, facecolor="none")
        self.axes.spines[:].set_visible(False)
        self.axes.tick_params(length=0, pad=6, labelsize=11, labelcolor=MUTED)
        self.axes.tick_params(axis="y", labelsize=12, labelcolor=INK)
        self.axes.set_axisbelow(True)
        self._texts: list[str] = []

    def text_token(self, text: str, description: str = "") -> str:
        """Return the token of a text, which is followed by its description, if any, in a muted colour."""
        suffix = (
            f'<tspan dx="8" font-size="11" style="fill: var({CSS_VARIABLES[MUTED]})">{_escape(description)}</tspan>'
            if description
            else ""
        )
        self._texts.append(_escape(text) + suffix)
        return f"word{len(self._texts) - 1}."

    def label_axes(self, x: str, y: str = "") -> None:
        """Set the axis labels, and write numbers without exponents or offsets."""
        self.axes.set_xlabel(self.text_token(x), color=MUTED, fontsize=11, labelpad=6)
        self.axes.ticklabel_format(axis="x", style="plain", useOffset=False)
        if y:
            self.axes.set_ylabel(self.text_token(y), color=MUTED, fontsize=11, labelpad=6)
            self.axes.ticklabel_format(axis="y", style="plain", useOffset=False)

    def to_svg(self, name: str, title: str) -> str:
        """Write the figure as an SVG element; all its ids begin with `name`, which must be unique on the page."""
        from matplotlib import rc_context

        file = StringIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            self._figure.savefig(file, format="svg", metadata=no_metadata)
        return self._embed(file.getvalue(), name, title)

    def _embed(self, svg: str, name: str, title: str) -> str:
        """Replace Matplotlib's size, fonts, ids and colours by those of the page, and tokens by their text."""
        size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
        assert size  # every figure has one
        body = svg[svg.index("<g ") :]
        body = re.sub(r" font-family: [^;]*;", "", body)
        body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
        body = re.sub("#0[1-6]0[1-6]0[1-6]", lambda color: f"var({CSS_VARIABLES[color[0]]})", body)
        body = re.sub(r"word(\d+)\.", lambda token: self._texts[int(token[1])], body)
        label, max_width = _escape(title), 1.15 * float(size[1])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="chart" '
            f'role="img" aria-label="{label}" viewBox="0 0 {size[1]} {size[2]}" style="max-width: {max_width:g}px">'
            f"<title>{label}</title>{body}"
        )


def shorten(text: str, max_length: int) -> str:
    """Cut a text to `max_length` characters, with an ellipsis as the last one."""
    return text if len(text) <= max_length else f"{text[: max(max_length - 1, 0)].rstrip()}…"


def _escape(text: str) -> str:
    return escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))
