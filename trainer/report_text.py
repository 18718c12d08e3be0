"""Numbers as people read them."""

from __future__ import annotations

THIN_SPACE = "\u202f"  # narrow and unbreakable, between number and unit
MISSING = "–"


def count(value: float) -> str:
    """A whole number with separators: 25,557,032."""
    return f"{round(value):,}"


def counted(value: float, noun: str) -> str:
    """A number and its noun: 1 epoch, 2 epochs, 2.5 epochs."""
    shown = f"{value:,.1f}".removesuffix(".0")
    return f"{shown} {noun}{'' if shown == '1' else 's'}"


def number(value: float | None) -> str:
    """Three significant digits, more only to show all before the point."""
    if value is None or value != value:
        return MISSING
    if abs(value) >= 1000:
        return count(value)
    if 0 < abs(value) < 1e-4:
        return scientific(value)
    return f"{value:.3g}".replace("-", "−")


def scientific(value: float) -> str:
    """A small number by its power of ten: 2.5e−4."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")


def percent(share: float | None, examples: int | None = None) -> str:
    """A share in per cent.

    Args:
      share: in [0, 1]; None and NaN are shown as missing.
      examples: how many it was measured on: from 1,000, one in ten thousand
        is worth a digit of its own.
    """
    if share is None or share != share:
        return MISSING
    digits = 2 if examples is not None and examples >= 1000 else 1
    return f"{100 * share:.{digits}f}{THIN_SPACE}%"


def percent_range(low: float, high: float, examples: int) -> str:
    """An interval of shares: 97.2–99.6 %."""
    first = percent(low, examples).removesuffix(f"{THIN_SPACE}%")
    return f"{first}–{percent(high, examples)}"


def duration(seconds: float) -> str:
    """Seconds below two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{number(seconds)}{THIN_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes}{THIN_SPACE}min {rest}{THIN_SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{count(hours)}{THIN_SPACE}h {minutes}{THIN_SPACE}min"
