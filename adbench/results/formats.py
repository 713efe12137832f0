"""Numbers as people read them; the same on the pages and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adbench.config.nested import flat

NONE = "-"
"""Shown where a value is undefined or unknown."""


def is_missing(value: float | None) -> bool:
    """Whether a number is undefined or unknown: None, or NaN as in a frame."""
    return value is None or value != value


def number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None or is_missing(value) else f"{value:.{digits}f}"


def short(value: Any) -> str:
    """A setting: floats to four digits, all else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def interval(value: float | None, low: float | None, high: float | None, sd: float | None = None) -> str:
    """`0.920 ± 0.004 [0.901, 0.934]`; without what is not known of it, and without an interval of all fractions."""
    text = number(value) if is_missing(sd) else f"{number(value)} ± {number(sd)}"
    if is_missing(low) or is_missing(high) or is_everything(low, high):
        return text
    return f"{text} [{number(low)}, {number(high)}]"


def is_everything(low: float | None, high: float | None) -> bool:
    """Whether an interval would be printed as 0 to 1, and so is not."""
    return (number(low), number(high)) == ("0.000", "1.000")


def seconds(value: float | None) -> str:
    """Seconds to about three digits, without a unit."""
    if value is None or is_missing(value):
        return NONE
    if 0 < value < 0.0001:
        return "<0.0001"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def duration(value: float | None) -> str:
    """`12 s`, `3 min 20 s` or `1 h 05 min`."""
    if value is None:
        return NONE
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def si(value: float | None) -> str:
    """`1.23 G`: three digits and a decimal prefix."""
    if value is None:
        return NONE
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{seconds(value / factor)} {prefix}"
    return f"{value:g}"


def mebibytes(value: float | None) -> str:
    return NONE if value is None else f"{value / 2**20:.0f} MiB"


def size_range(start: float, end: float | None) -> str:
    """`0.1 to 0.5 %`, of fractions; without an end `from 0.5 %`."""
    if end is None or is_missing(end):
        return f"from {100 * start:g} %"
    return f"{100 * start:g} to {100 * end:g} %" if start else f"below {100 * end:g} %"


def counts(values: Mapping[str, int]) -> str:
    """`unet 50, decoder 2`."""
    return ", ".join(f"{name} {n}" for name, n in values.items()) or NONE


def settings(config: Mapping[str, Any]) -> str:
    """`f=4, unet.steps=100`, by key."""
    return ", ".join(f"{key}={value}" for key, value in sorted(flat(config).items())) or NONE
