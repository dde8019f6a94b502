"""Formats of numbers in the report; values that are missing or no numbers become a dash."""

import math
from collections.abc import Mapping
from typing import Any

from tasks.metric_descriptions import format_value

EM_DASH = "—"


def is_number(value: Any) -> bool:
    """Return whether the value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_number(value: Any, sign: str = "") -> str:
    """Format as `format_value` does."""
    if isinstance(value, float) and not math.isfinite(value):
        return "undefined"
    return format_value(value, sign) if is_number(value) else EM_DASH


def format_quantity(value: Any) -> str:
    """Format a measured value of any size, as in `118,000`, `31.2` or `0.0042`."""
    if not is_number(value) or not math.isfinite(value):
        return format_number(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def format_interval(estimate: Any, sign: str = "") -> str:
    """Format `value`, `low` and `high`, as in `0.8648 [0.8560, 0.8732]`; without limits, only the value."""
    if not isinstance(estimate, Mapping):
        return EM_DASH
    low, high = estimate.get("low"), estimate.get("high")
    has_limits = is_number(low) and is_number(high)
    limits = f" [{format_number(low, sign)}, {format_number(high, sign)}]" if has_limits else ""
    return format_number(estimate.get("value"), sign) + limits


def format_share(share: Any) -> str:
    """Format a share as a percentage with one decimal."""
    if not is_number(share):
        return EM_DASH
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def format_whole(value: Any) -> str:
    """Format a number from 0 to 100 without decimals; what is not 0 or 100 is not rounded to it."""
    if not is_number(value):
        return EM_DASH
    if 0 < value < 0.5:
        return "fewer than 1"
    return "more than 99" if 99.5 <= value < 100 else f"{value:.0f}"


def format_per_hundred(count: Any, total: Any) -> str:
    """Format a count as a number of 100."""
    return format_whole(100 * count / total) if is_number(count) and total else EM_DASH


def format_seconds(value: Any) -> str:
    """Format a duration, with fewer decimals the longer it is."""
    if not is_number(value):
        return EM_DASH
    return "< 0.01 s" if value < 0.01 else f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def format_count(value: Any) -> str:
    """Format an integer with thousands separators."""
    return f"{value:,}" if is_number(value) else EM_DASH


def format_p_value(p_value: Any) -> str:
    """Format a p-value, as in `p = 0.0030`."""
    return "p < 0.0001" if is_number(p_value) and p_value < 1e-4 else f"p = {format_number(p_value)}"


def format_level(level: Any) -> str:
    """Format a confidence level; 95 % where none was recorded."""
    return f"{100 * level if is_number(level) else 95:.4g} %"


def format_sentence(text: str) -> str:
    """Start with a capital letter and end with a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
