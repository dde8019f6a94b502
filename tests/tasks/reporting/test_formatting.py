"""Formats of numbers in the report, checked by hand."""

from tasks.reporting.formatting import (
    EM_DASH,
    format_count,
    format_interval,
    format_level,
    format_number,
    format_p_value,
    format_quantity,
    format_seconds,
    format_share,
)


def test_numbers_and_intervals_have_four_decimals() -> None:
    interval = {"value": 0.86484, "low": 0.85604, "high": 0.87319}
    assert format_interval(interval) == "0.8648 [0.8560, 0.8732]"
    assert format_interval({"value": -0.5, "low": None, "high": None}, "+") == "-0.5000"
    assert (format_number(float("nan")), format_number(1234.5)) == ("undefined", "1,234.5")


def test_missing_values_and_booleans_are_dashes() -> None:
    formats = (format_interval, format_number, format_share, format_seconds, format_count)
    assert [format_value(None) for format_value in formats] == [EM_DASH] * 5
    assert format_number(True) == EM_DASH


def test_small_shares_and_durations_are_bounded() -> None:
    shares = [format_share(share) for share in (0.0, 0.0001, 0.0005, 0.12345)]
    assert shares == ["0.0%", "< 0.1%", "0.1%", "12.3%"]
    durations = [format_seconds(seconds) for seconds in (0.001, 1.234, 1234.56)]
    assert durations == ["< 0.01 s", "1.23 s", "1,234.6 s"]


def test_p_values_and_levels() -> None:
    assert (format_p_value(1e-9), format_p_value(0.003), format_p_value(None)) == (
        "p < 0.0001",
        "p = 0.0030",
        f"p = {EM_DASH}",
    )
    assert (format_level(0.975), format_level(None)) == ("97.5 %", "95 %")


def test_quantities_of_any_size_are_short() -> None:
    assert [format_quantity(v) for v in (118000.0, 31.25, 0.00421, -999)] == [
        "118,000",
        "31.25",
        "0.00421",
        "-999",
    ]
    assert [format_quantity(v) for v in (None, float("nan"))] == [EM_DASH, "undefined"]
