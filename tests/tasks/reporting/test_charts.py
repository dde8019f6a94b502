"""Charts are well-formed, show the given data exactly, and take colours and fonts from the page."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.confidence_intervals import Interval
from tasks.reporting import charts
from tasks.reporting.svg_canvas import CSS_VARIABLES

SVG = "{http://www.w3.org/2000/svg}"
ESTIMATES = {
    "constant": Interval(0.5, 0.5, 0.5),
    "linear": Interval(0.7, 0.65, 0.75),
    "trees": Interval(0.8, 0.77, 0.83),
}
BINS: dict[str, list[float]] = {
    "predicted": [0.1, 0.4],
    "observed": [0.15, 0.35],
    "low": [0.1, 0.3],
    "high": [0.2, 0.41],
    "count": [50, 50],
}
SQUARE = {"x": [0.0, 0.5, 1.0], "y": [0.0, 1.0, 1.0]}
CHARTS = {
    "roc": charts.line_chart("roc", "ROC", SQUARE, ("x", "y"), [(0, 0), (1, 1)], (0.5, 1.0)),
    "bins": charts.reliability_diagram("bins", "Calibration", BINS),
    "deciles": charts.prediction_scatter(
        "deciles", "Deciles", {"predicted": [10.0, 2e6], "observed": [20.0, 1e6]}
    ),
    "leaderboard": charts.interval_chart(
        "leaderboard", "Leaderboard", ESTIMATES, "AUC", ("all", 0.6), {"constant", "linear"}
    ),
    "bars": charts.bar_chart("bars", "Columns", {"age": 0.7, "income": 0.3}, {"age": "in years"}),
    "exposure": charts.paired_column_chart(
        "exposure", "Exposure", {"1": (0.8, 0.4), "new": (0.2, 0.6)}, ("deciles", "share")
    ),
    "rows": charts.stacked_bar("rows", "Rows", {"clean": 90, "quarantined": 9, "excluded": 1}),
}


def element(svg: str, name: str) -> ElementTree.Element:
    found = [e for e in ElementTree.fromstring(svg).iter() if e.get("id") == name]
    assert len(found) == 1
    return found[0]


def count(svg: str, name: str, tag: str) -> int:
    return len(list(element(svg, name).iter(f"{SVG}{tag}")))


def dots(svg: str, name: str) -> list[tuple[float, float]]:
    return [
        (float(e.get("x", "nan")), float(e.get("y", "nan"))) for e in element(svg, name).iter(f"{SVG}use")
    ]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_xml_with_a_title_and_unique_ids(name: str) -> None:
    root = ElementTree.fromstring(CHARTS[name])
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == root.get("aria-label")
    ids = [e.get("id", "") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(i.startswith(f"{name}-") for i in ids)
    references = re.findall(r'(?:href="|url\()#([^")]+)', CHARTS[name])
    assert set(references) <= set(ids)


@pytest.mark.parametrize("svg", CHARTS.values(), ids=CHARTS)
def test_colours_are_css_variables_and_no_style_is_set(svg: str) -> None:
    colors = re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)
    assert colors
    assert {color for color in colors if color != "none"} <= {
        f"var({variable})" for variable in CSS_VARIABLES.values()
    }
    assert not re.search(r"<style|font-family|<metadata|<image|DOCTYPE", svg)


def test_equal_data_gives_equal_bytes() -> None:
    assert charts.reliability_diagram("bins", "Calibration", BINS) == CHARTS["bins"]
    assert (
        charts.interval_chart(
            "leaderboard", "Leaderboard", ESTIMATES, "AUC", ("all", 0.6), {"constant", "linear"}
        )
        == CHARTS["leaderboard"]
    )


def test_each_estimate_has_a_dot_and_a_whisker() -> None:
    svg = CHARTS["leaderboard"]
    assert count(svg, "leaderboard-whiskers", "path") == 3
    assert len(dots(svg, "leaderboard-points")) == 1  # the leader
    assert len(dots(svg, "leaderboard-open-points")) == 2
    assert count(svg, "leaderboard-reference", "path") == 1


def test_dots_are_placed_by_value_from_top_to_bottom() -> None:
    (constant, first), (linear, second) = dots(CHARTS["leaderboard"], "leaderboard-open-points")
    ((trees, third),) = dots(CHARTS["leaderboard"], "leaderboard-points")
    assert first < second < third
    assert (linear - constant) / (trees - constant) == pytest.approx(0.2 / 0.3, abs=1e-5)


def test_reliability_has_a_whisker_for_each_bin() -> None:
    assert count(CHARTS["bins"], "bins-whiskers", "path") == len(dots(CHARTS["bins"], "bins-points")) == 2


def test_a_line_chart_passes_through_its_points_and_shows_its_mark() -> None:
    line = element(CHARTS["roc"], "roc-curve").find(f"{SVG}path")
    assert line is not None
    corners = re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.get("d", ""))
    assert len(corners) == 3
    assert dots(CHARTS["roc"], "roc-mark") == [tuple(map(float, corners[1]))]


def widths(svg: str, names: list[str]) -> list[float]:
    widths = []
    for name in names:
        path = element(svg, name).find(f"{SVG}path")
        assert path is not None
        ends = [float(x) for x, _ in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))]
        widths.append(max(ends) - min(ends))
    return widths


def test_bar_lengths_are_proportional_to_shares() -> None:
    first, second = widths(CHARTS["bars"], ["bars-bar-0", "bars-bar-1"])
    assert first / second == pytest.approx(0.7 / 0.3, rel=1e-4)
    clean, quarantined, excluded = widths(CHARTS["rows"], [f"rows-share-{n}" for n in range(3)])
    assert [clean / excluded, quarantined / excluded] == pytest.approx([90, 9], rel=1e-3)
    assert clean + quarantined + excluded == pytest.approx(charts.WIDE)


def test_column_heights_are_proportional_to_shares() -> None:
    heights = []
    for name in ("first-0", "second-0", "first-1", "second-1"):
        path = element(CHARTS["exposure"], f"exposure-{name}").find(f"{SVG}path")
        assert path is not None
        ends = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))]
        heights.append(max(ends) - min(ends))
    assert [height / heights[2] for height in heights] == pytest.approx([4, 2, 1, 3], rel=1e-3)
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(CHARTS["exposure"]).iter(f"{SVG}text")]
    assert {"1", "new", "20%", "deciles", "share"} <= set(texts)
    empty = charts.paired_column_chart("empty", "Empty", {"1": (0.0, 0.0)}, ("x", "y"))
    assert ElementTree.fromstring(empty).tag == f"{SVG}svg"


def test_a_description_follows_its_label() -> None:
    assert "age in years" in [
        " ".join(e.itertext()) for e in ElementTree.fromstring(CHARTS["bars"]).iter(f"{SVG}text")
    ]


@settings(max_examples=15, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_any_text_is_shown_verbatim(text: str) -> None:
    """No mathematics between dollars, no markup, no warning of characters that a font lacks, no token replaced."""
    svg = charts.interval_chart("w", text, {text: Interval(0.5, 0.4, 0.6)}, "word0. #010101 $")
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "word0. #010101 $" in texts
    allowed = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    assert re.sub("\r\n?", "\n", allowed) in texts


def test_a_long_label_is_shortened() -> None:
    svg = charts.interval_chart("w", "w", {"x" * 200: Interval(0.5, 0.4, 0.6)}, "AUC")
    assert "x" * (charts.MAX_LABEL_LENGTH - 1) + "…" in svg
    assert "x" * charts.MAX_LABEL_LENGTH not in svg


def test_importing_charts_does_not_import_matplotlib_or_numpy() -> None:
    code = "import sys, tasks.reporting.charts; sys.exit(bool({'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
