"""A reviewed point is kept or taken back; the contract stays valid."""

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.review import unreviewed
from ml.data.casting import TEXT_DTYPE
from ml.drafting.draft import Draft
from ml.drafting.request import CaseKind, DraftRequest
from ml.drafting.review import drop, keep, open_points
from ml.drafting.summary import summarize
from ml.drafting.table import draft_table
from tasks.reporting.contract_page import render_contract


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    score = rng.normal(size=400)
    frame = pd.DataFrame(
        {
            "pressure": np.where(rng.random(400) < 0.05, 0, rng.normal(120, 10, 400).round()).astype(int),
            "visits": rng.poisson(3, 400),
            "duration": score + rng.normal(0, 0.5, 400),
            "region": ["north", "south"] * 198 + ["suoth", "north", "nouth", "-"],
            "outcome": np.where(score > 0.5, "2", "1"),
        }
    )
    return frame.map(str).astype(TEXT_DTYPE)


@pytest.fixture(scope="module")
def draft() -> Draft:
    return draft_table(table(), DraftRequest(CaseKind("health-prediction"), "t", {"files": ["t.csv"]}))


def test_kept_points_are_no_longer_open(draft: Draft) -> None:
    source = dict(draft.source)
    assert len(open_points(source)) == len(draft.doubts) >= 4
    while points := open_points(source):
        source = keep(source, points[0])
    assert unreviewed(parse(source)) == []
    assert [rule["kwargs"] for rule in source["expectations"]] == [rule.kwargs for rule in draft.rules]
    assert open_points(draft.source)


def test_dropped_points_are_taken_back(draft: Draft) -> None:
    points = {point.place: point for point in open_points(draft.source)}
    assert (
        "pressure" not in drop(draft.source, points["sentinel_values.pressure.0"])["meta"]["sentinel_values"]
    )
    assert "duration" not in drop(draft.source, points["roles.ignored.duration"])["meta"]["roles"]["ignored"]
    rule = next(point for point in points.values() if point.rule is not None)
    assert len(drop(draft.source, rule)["expectations"]) == len(draft.rules) - 1
    # A target cannot be taken back, only replaced.
    assert not points["roles.target"].can_drop


def test_every_point_that_can_be_dropped_leaves_a_valid_contract(draft: Draft) -> None:
    droppable = [point for point in open_points(draft.source) if point.can_drop]
    assert droppable
    for point in droppable:
        assert parse(drop(draft.source, point)).name == draft.contract.name


def test_the_page_has_counts_and_no_rare_value(draft: Draft) -> None:
    columns = summarize(draft, table())
    by_name = {column.name: column for column in columns}
    assert by_name["region"].labels == ("north", "south", "others")
    assert by_name["region"].bars == (199, 199, 2)
    assert sum(by_name["pressure"].bars) <= 400 - by_name["pressure"].codes[0][1]
    page = render_contract(draft.source, columns, draft.alarms.describe())
    assert "nouth" not in page
    assert "suoth" not in page
    assert "read.replace.region" in page
    assert "<script" not in page
    assert "to review" in page
    assert page == render_contract(draft.source, summarize(draft, table()), draft.alarms.describe())


def test_names_of_columns_are_no_markup(draft: Draft) -> None:
    frame = table().rename(columns={"visits": "<b>visits</b>"})
    drafted = draft_table(frame, DraftRequest(CaseKind("health-prediction"), "t", {"files": ["t.csv"]}))
    assert "<b>visits" not in render_contract(drafted.source, summarize(drafted, frame), "")
