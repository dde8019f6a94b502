"""Charts are well-formed, hold what they were given, and leave colour and words to the page."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.confidence_intervals import Interval
from tasks.reporting import charts

SVG = "{http://www.w3.org/2000/svg}"
ESTIMATES = {
    "prior": Interval(0.5, 0.5, 0.5),
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
EVERY = {
    "roc": charts.curve("roc", "ROC", SQUARE, ("x", "y"), [(0, 0), (1, 1)], (0.5, 1.0)),
    "bins": charts.reliability("bins", "Calibration", BINS),
    "tenths": charts.agreement("tenths", "Agreement", {"predicted": [10.0, 2e6], "observed": [20.0, 1e6]}),
    "board": charts.whiskers("board", "Board", ESTIMATES, "AUC", ("all", 0.6), {"prior", "linear"}),
    "bars": charts.bars("bars", "Columns", {"age": 0.7, "income": 0.3}, {"age": "in years"}),
    "exposure": charts.columns(
        "exposure", "Exposure", {"1": (0.8, 0.4), "new": (0.2, 0.6)}, ("tenths", "share")
    ),
    "rows": charts.stack("rows", "Rows", {"clean": 90, "quarantined": 9, "excluded": 1}),
}


def part(svg: str, name: str) -> ElementTree.Element:
    found = [e for e in ElementTree.fromstring(svg).iter() if e.get("id") == name]
    assert len(found) == 1
    return found[0]


def count(svg: str, name: str, tag: str) -> int:
    return len(list(part(svg, name).iter(f"{SVG}{tag}")))


def dots(svg: str, name: str) -> list[tuple[float, float]]:
    return [(float(e.get("x", "nan")), float(e.get("y", "nan"))) for e in part(svg, name).iter(f"{SVG}use")]


@pytest.mark.parametrize("name", EVERY)
def test_a_chart_is_xml_with_a_title_and_its_own_ids(name: str) -> None:
    root = ElementTree.fromstring(EVERY[name])
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == root.get("aria-label")
    ids = [e.get("id", "") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(i.startswith(f"{name}-") for i in ids)
    aims = re.findall(r'(?:href="|url\()#([^")]+)', EVERY[name])
    assert set(aims) <= set(ids)


@pytest.mark.parametrize("svg", EVERY.values(), ids=EVERY)
def test_colours_are_variables_and_the_page_keeps_its_style(svg: str) -> None:
    painted = re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)
    assert painted
    assert {p for p in painted if p != "none"} <= {f"var({v})" for v in charts.PAINTS.values()}
    assert not re.search(r"<style|font-family|<metadata|<image|DOCTYPE", svg)


def test_the_same_figures_give_the_same_bytes() -> None:
    assert charts.reliability("bins", "Calibration", BINS) == EVERY["bins"]
    assert (
        charts.whiskers("board", "Board", ESTIMATES, "AUC", ("all", 0.6), {"prior", "linear"})
        == EVERY["board"]
    )


def test_one_dot_and_one_whisker_for_each_estimate() -> None:
    svg = EVERY["board"]
    assert count(svg, "board-whiskers", "path") == 3
    assert len(dots(svg, "board-points")) == 1  # the leader
    assert len(dots(svg, "board-open-points")) == 2
    assert count(svg, "board-reference", "path") == 1


def test_dots_lie_where_their_values_are() -> None:
    (prior, first), (linear, second) = dots(EVERY["board"], "board-open-points")
    ((trees, third),) = dots(EVERY["board"], "board-points")
    assert first < second < third  # from top to bottom
    assert (linear - prior) / (trees - prior) == pytest.approx(0.2 / 0.3, abs=1e-5)


def test_reliability_has_a_whisker_for_each_bin() -> None:
    assert count(EVERY["bins"], "bins-whiskers", "path") == len(dots(EVERY["bins"], "bins-points")) == 2


def test_a_curve_passes_its_points_and_shows_its_mark() -> None:
    line = part(EVERY["roc"], "roc-curve").find(f"{SVG}path")
    assert line is not None
    corners = re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.get("d", ""))
    assert len(corners) == 3
    assert dots(EVERY["roc"], "roc-mark") == [tuple(map(float, corners[1]))]


def widths(svg: str, names: list[str]) -> list[float]:
    found = []
    for name in names:
        path = part(svg, name).find(f"{SVG}path")
        assert path is not None
        ends = [float(x) for x, _ in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))]
        found.append(max(ends) - min(ends))
    return found


def test_bars_are_as_long_as_their_shares() -> None:
    one, other = widths(EVERY["bars"], ["bars-bar-0", "bars-bar-1"])
    assert one / other == pytest.approx(0.7 / 0.3, rel=1e-4)
    clean, quarantined, excluded = widths(EVERY["rows"], [f"rows-share-{n}" for n in range(3)])
    assert [clean / excluded, quarantined / excluded] == pytest.approx([90, 9], rel=1e-3)
    assert clean + quarantined + excluded == pytest.approx(charts.WIDE)


def test_columns_are_as_high_as_their_shares() -> None:
    heights = []
    for name in ("first-0", "second-0", "first-1", "second-1"):
        path = part(EVERY["exposure"], f"exposure-{name}").find(f"{SVG}path")
        assert path is not None
        ends = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))]
        heights.append(max(ends) - min(ends))
    assert [height / heights[2] for height in heights] == pytest.approx([4, 2, 1, 3], rel=1e-3)
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(EVERY["exposure"]).iter(f"{SVG}text")]
    assert {"1", "new", "20%", "tenths", "share"} <= set(texts)
    none = charts.columns("empty", "Empty", {"1": (0.0, 0.0)}, ("x", "y"))
    assert ElementTree.fromstring(none).tag == f"{SVG}svg"


def test_a_description_stands_beside_its_label() -> None:
    assert "age in years" in [
        " ".join(e.itertext()) for e in ElementTree.fromstring(EVERY["bars"]).iter(f"{SVG}text")
    ]


@settings(max_examples=15, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_any_word_is_shown_as_it_is(word: str) -> None:
    """No mathematics between dollars, no markup, no warning of letters that a font lacks, no token replaced."""
    svg = charts.whiskers("w", word, {word: Interval(0.5, 0.4, 0.6)}, "word0. #010101 $")
    texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "word0. #010101 $" in texts
    shown = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", word)
    assert re.sub("\r\n?", "\n", shown) in texts


def test_a_long_label_is_cut() -> None:
    svg = charts.whiskers("w", "w", {"x" * 200: Interval(0.5, 0.4, 0.6)}, "AUC")
    assert "x" * (charts.LONGEST - 1) + "…" in svg
    assert "x" * charts.LONGEST not in svg


def test_importing_charts_imports_nothing_heavy() -> None:
    code = "import sys, ml.charts; sys.exit(bool({'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
