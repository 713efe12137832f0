"""What a chart needs beside its specification: heading, words, choices, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adbench.results import formats


@dataclass(frozen=True)
class Choice:
    """A list of choices that sets one parameter of a chart."""

    param: str
    title: str
    options: Mapping[str, str]
    """Value -> text; the first is chosen when the page opens."""


@dataclass(frozen=True)
class Chart:
    """A chart with its heading, or the reason why there is none."""

    key: str
    title: str
    spec: dict[str, Any] | None
    about: str
    choices: Sequence[Choice] = ()
    missing: str = ""


def rounded(value: float | None, digits: int = 4) -> float | None:
    """To some digits after the point; None where it is missing, so that JSON can hold it."""
    return None if value is None or formats.is_missing(value) else round(float(value), digits)
