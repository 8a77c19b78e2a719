"""How numbers are written in prose, tables and figures: one way for each kind of number."""

from __future__ import annotations

import math

MISSING = "not available"


def is_missing(value: float | None) -> bool:
    """Tell whether a number is None, NaN or infinite."""
    return value is None or not math.isfinite(value)


def count(value: float | None) -> str:
    """Write a whole number with thousands separated: 12,345."""
    return MISSING if is_missing(value) else f"{round(value):,}"


def amount(value: float | None) -> str:
    """Write a measured number with three significant digits and a true minus sign."""
    if is_missing(value):
        return MISSING
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    mantissa, _, exponent = text.partition("e")
    if exponent:
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "\N{MINUS SIGN}")


def effect(value: float | None) -> str:
    """Write a change with its sign: +0.0123."""
    text = amount(value)
    return "+" + text if not is_missing(value) and value > 0 else text


def percent(share: float | None) -> str:
    """Write a share as per cent: 0.1234 becomes 12.3 %."""
    return MISSING if is_missing(share) else amount(100 * share) + " %"


def interval(low: float | None, high: float | None, level: str = "95 %") -> str:
    """Write a confidence interval, or that there is none.

    Where no donor differs from another, resampling them tells nothing: that is no narrow interval.
    """
    if is_missing(low) or is_missing(high):
        return "no interval available"
    if low == high:
        return "the same in every donor"
    return f"{level} interval {effect(low)} to {effect(high)}"


def span(low: float | None, high: float | None, write=amount) -> str:
    """Write a range as `low to high`, or as one number when both read the same."""
    first, last = write(low), write(high)
    return first if first == last else f"{first} to {last}"


def several(n: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: 1 model, 3 models."""
    return f"{count(n)} {noun if n == 1 else plural or noun + 's'}"


def listed(items: list[str]) -> str:
    """Join words as `a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def shortened(text: str, length: int) -> str:
    """Replace the middle of a long label by an ellipsis; names often differ at their ends."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail].rstrip() + "…" + text[-tail:].lstrip()
